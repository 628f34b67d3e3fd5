//! The two spellings of a mount on the command line.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::{
    Error, Mount, MountSpec, Propagation, Recursion, Relabel, Result,
    spec::{self, wrong},
    volume::check_name,
};

impl MountSpec {
    /// Reads the value of `-v`: `[SOURCE:]TARGET[:OPTIONS]`. A source with a slash in front, or beginning with `./` or `../`, is
    /// a path of the host, the latter from `base`; anything else is a volume's name.
    ///
    /// Options: `ro rw nocopy z Z [r]shared [r]slave [r]private`; `cached`, `delegated` and `consistent` are for Docker
    /// Desktop and mean nothing on Linux.
    pub fn from_volume_flag(text: &str, base: &Path) -> Result<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let (source, target, options) = match parts.as_slice() {
            [target] => (None, *target, ""),
            [source, target] => (Some(*source), *target, ""),
            [source, target, options] => (Some(*source), *target, *options),
            _ => return Err(wrong(text, "volume", text, "it has more than three parts")),
        };
        let target = spec::target(text, target)?;
        let mut mount = match source {
            None => volume(None),
            Some("") => return Err(wrong(text, "source", "", "it is empty")),
            Some(path)
                if path.starts_with('/')
                    || path == "."
                    || path == ".."
                    || path.starts_with("./")
                    || path.starts_with("../") =>
            {
                bind(host_path(text, path, base)?, true)
            }
            Some(name) => volume(Some(checked_name(text, name)?)),
        };
        let mut read_only = None;
        for option in options.split(',').filter(|_| parts.len() == 3) {
            let twice = |known: bool| {
                if known {
                    Err(wrong(text, "option", option, "it contradicts an earlier one"))
                } else {
                    Ok(())
                }
            };
            match (option, &mut mount) {
                ("ro" | "rw", _) => {
                    twice(read_only.is_some())?;
                    read_only = Some(option == "ro");
                }
                ("nocopy", Mount::Volume { nocopy, .. }) => *nocopy = true,
                ("z" | "Z", Mount::Bind { relabel, .. }) => {
                    twice(relabel.is_some())?;
                    *relabel = Some(if option == "z" { Relabel::Shared } else { Relabel::Private });
                }
                // a volume is ours and has the right label
                ("z" | "Z", Mount::Volume { .. }) | ("cached" | "delegated" | "consistent", _) => {}
                (word, Mount::Bind { propagation, .. }) if Propagation::of_word(word).is_some() => {
                    *propagation = Propagation::of_word(word).unwrap_or_default();
                }
                (word, _) if Propagation::of_word(word).is_some() || word == "nocopy" => {
                    return Err(wrong(text, "option", word, "it is not for this kind of mount"));
                }
                _ => return Err(wrong(text, "option", option, "there is no such option")),
            }
        }
        Ok(Self { mount, target, read_only: read_only.unwrap_or(false) })
    }

    /// Reads the value of `--mount`: `key=value` pairs between commas, a pair with a comma in it in double quotes. Relative sources of
    /// bind mounts are from `base`.
    pub fn from_mount_flag(text: &str, base: &Path) -> Result<Self> {
        let pairs = pairs(text)?;
        let last = |keys: &[&str]| {
            pairs.iter().rev().find(|(key, _)| keys.contains(&key.as_str())).map(|(_, value)| value.clone())
        };
        let kind = last(&["type"]).flatten().unwrap_or_else(|| "volume".into());
        let source = last(&["source", "src"]).flatten().filter(|s| !s.is_empty());
        let place = last(&["target", "dst", "destination"]).flatten().unwrap_or_default();
        let target = spec::target(text, &place)?;
        let mut mount = match kind.as_str() {
            "volume" => volume(source.map(|name| checked_name(text, &name)).transpose()?),
            "bind" => {
                let source = source.ok_or_else(|| wrong(text, "source", "", "a bind mount needs one"))?;
                bind(host_path(text, &source, base)?, false)
            }
            "tmpfs" => match source {
                Some(source) => return Err(wrong(text, "source", source, "a tmpfs has none")),
                None => Mount::Tmpfs { size: None, mode: None },
            },
            _ => return Err(wrong(text, "type", kind, "it is none of volume, bind and tmpfs")),
        };
        let mut read_only = false;
        for (key, value) in &pairs {
            let value = value.as_deref();
            match key.as_str() {
                "type" | "source" | "src" | "target" | "dst" | "destination" => {}
                "readonly" | "ro" => read_only = truth(text, "readonly", value)?,
                "consistency" => {
                    let known = ["consistent", "cached", "delegated", "default"];
                    if !value.is_some_and(|v| known.contains(&v)) {
                        return Err(wrong(
                            text,
                            "consistency",
                            value.unwrap_or_default(),
                            "there is no such consistency",
                        ));
                    }
                }
                key => detail(text, &mut mount, key, value)?,
            }
        }
        if let (Mount::Bind { recursive: Recursion::ReadOnly, propagation, .. }, rw) = (&mount, !read_only)
            && (rw || *propagation != Propagation::RPrivate)
        {
            return Err(wrong(
                text,
                "bind-recursive",
                "readonly",
                "it needs `readonly` and `bind-propagation=rprivate`",
            ));
        }
        Ok(Self { mount, target, read_only })
    }
}

