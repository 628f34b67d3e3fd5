//! `RUN --mount=type=…`.

use std::borrow::Cow;

use crate::arguments::Reader;
use crate::code::Code;
use crate::diagnostic::{Diagnostic, closest};
use crate::dockerfile::{Dockerfile, clip, position};
use crate::edit::Edit;
use crate::error::Error;
use crate::expand::ExpandError;
use crate::instruction::Device;
use crate::span::Span;
use crate::word::Word;

/// A mount of `RUN`, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The flag's value.
    pub span: Span,
    /// Its options, in order.
    pub options: Vec<MountOption>,
    /// The kind; `None` if a variable decides it, or it is unknown.
    pub kind: Option<MountKind>,
    /// `from`: a stage, an image, or a named context; never expanded
    pub from: Option<Word>,
    /// `source`, also `src`
    pub source: Option<Word>,
    /// `target`, also `dst` and `destination`
    pub target: Option<Word>,
    /// `id`
    pub id: Option<Word>,
}

/// One option of a mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountOption {
    /// The key, in lower case.
    pub key: Cow<'static, str>,
    /// The whole option.
    pub span: Span,
    /// What follows the `=`.
    pub value: Option<Word>,
}

/// What is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "lowercase"))]
pub enum MountKind {
    /// Files of the context, a stage or an image; the default
    #[default]
    Bind,
    /// A folder that builds keep
    Cache,
    /// Memory
    Tmpfs,
    /// A secret file or variable
    Secret,
    /// An agent's socket
    Ssh,
}

/// Who may use a cache at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "lowercase"))]
pub enum Sharing {
    /// All
    Shared,
    /// Each a cache of its own
    Private,
    /// One after the other
    Locked,
}

/// A mount whose variables are expanded.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResolvedMount {
    /// What is mounted.
    pub kind: MountKind,
    /// The stage, image or context it comes from.
    pub from: Option<String>,
    /// The path in it, or the secret's id.
    pub source: Option<String>,
    /// Where it is mounted.
    pub target: Option<String>,
    /// Whether the step may not write: the default for all but caches and tmpfs.
    pub read_only: bool,
    /// A tmpfs's size in bytes.
    pub size: Option<u64>,
    /// The cache's, secret's or agent's id.
    pub id: Option<String>,
    /// Who may use a cache at the same time.
    pub sharing: Option<Sharing>,
    /// Whether a missing secret or agent is a failure.
    pub required: bool,
    /// The variable that a secret is put in; empty for the default name.
    pub env: Option<String>,
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner's user id.
    pub uid: Option<u32>,
    /// Owner's group id.
    pub gid: Option<u32>,
}

const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "src",
    "dst",
    "destination",
    "ro",
    "rw",
    "readwrite",
    "env",
];

impl MountKind {
    /// The kind of a name, in any case.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match &*text.to_ascii_lowercase() {
            "bind" => Self::Bind,
            "cache" => Self::Cache,
            "tmpfs" => Self::Tmpfs,
            "secret" => Self::Secret,
            "ssh" => Self::Ssh,
            _ => return None,
        })
    }
}

/// Why a mount does not resolve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MountError {
    /// An option is wrong.
    #[error(transparent)]
    Option(#[from] Error),
    /// A variable in an option is wrong.
    #[error("mount option '{option}'")]
    Expand {
        /// The option's key.
        option: String,
        /// What is wrong with it.
        source: ExpandError,
    },
}

impl Mount {
    /// The mount with the variables in its options expanded by `expand`, and all options understood.
    pub fn resolve(
        &self,
        file: &Dockerfile,
        expand: &mut dyn FnMut(&str) -> Result<String, ExpandError>,
    ) -> Result<ResolvedMount, MountError> {
        let mut options = Vec::with_capacity(self.options.len());
        for option in &self.options {
            let value = match &option.value {
                None => None,
                Some(word) => Some(
                    expand(&word.text(file))
                        .map(Cow::Owned)
                        .map_err(|source| MountError::Expand { option: option.key.to_string(), source })?,
                ),
            };
            options.push((&*option.key, value));
        }
        Ok(settle(&options, false).map_err(|(_, fault)| fault)?)
    }
}

