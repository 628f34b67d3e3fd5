//! The typed instructions.

use std::borrow::Cow;
use std::time::Duration;

use crate::dockerfile::Dockerfile;
use crate::mount::Mount;
use crate::span::Span;
use crate::word::Word;

/// One instruction with everything that belongs to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Instruction {
    /// From the keyword to the end of the last line, bodies of here-documents included, the last line
    /// end not.
    pub span: Span,
    /// The keyword as written.
    pub keyword: Span,
    /// What follows the flags, without blanks at both ends; [`Dockerfile::arguments`] has it as one line.
    pub arguments: Span,
    /// The flags, in order, known or not.
    pub flags: Vec<Flag>,
    /// The here-documents, in order.
    pub heredocs: Vec<Heredoc>,
    /// Which instruction it is, with its parts.
    pub kind: Kind,
}

/// A flag, `--name` or `--name=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// The whole flag.
    pub span: Span,
    /// The name without dashes.
    pub name: Word,
    /// What follows the `=`; `None` if there is none.
    pub value: Option<Word>,
}

/// A here-document of `RUN`, `COPY` or `ADD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heredoc {
    /// The redirection on the instruction's line, `<<-"EOF"`.
    pub redirect: Word,
    /// The delimiter without quotes; the file's name for `COPY` and `ADD`.
    pub name: String,
    /// The descriptor number before `<<`; 0 if none is written.
    pub descriptor: u64,
    /// Whether variables in the body are expanded: the delimiter has no quotes.
    pub expand: bool,
    /// Whether leading tabs are taken off: `<<-`.
    pub strip_tabs: bool,
    /// The body's lines with their line ends, as written.
    pub body: Span,
    /// The delimiter's line; `None` if the file ends first.
    pub terminator: Option<Span>,
}

impl Heredoc {
    /// The body as the reader of the document gets it, leading tabs taken off for `<<-`.
    pub fn content<'a>(&self, file: &'a Dockerfile) -> Cow<'a, [u8]> {
        let raw = file.source().get(self.body.range()).unwrap_or_default();
        if !self.strip_tabs {
            return Cow::Borrowed(raw);
        }
        let mut out = Vec::with_capacity(raw.len());
        for line in raw.split_inclusive(|&byte| byte == b'\n') {
            let tabs = line.iter().take_while(|&&byte| byte == b'\t').count();
            out.extend_from_slice(line.get(tabs..).unwrap_or_default());
        }
        Cow::Owned(out)
    }
}

/// Which instruction it is.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Kind {
    /// `FROM`
    From(Box<From>),
    /// `RUN`
    Run(Box<Run>),
    /// `CMD`
    Cmd(Command),
    /// `ENTRYPOINT`
    Entrypoint(Command),
    /// `LABEL`
    Label(Vec<Pair>),
    /// `EXPOSE`: the ports
    Expose(Vec<Word>),
    /// `ENV`
    Env(Vec<Pair>),
    /// `ADD`
    Add(Box<Add>),
    /// `COPY`
    Copy(Box<Copy>),
    /// `VOLUME`
    Volume(Volume),
    /// `USER`; `None` if nothing follows
    User(Option<Word>),
    /// `WORKDIR`; `None` if nothing follows
    Workdir(Option<Word>),
    /// `ARG`
    Arg(Vec<Argument>),
    /// `ONBUILD`: the instruction that is put off; `None` if nothing follows or it is `ONBUILD` itself
    Onbuild(Option<Box<Instruction>>),
    /// `STOPSIGNAL`; `None` if nothing follows
    Stopsignal(Option<Word>),
    /// `HEALTHCHECK`
    Healthcheck(Box<Healthcheck>),
    /// `SHELL`: the words; empty if it is not a JSON array
    Shell(Vec<Word>),
    /// `MAINTAINER`; `None` if nothing follows
    Maintainer(Option<Word>),
    /// None of the known ones.
    Unknown,
}

impl Kind {
    /// The keyword in upper case, empty for an unknown one.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::From(_) => "FROM",
            Kind::Run(_) => "RUN",
            Kind::Cmd(_) => "CMD",
            Kind::Entrypoint(_) => "ENTRYPOINT",
            Kind::Label(_) => "LABEL",
            Kind::Expose(_) => "EXPOSE",
            Kind::Env(_) => "ENV",
            Kind::Add(_) => "ADD",
            Kind::Copy(_) => "COPY",
            Kind::Volume(_) => "VOLUME",
            Kind::User(_) => "USER",
            Kind::Workdir(_) => "WORKDIR",
            Kind::Arg(_) => "ARG",
            Kind::Onbuild(_) => "ONBUILD",
            Kind::Stopsignal(_) => "STOPSIGNAL",
            Kind::Healthcheck(_) => "HEALTHCHECK",
            Kind::Shell(_) => "SHELL",
            Kind::Maintainer(_) => "MAINTAINER",
            Kind::Unknown => "",
        }
    }
}

/// `FROM [--platform=P] IMAGE [AS NAME]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct From {
    /// The image or earlier stage; `None` if nothing follows.
    pub image: Option<Word>,
    /// `--platform`
    pub platform: Option<Word>,
    /// The `AS` as written.
    pub as_keyword: Option<Word>,
    /// The stage's name as written; names are compared without case.
    pub name: Option<Word>,
    /// Words that do not belong there.
    pub extra: Vec<Word>,
}