impl MountSpec {
    /// Reads the value of `--tmpfs`: `TARGET[:OPTIONS]`, the options `size=64m`, `mode=1777`, `ro`, and what it has anyway: `rw nosuid nodev noexec`.
    pub fn from_tmpfs_flag(text: &str) -> Result<Self> {
        let (place, options) = text.split_once(':').unwrap_or((text, ""));
        let mut mount = Mount::Tmpfs { size: None, mode: None };
        let mut read_only = false;
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("size", size)) => detail(text, &mut mount, "tmpfs-size", Some(size))?,
                Some(("mode", mode)) => detail(text, &mut mount, "tmpfs-mode", Some(mode))?,
                None if option == "ro" => read_only = true,
                None if matches!(option, "rw" | "nosuid" | "nodev" | "noexec") => {}
                _ => return Err(wrong(text, "option", option, "there is no such option")),
            }
        }
        Ok(Self { mount, target: spec::target(text, place)?, read_only })
    }
}

/// An option that belongs to one kind of mount.
fn detail(text: &str, mount: &mut Mount, key: &str, value: Option<&str>) -> Result<()> {
    let given = value.unwrap_or_default();
    match (mount, key) {
        (Mount::Bind { propagation, .. }, "bind-propagation") => {
            *propagation = Propagation::of_word(given)
                .ok_or_else(|| wrong(text, "bind-propagation", given, "there is no such propagation"))?;
        }
        (Mount::Bind { recursive, .. }, "bind-nonrecursive") => {
            if truth(text, "bind-nonrecursive", value)? {
                *recursive = Recursion::Disabled;
            }
        }
        (Mount::Bind { recursive, .. }, "bind-recursive") => {
            *recursive = match given {
                "enabled" => Recursion::Enabled,
                "disabled" => Recursion::Disabled,
                "writable" => Recursion::Writable,
                "readonly" => Recursion::ReadOnly,
                _ => {
                    return Err(wrong(
                        text,
                        "bind-recursive",
                        given,
                        "it is none of enabled, disabled, writable and readonly",
                    ));
                }
            };
        }
        (Mount::Bind { create, .. }, "bind-create-src") => *create = truth(text, "bind-create-src", value)?,
        (Mount::Volume { nocopy, .. }, "volume-nocopy") => *nocopy = truth(text, "volume-nocopy", value)?,
        (Mount::Volume { subpath, .. }, "volume-subpath") => *subpath = Some(spec::subpath(text, given)?),
        (Mount::Volume { driver, .. }, "volume-driver") => *driver = Some(given.into()),
        (Mount::Volume { options, .. }, "volume-opt") => {
            let (key, value) = given
                .split_once('=')
                .ok_or_else(|| wrong(text, "volume-opt", given, "a key, `=` and a value are needed"))?;
            options.insert(key.into(), value.into());
        }
        (Mount::Volume { labels, .. }, "volume-label") => {
            let (key, value) = given.split_once('=').unwrap_or((given, ""));
            labels.insert(key.into(), value.into());
        }
        (Mount::Tmpfs { size, .. }, "tmpfs-size") => {
            *size = Some(bytes(given).ok_or_else(|| {
                wrong(
                    text,
                    "tmpfs-size",
                    given,
                    "a number of bytes is needed, with k, m, g or t behind it if you like",
                )
            })?);
        }
        (Mount::Tmpfs { mode, .. }, "tmpfs-mode") => {
            let octal =
                u32::from_str_radix(given, 8).ok().filter(|m| *m <= 0o7777 && !given.starts_with('+'));
            *mode = Some(
                octal
                    .ok_or_else(|| wrong(text, "tmpfs-mode", given, "an octal mode up to 7777 is needed"))?,
            );
        }
        (_, key) => {
            let known = ["bind-", "volume-", "tmpfs-"].iter().any(|prefix| key.starts_with(prefix));
            if known && KINDS.contains(&key) {
                return Err(wrong(text, "option", key, "it is not for this kind of mount"));
            }
            return Err(Error::UnknownOption {
                spec: text.chars().take(200).collect(),
                option: key.chars().take(200).collect(),
            });
        }
    }
    Ok(())
}