/// All options understood together. `partial` leaves out values with a variable in them, and fails with
/// the number of the option at fault.
fn settle(
    options: &[(&str, Option<Cow<'_, str>>)],
    partial: bool,
) -> Result<ResolvedMount, (Option<usize>, Error)> {
    use MountKind::{Bind, Cache, Secret, Ssh, Tmpfs};
    let mut mount = ResolvedMount::default();
    let mut read_only = None;
    let mut open = false;
    for (at, (key, value)) in options.iter().enumerate() {
        let fail = |reason: String| {
            let option = value.as_ref().map_or_else(|| (*key).to_owned(), |value| format!("{key}={value}"));
            (Some(at), Error::Mount { option: clip(&option).into_owned(), reason })
        };
        let Some(value) = value else {
            match *key {
                "readonly" | "ro" => read_only = Some(true),
                "readwrite" | "rw" => read_only = Some(false),
                "required" => mount.required = true,
                _ => return Err(fail("needs a value".into())),
            }
            continue;
        };
        if partial && value.contains('$') && *key != "from" {
            open |= *key == "type";
            continue;
        }
        // a check alone keeps no texts
        let text = || (!partial).then(|| value.clone().into_owned());
        let flag = || match &**value {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
            _ => Err(fail("is true or false".into())),
        };
        let number = |radix| match u32::from_str_radix(value, radix) {
            Ok(number) if !value.starts_with('+') => Ok(Some(number)),
            _ => Err(fail(format!("is not {} number", if radix == 8 { "an octal" } else { "a" }))),
        };
        match *key {
            "type" => {
                mount.kind = MountKind::parse(value)
                    .ok_or_else(|| fail("is none of bind, cache, tmpfs, secret, ssh".into()))?;
            }
            "from" => {
                if partial && value.find('$').is_some_and(|at| at + 1 < value.len()) {
                    return Err(fail("takes no variable; name a stage instead".into()));
                }
                mount.from = text();
            }
            "source" | "src" => mount.source = text(),
            "target" | "dst" | "destination" => mount.target = text(),
            "readonly" | "ro" => read_only = Some(flag()?),
            "readwrite" | "rw" => read_only = Some(!flag()?),
            "required" => mount.required = flag()?,
            "size" => mount.size = Some(size(value).ok_or_else(|| fail("is not a size such as 64m".into()))?),
            "id" => mount.id = text(),
            "sharing" => {
                mount.sharing = Some(match &*value.to_ascii_lowercase() {
                    "shared" => Sharing::Shared,
                    "private" => Sharing::Private,
                    "locked" => Sharing::Locked,
                    _ => return Err(fail("is none of shared, private, locked".into())),
                });
            }
            "mode" => mount.mode = number(8)?,
            "uid" => mount.uid = number(10)?,
            "gid" => mount.gid = number(10)?,
            "env" => mount.env = text(),
            _ => return Err(fail("is not an option of a mount".into())),
        }
    }
    mount.read_only = read_only.unwrap_or(!matches!(mount.kind, Cache | Tmpfs));
    if open {
        return Ok(mount);
    }
    for (at, (key, _)) in options.iter().enumerate() {
        let fits = match *key {
            "size" => mount.kind == Tmpfs,
            "sharing" => mount.kind == Cache,
            "required" => matches!(mount.kind, Secret | Ssh),
            "mode" | "uid" | "gid" => !matches!(mount.kind, Bind | Tmpfs),
            "from" => mount.kind != Secret,
            _ => true,
        };
        if !fits {
            let reason = format!("is not for this type of mount, {:?}", mount.kind).to_lowercase();
            return Err((Some(at), Error::Mount { option: (*key).to_owned(), reason }));
        }
    }
    if mount.kind == Secret {
        let has = |names: &[&str]| options.iter().any(|(key, _)| names.contains(key));
        let source = has(&["source", "src"]);
        let id = has(&["id"]);
        if !source && !id && !has(&["target", "dst", "destination"]) {
            let reason = "needs one of id, source, target".into();
            return Err((None, Error::Mount { option: "type=secret".into(), reason }));
        }
        if source && id {
            let reason = "takes either source or id".into();
            return Err((None, Error::Mount { option: "type=secret".into(), reason }));
        }
    }
    Ok(mount)
}

/// Bytes, as in `64m`, `1.5GiB`, `1024`.
#[allow(clippy::cast_precision_loss)] // as Docker does: a fraction of a unit has no exact byte
fn size(text: &str) -> Option<u64> {
    let lower = text.trim().to_ascii_lowercase();
    let split = lower.find(|ch: char| !ch.is_ascii_digit() && ch != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(split);
    let number: f64 = number.parse().ok()?;
    let shift = match unit.trim_start() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        "p" | "pb" | "pib" => 50,
        _ => return None,
    };
    let bytes = number * (1u64 << shift) as f64;
    (bytes >= 0.0 && bytes < i64::MAX as f64).then_some(bytes as u64)
}

impl Reader<'_> {
    pub(crate) fn mount(&mut self, value: &Word) -> Mount {
        let fields = self.fields(value);
        let mut options = Vec::with_capacity(fields.len());
        for field in fields {
            let text = field.bytes_in(self.source);
            let equals = position(b'=', text);
            let key = &text[..equals.unwrap_or(text.len())];
            options.push(MountOption {
                key: match KEYS.iter().find(|known| known.as_bytes() == key) {
                    Some(known) => Cow::Borrowed(*known),
                    None => Cow::Owned(String::from_utf8_lossy(key).to_ascii_lowercase()),
                },
                span: field.span,
                value: equals.map(|at| part(&field, text, at + 1)),
            });
        }
        let find = |names: &[&str]| {
            options.iter().rev().find(|option| names.contains(&&*option.key)).and_then(|o| o.value.clone())
        };
        let kind = match find(&["type"]) {
            None => Some(MountKind::Bind),
            Some(word) => MountKind::parse(&self.str(&word)),
        };
        let mount = Mount {
            span: value.span,
            kind,
            from: find(&["from"]),
            source: find(&["source", "src"]),
            target: find(&["target", "dst", "destination"]),
            id: find(&["id"]),
            options,
        };
        let texts: Vec<(&str, Option<Cow<'_, str>>)> = mount
            .options
            .iter()
            .map(|option| {
                (
                    &*option.key,
                    option.value.as_ref().map(|value| String::from_utf8_lossy(value.bytes_in(self.source))),
                )
            })
            .collect();
        if let Err((at, fault)) = settle(&texts, true) {
            let option = at.and_then(|at| mount.options.get(at));
            let mut diagnostic = Diagnostic::new(
                Code::InvalidFlagValue,
                option.map_or(mount.span, |option| option.span),
                fault.to_string(),
            );
            if let Some(option) = option
                && !KEYS.contains(&&*option.key)
                && let Some(close) = closest(&option.key, KEYS)
            {
                let span = Span::new(option.span.start, option.span.start + option.key.len());
                diagnostic = diagnostic.suggest(format!("did you mean {close}?"), Edit::replace(span, close));
            }
            self.diagnostics.push(diagnostic);
        }
        mount
    }

    pub(crate) fn device(&mut self, value: &Word) -> Device {
        let mut device = Device { span: value.span, name: None, required: false };
        for field in self.fields(value) {
            let text = field.bytes_in(self.source);
            let equals = position(b'=', text);
            let key = text[..equals.unwrap_or(text.len())].to_ascii_lowercase();
            match (&*key, equals) {
                (b"required", None) => device.required = true,
                (b"required", Some(at)) => match &text[at + 1..] {
                    b"1" | b"t" | b"T" | b"TRUE" | b"true" | b"True" => device.required = true,
                    b"0" | b"f" | b"F" | b"FALSE" | b"false" | b"False" => device.required = false,
                    _ => self.fault(Code::InvalidFlagValue, field.span, "'required' is true or false"),
                },
                (b"name", Some(at)) if device.name.is_none() => {
                    device.name = Some(part(&field, text, at + 1));
                }
                _ if device.name.is_none() => device.name = Some(field),
                _ => {
                    let message =
                        format!("'{}' is not an option of a device", clip(&String::from_utf8_lossy(text)));
                    self.fault(Code::InvalidFlagValue, field.span, message);
                }
            }
        }
        device
    }

    /// The fields of comma-separated values.
    fn fields(&mut self, value: &Word) -> Vec<Word> {
        let text = value.bytes_in(self.source);
        let exact = !value.is_rewritten();
        let mut fields = Vec::new();
        let mut broken = false;
        let mut at = 0;
        loop {
            let start = at;
            if text.get(at) == Some(&b'"') {
                let mut field = Vec::new();
                at += 1;
                loop {
                    match (text.get(at), text.get(at + 1)) {
                        (Some(b'"'), Some(b'"')) => {
                            field.push(b'"');
                            at += 2;
                        }
                        (Some(b'"'), _) => {
                            at += 1;
                            break;
                        }
                        (Some(&byte), _) => {
                            field.push(byte);
                            at += 1;
                        }
                        (None, _) => {
                            broken = true;
                            break;
                        }
                    }
                }
                broken |= !matches!(text.get(at), None | Some(b','));
                fields.push(Word::rewritten(sub(value.span, exact, start, at), field));
            }
            let end = position(b',', &text[at..]).map_or(text.len(), |length| at + length);
            if at == start {
                broken |= position(b'"', &text[at..end]).is_some();
                let span = sub(value.span, exact, at, end);
                fields.push(if exact {
                    Word::plain(span)
                } else {
                    Word::rewritten(span, text[at..end].to_vec())
                });
            }
            if end >= text.len() {
                break;
            }
            at = end + 1;
        }
        if broken {
            self.fault(
                Code::InvalidFlagValue,
                value.span,
                "the quotes in these comma-separated values are wrong",
            );
        }
        fields
    }
}

fn sub(span: Span, exact: bool, start: usize, end: usize) -> Span {
    if exact { Span::new(span.start + start, span.start + end) } else { span }
}

/// The end of a field, from `at` on.
fn part(field: &Word, text: &[u8], at: usize) -> Word {
    if field.is_rewritten() {
        Word::rewritten(field.span, text.get(at..).unwrap_or_default().to_vec())
    } else {
        Word::plain(Span::new((field.span.start + at).min(field.span.end), field.span.end))
    }
}
