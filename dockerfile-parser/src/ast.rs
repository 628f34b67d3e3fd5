//! The instructions as plain data: for people, and as JSON.

use std::fmt::{self, Write as _};

use crate::dockerfile::Dockerfile;
use crate::instruction::{Command, HealthTest, Instruction, Kind, Separator, Source, Valued};
use crate::json::quote;
use crate::span::Span;
use crate::word::Word;

/// A value of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ast {
    /// A text.
    Text(String),
    /// A number.
    Number(u64),
    /// Yes or no.
    Bool(bool),
    /// A range of bytes.
    Span(Span),
    /// A word: its place, and what it says.
    Word(Span, String),
    /// Several values.
    List(Vec<Ast>),
    /// Several values with names, in order.
    Map(Vec<(&'static str, Ast)>),
}

impl Ast {
    /// As JSON, on one line.
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        self.json(&mut out);
        out
    }

    // the depth is the tree's own, at most that of an ONBUILD's heredoc, whatever the input
    fn json(&self, out: &mut String) {
        match self {
            Ast::Text(text) => quote(out, text),
            Ast::Number(number) => {
                let _ = write!(out, "{number}");
            }
            Ast::Bool(value) => {
                let _ = write!(out, "{value}");
            }
            Ast::Span(span) => {
                let _ = write!(out, "[{},{}]", span.start, span.end);
            }
            Ast::Word(span, text) => {
                let _ = write!(out, "{{\"span\":[{},{}],\"text\":", span.start, span.end);
                quote(out, text);
                out.push('}');
            }
            Ast::List(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    item.json(out);
                }
                out.push(']');
            }
            Ast::Map(entries) => {
                out.push('{');
                for (at, (name, value)) in entries.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    quote(out, name);
                    out.push(':');
                    value.json(out);
                }
                out.push('}');
            }
        }
    }

    fn lines(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        match self {
            Ast::Text(text) => {
                let mut quoted = String::new();
                quote(&mut quoted, text);
                writeln!(f, " {quoted}")
            }
            Ast::Number(number) => writeln!(f, " {number}"),
            Ast::Bool(value) => writeln!(f, " {value}"),
            Ast::Span(span) => writeln!(f, " {}..{}", span.start, span.end),
            Ast::Word(span, text) => {
                let mut quoted = String::new();
                quote(&mut quoted, text);
                writeln!(f, " {}..{} {quoted}", span.start, span.end)
            }
            Ast::List(items) if items.is_empty() => writeln!(f, " []"),
            Ast::List(items) => {
                writeln!(f)?;
                for item in items {
                    write!(f, "{:width$}-", "", width = depth * 2)?;
                    item.lines(f, depth + 1)?;
                }
                Ok(())
            }
            Ast::Map(entries) => {
                writeln!(f)?;
                for (name, value) in entries {
                    write!(f, "{:width$}{name}:", "", width = depth * 2)?;
                    value.lines(f, depth + 1)?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for Ast {
    /// Indented lines, one value each.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines(f, 0)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Ast {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        match self {
            Ast::Text(text) => serializer.serialize_str(text),
            Ast::Number(number) => serializer.serialize_u64(*number),
            Ast::Bool(value) => serializer.serialize_bool(*value),
            Ast::Span(span) => serializer.collect_seq([span.start, span.end]),
            Ast::Word(span, text) => {
                let mut map = serializer.serialize_map(Some(2))?;
                map.serialize_entry("span", &[span.start, span.end])?;
                map.serialize_entry("text", text)?;
                map.end()
            }
            Ast::List(items) => serializer.collect_seq(items),
            Ast::Map(entries) => serializer.collect_map(entries.iter().map(|(name, value)| (name, value))),
        }
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Dockerfile {
    /// As [`Dockerfile::ast`].
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.ast().serialize(serializer)
    }
}

impl Dockerfile {
    /// The directives and instructions as plain data.
    pub fn ast(&self) -> Ast {
        let directives = self.directives().iter().map(|directive| {
            Ast::Map(vec![
                ("span", Ast::Span(directive.span)),
                ("name", Ast::Word(directive.name, self.str(directive.name).into_owned())),
                ("value", Ast::Word(directive.value, self.str(directive.value).into_owned())),
            ])
        });
        let instructions = self.instructions().iter().map(|instruction| self.instruction_ast(instruction));
        Ast::Map(vec![
            ("escape", Ast::Text(self.escape().to_string())),
            ("directives", Ast::List(directives.collect())),
            ("instructions", Ast::List(instructions.collect())),
        ])
    }

    fn word_ast(&self, word: &Word) -> Ast {
        Ast::Word(word.span, word.text(self).into_owned())
    }

    fn words_ast<'a>(&self, words: impl IntoIterator<Item = &'a Word>) -> Ast {
        Ast::List(words.into_iter().map(|word| self.word_ast(word)).collect())
    }

    fn command_ast(&self, map: &mut Vec<(&'static str, Ast)>, command: &Command) {
        match command {
            Command::Shell(word) => map.push(("shell", self.word_ast(word))),
            Command::Exec(words) => map.push(("exec", self.words_ast(words))),
            Command::Heredoc(word) => map.push(("heredoc", self.word_ast(word))),
            Command::Empty => map.push(("empty", Ast::Bool(true))),
        }
    }

    fn sources_ast(&self, sources: &[Source]) -> Ast {
        let list = sources.iter().map(|source| match source.heredoc {
            None => self.word_ast(&source.word),
            Some(at) => {
                Ast::Map(vec![("redirect", self.word_ast(&source.word)), ("heredoc", Ast::Number(at as u64))])
            }
        });
        Ast::List(list.collect())
    }

    fn instruction_ast(&self, instruction: &Instruction) -> Ast {
        let name = match instruction.kind.name() {
            "" => self.str(instruction.keyword).into_owned(),
            name => name.to_owned(),
        };
        let mut map = vec![
            ("instruction", Ast::Word(instruction.keyword, name)),
            ("span", Ast::Span(instruction.span)),
        ];
        if !instruction.flags.is_empty() {
            let flags = instruction.flags.iter().map(|flag| {
                let mut map = vec![("name", self.word_ast(&flag.name))];
                map.extend(flag.value.as_ref().map(|value| ("value", self.word_ast(value))));
                Ast::Map(map)
            });
            map.push(("flags", Ast::List(flags.collect())));
        }
        self.kind_ast(&mut map, instruction);
        if !instruction.heredocs.is_empty() {
            let heredocs = instruction.heredocs.iter().map(|heredoc| {
                let mut map = vec![
                    ("redirect", self.word_ast(&heredoc.redirect)),
                    ("name", Ast::Text(heredoc.name.clone())),
                    ("descriptor", Ast::Number(heredoc.descriptor)),
                    ("expand", Ast::Bool(heredoc.expand)),
                    ("strip_tabs", Ast::Bool(heredoc.strip_tabs)),
                    ("body", Ast::Word(heredoc.body, self.str(heredoc.body).into_owned())),
                ];
                map.extend(heredoc.terminator.map(|span| ("terminator", Ast::Span(span))));
                Ast::Map(map)
            });
            map.push(("heredocs", Ast::List(heredocs.collect())));
        }
        Ast::Map(map)
    }

    fn kind_ast(&self, map: &mut Vec<(&'static str, Ast)>, instruction: &Instruction) {
        let mut optional = |name: &'static str, word: &Option<Word>| {
            if let Some(word) = word {
                map.push((name, self.word_ast(word)));
            }
        };
        let switch = |value: &Option<Valued<bool>>| value.as_ref().map(|found| Ast::Bool(found.value));
        match &instruction.kind {
            Kind::From(from) => {
                optional("image", &from.image);
                optional("platform", &from.platform);
                optional("name", &from.name);
                if !from.extra.is_empty() {
                    map.push(("extra", self.words_ast(&from.extra)));
                }
            }
            Kind::Run(run) => {
                optional("network", &run.network);
                optional("security", &run.security);
                self.command_ast(map, &run.command);
                if !run.mounts.is_empty() {
                    let mounts = run.mounts.iter().map(|mount| {
                        let mut entries = vec![("span", Ast::Span(mount.span))];
                        if let Some(kind) = mount.kind {
                            entries.push(("type", Ast::Text(format!("{kind:?}").to_lowercase())));
                        }
                        let options = mount.options.iter().map(|option| {
                            let mut entries = vec![("key", Ast::Word(option.span, option.key.to_string()))];
                            entries
                                .extend(option.value.as_ref().map(|value| ("value", self.word_ast(value))));
                            Ast::Map(entries)
                        });
                        entries.push(("options", Ast::List(options.collect())));
                        Ast::Map(entries)
                    });
                    map.push(("mounts", Ast::List(mounts.collect())));
                }
                if !run.devices.is_empty() {
                    let devices = run.devices.iter().map(|device| {
                        let mut entries = vec![("span", Ast::Span(device.span))];
                        entries.extend(device.name.as_ref().map(|name| ("name", self.word_ast(name))));
                        entries.push(("required", Ast::Bool(device.required)));
                        Ast::Map(entries)
                    });
                    map.push(("devices", Ast::List(devices.collect())));
                }
            }
            Kind::Cmd(command) | Kind::Entrypoint(command) => self.command_ast(map, command),
            Kind::Label(pairs) | Kind::Env(pairs) => {
                let pairs = pairs.iter().map(|pair| {
                    let mut entries =
                        vec![("name", self.word_ast(&pair.name)), ("value", self.word_ast(&pair.value))];
                    if pair.separator == Separator::Space {
                        entries.push(("legacy", Ast::Bool(true)));
                    }
                    Ast::Map(entries)
                });
                map.push(("pairs", Ast::List(pairs.collect())));
            }
            Kind::Expose(ports) => map.push(("ports", self.words_ast(ports))),
            Kind::Copy(copy) => {
                optional("from", &copy.from);
                optional("chown", &copy.chown);
                optional("chmod", &copy.chmod);
                optional("destination", &copy.destination);
                map.push(("sources", self.sources_ast(&copy.sources)));
                map.extend(switch(&copy.link).map(|value| ("link", value)));
                map.extend(switch(&copy.parents).map(|value| ("parents", value)));
                if !copy.exclude.is_empty() {
                    map.push(("exclude", self.words_ast(&copy.exclude)));
                }
                if copy.json {
                    map.push(("json", Ast::Bool(true)));
                }
            }
            Kind::Add(add) => {
                optional("chown", &add.chown);
                optional("chmod", &add.chmod);
                optional("checksum", &add.checksum);
                optional("destination", &add.destination);
                map.push(("sources", self.sources_ast(&add.sources)));
                map.extend(switch(&add.link).map(|value| ("link", value)));
                map.extend(switch(&add.keep_git_dir).map(|value| ("keep_git_dir", value)));
                map.extend(switch(&add.unpack).map(|value| ("unpack", value)));
                if !add.exclude.is_empty() {
                    map.push(("exclude", self.words_ast(&add.exclude)));
                }
                if add.json {
                    map.push(("json", Ast::Bool(true)));
                }
            }
            Kind::Volume(volume) => {
                map.push(("paths", self.words_ast(&volume.paths)));
                if volume.json {
                    map.push(("json", Ast::Bool(true)));
                }
            }
            Kind::User(word) => optional("user", word),
            Kind::Workdir(word) => optional("path", word),
            Kind::Stopsignal(word) => optional("signal", word),
            Kind::Maintainer(word) => optional("maintainer", word),
            Kind::Arg(arguments) => {
                let arguments = arguments.iter().map(|argument| {
                    let mut entries = vec![("name", self.word_ast(&argument.name))];
                    entries.extend(argument.default.as_ref().map(|word| ("default", self.word_ast(word))));
                    Ast::Map(entries)
                });
                map.push(("arguments", Ast::List(arguments.collect())));
            }
            Kind::Onbuild(trigger) => {
                if let Some(trigger) = trigger {
                    map.push(("trigger", self.instruction_ast(trigger)));
                }
            }
            Kind::Healthcheck(check) => {
                match &check.test {
                    HealthTest::None => map.push(("none", Ast::Bool(true))),
                    HealthTest::Invalid => {}
                    HealthTest::Cmd(command) => self.command_ast(map, command),
                }
                for (name, value) in [
                    ("interval_ns", &check.interval),
                    ("timeout_ns", &check.timeout),
                    ("start_period_ns", &check.start_period),
                    ("start_interval_ns", &check.start_interval),
                ] {
                    map.extend(
                        value.as_ref().map(|found| (name, Ast::Number(found.value.as_nanos() as u64))),
                    );
                }
                map.extend(check.retries.as_ref().map(|found| ("retries", Ast::Number(found.value.into()))));
            }
            Kind::Shell(words) => map.push(("shell", self.words_ast(words))),
            Kind::Unknown => {
                let text = String::from_utf8_lossy(&self.arguments(instruction)).into_owned();
                map.push(("arguments", Ast::Word(instruction.arguments, text)));
            }
        }
    }
}