const KINDS: [&str; 11] = [
    "bind-propagation",
    "bind-nonrecursive",
    "bind-recursive",
    "bind-create-src",
    "volume-nocopy",
    "volume-subpath",
    "volume-driver",
    "volume-opt",
    "volume-label",
    "tmpfs-size",
    "tmpfs-mode",
];

fn volume(name: Option<String>) -> Mount {
    Mount::Volume {
        name,
        nocopy: false,
        subpath: None,
        driver: None,
        options: BTreeMap::new(),
        labels: BTreeMap::new(),
    }
}

fn bind(source: PathBuf, create: bool) -> Mount {
    Mount::Bind {
        source,
        propagation: Propagation::default(),
        recursive: Recursion::default(),
        create,
        relabel: None,
    }
}

fn checked_name(text: &str, name: &str) -> Result<String> {
    match check_name(name) {
        Ok(()) => Ok(name.to_owned()),
        Err(Error::Name { reason, .. }) => Err(wrong(text, "source", name, reason)),
        Err(e) => Err(e),
    }
}

/// A source on the host, absolute. Links and `..` are left to the kernel, which knows what they mean.
fn host_path(text: &str, path: &str, base: &Path) -> Result<PathBuf> {
    if path.contains('\0') {
        return Err(wrong(text, "source", path, "it has a zero byte in it"));
    }
    if !base.is_absolute() && !path.starts_with('/') {
        return Err(wrong(
            text,
            "source",
            path,
            "it is relative, and nothing is known that it is relative to",
        ));
    }
    Ok(base.join(path))
}

/// One record of comma-separated values (RFC 4180), each `key` or `key=value`.
fn pairs(text: &str) -> Result<Vec<(String, Option<String>)>> {
    let mut fields = vec![String::new()];
    let mut rest = text.chars().peekable();
    let mut quoted = false;
    while let Some(c) = rest.next() {
        let Some(field) = fields.last_mut() else { break };
        match (c, quoted) {
            ('"', true) if rest.peek() == Some(&'"') => {
                field.push('"');
                rest.next();
            }
            ('"', true) => quoted = false,
            ('"', false) if field.is_empty() => quoted = true,
            ('"', false) => {
                return Err(wrong(text, "option", field.as_str(), "a quote is in the middle of it"));
            }
            (',', false) => fields.push(String::new()),
            (c, _) => field.push(c),
        }
    }
    if quoted {
        return Err(wrong(
            text,
            "option",
            fields.last().map_or("", String::as_str),
            "its quote does not end",
        ));
    }
    fields
        .into_iter()
        .map(|field| {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                None => (field.clone(), None),
            };
            let bare = ["readonly", "ro", "volume-nocopy", "bind-nonrecursive", "bind-create-src"];
            if value.is_none() && !bare.contains(&key.as_str()) {
                return Err(wrong(text, "option", key, "a key, `=` and a value are needed"));
            }
            Ok((key.trim().to_lowercase(), value))
        })
        .collect()
}

fn truth(text: &str, option: &'static str, value: Option<&str>) -> Result<bool> {
    match value {
        None | Some("true" | "1" | "True" | "TRUE" | "t" | "T") => Ok(true),
        Some("false" | "0" | "False" | "FALSE" | "f" | "F") => Ok(false),
        Some(other) => Err(wrong(text, option, other, "it is neither true nor false")),
    }
}

/// `64m`, `1.5`-less: a number and a binary unit, `b` behind it allowed.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let body = lower.strip_suffix("ib").or_else(|| lower.strip_suffix('b')).unwrap_or(&lower);
    let (digits, shift) = match body.as_bytes().last()? {
        b'k' => (body.strip_suffix('k')?, 10),
        b'm' => (body.strip_suffix('m')?, 20),
        b'g' => (body.strip_suffix('g')?, 30),
        b't' => (body.strip_suffix('t')?, 40),
        _ => (body, 0),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}