/// What `RUN`, `CMD`, `ENTRYPOINT` and `HEALTHCHECK CMD` execute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Text for the shell.
    Shell(Word),
    /// Words, from a JSON array.
    Exec(Vec<Word>),
    /// The line is one here-document redirection, and the body is the script.
    Heredoc(Word),
    /// Nothing is there.
    Empty,
}

/// `RUN`
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// What is executed.
    pub command: Command,
    /// `--mount`, each
    pub mounts: Vec<Mount>,
    /// `--network`: `default`, `none` or `host`
    pub network: Option<Word>,
    /// `--security`: `sandbox` or `insecure`
    pub security: Option<Word>,
    /// `--device`, each
    pub devices: Vec<Device>,
}

/// `--device=NAME[,required]`, a CDI device of `RUN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// The flag's value.
    pub span: Span,
    /// The device's name.
    pub name: Option<Word>,
    /// Whether the build fails without it.
    pub required: bool,
}

/// A name with a value in `ENV` and `LABEL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The name, quotes and variables as written.
    pub name: Word,
    /// The value, quotes and variables as written.
    pub value: Word,
    /// How they are told apart.
    pub separator: Separator,
}

/// What stands between name and value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub enum Separator {
    /// `name=value`
    Equals,
    /// `name value`, the old form, in which the rest of the line is the value
    Space,
}

/// `ARG NAME[=DEFAULT]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// The name.
    pub name: Word,
    /// The default, quotes and variables as written.
    pub default: Option<Word>,
}

/// A value that was understood, with the word it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Valued<T> {
    /// As written.
    pub word: Word,
    /// What it means.
    pub value: T,
}

/// A source of `COPY` or `ADD`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The path, URL, or redirection.
    pub word: Word,
    /// Which of the instruction's here-documents it is, if it is one.
    pub heredoc: Option<usize>,
}

/// `COPY`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Copy {
    /// All but the last argument.
    pub sources: Vec<Source>,
    /// The last argument.
    pub destination: Option<Word>,
    /// Whether the arguments are a JSON array.
    pub json: bool,
    /// `--from`: a stage's name or index, an image, or a named context
    pub from: Option<Word>,
    /// `--chown`
    pub chown: Option<Word>,
    /// `--chmod`
    pub chmod: Option<Word>,
    /// `--link`
    pub link: Option<Valued<bool>>,
    /// `--parents`
    pub parents: Option<Valued<bool>>,
    /// `--exclude`, each
    pub exclude: Vec<Word>,
}

/// `ADD`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Add {
    /// All but the last argument.
    pub sources: Vec<Source>,
    /// The last argument.
    pub destination: Option<Word>,
    /// Whether the arguments are a JSON array.
    pub json: bool,
    /// `--chown`
    pub chown: Option<Word>,
    /// `--chmod`
    pub chmod: Option<Word>,
    /// `--link`
    pub link: Option<Valued<bool>>,
    /// `--checksum`
    pub checksum: Option<Word>,
    /// `--keep-git-dir`
    pub keep_git_dir: Option<Valued<bool>>,
    /// `--unpack`
    pub unpack: Option<Valued<bool>>,
    /// `--exclude`, each
    pub exclude: Vec<Word>,
}

/// `VOLUME`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// The paths.
    pub paths: Vec<Word>,
    /// Whether the arguments are a JSON array.
    pub json: bool,
}

/// `HEALTHCHECK`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Healthcheck {
    /// What is checked.
    pub test: HealthTest,
    /// `--interval`
    pub interval: Option<Valued<Duration>>,
    /// `--timeout`
    pub timeout: Option<Valued<Duration>>,
    /// `--start-period`
    pub start_period: Option<Valued<Duration>>,
    /// `--start-interval`
    pub start_interval: Option<Valued<Duration>>,
    /// `--retries`; 0 means the engine's default
    pub retries: Option<Valued<u32>>,
}

/// What `HEALTHCHECK` checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthTest {
    /// `NONE`: a check of the base image is switched off.
    None,
    /// `CMD`
    Cmd(Command),
    /// Neither, or nothing.
    Invalid,
}

impl Instruction {
    /// The instruction to carry out: itself, or for `ONBUILD` the one that is put off.
    pub fn innermost(&self) -> &Instruction {
        match &self.kind {
            Kind::Onbuild(Some(trigger)) => trigger,
            _ => self,
        }
    }

    /// The script that BuildKit hands to the shell for a `RUN` in shell form, with here-documents put in.
    ///
    /// `None` for the exec form and other instructions. One sole here-document is the script itself; in
    /// any other form bodies and delimiters follow the line, and the shell reads them. A sole body that
    /// begins with `#!` is to be written to a file and executed as it is.
    pub fn script<'a>(&'a self, file: &'a Dockerfile) -> Option<Cow<'a, [u8]>> {
        let Kind::Run(run) = &self.kind else { return None };
        match &run.command {
            Command::Exec(_) => None,
            Command::Empty => Some(Cow::Borrowed(b"")),
            Command::Heredoc(_) => self.heredocs.first().map(|heredoc| heredoc.content(file)),
            Command::Shell(line) => {
                if self.heredocs.is_empty() {
                    return Some(Cow::Borrowed(line.bytes(file)));
                }
                let mut script = line.bytes(file).to_vec();
                for heredoc in &self.heredocs {
                    script.push(b'\n');
                    script.extend_from_slice(file.source().get(heredoc.body.range()).unwrap_or_default());
                    script.extend_from_slice(heredoc.name.as_bytes());
                }
                Some(Cow::Owned(script))
            }
        }
    }
}
