//! The arguments of each instruction.

use crate::code::Code;
use crate::diagnostic::{Diagnostic, closest};
use crate::dockerfile::{clip, plain, position, space, trim};
use crate::edit::Edit;
use crate::instruction::{
    Add, Argument, Command, Copy, Flag, From, HealthTest, Healthcheck, Instruction, Kind, Pair, Run,
    Separator, Source, Volume,
};
use crate::json::{self, Array};
use crate::span::{Logical, Span};
use crate::word::Word;

/// All keywords.
pub(crate) const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Reads one logical line.
pub(crate) struct Reader<'a> {
    pub(crate) line: &'a Logical<'a>,
    pub(crate) source: &'a [u8],
    pub(crate) escape: u8,
    pub(crate) diagnostics: &'a mut Vec<Diagnostic>,
}

/// The keyword in upper case, if it is one.
#[inline]
fn keyword(text: &[u8]) -> Option<&'static str> {
    if !(3..=11).contains(&text.len()) {
        return None;
    }
    let mut upper = [0u8; 11];
    for (to, from) in upper.iter_mut().zip(text) {
        *to = from.to_ascii_uppercase();
    }
    Some(match &upper[..text.len()] {
        b"RUN" => "RUN",
        b"COPY" => "COPY",
        b"ENV" => "ENV",
        b"FROM" => "FROM",
        b"ARG" => "ARG",
        b"LABEL" => "LABEL",
        b"WORKDIR" => "WORKDIR",
        b"CMD" => "CMD",
        b"EXPOSE" => "EXPOSE",
        b"ENTRYPOINT" => "ENTRYPOINT",
        b"USER" => "USER",
        b"ADD" => "ADD",
        b"VOLUME" => "VOLUME",
        b"SHELL" => "SHELL",
        b"HEALTHCHECK" => "HEALTHCHECK",
        b"ONBUILD" => "ONBUILD",
        b"STOPSIGNAL" => "STOPSIGNAL",
        b"MAINTAINER" => "MAINTAINER",
        _ => return None,
    })
}

impl Reader<'_> {
    /// Read the instruction at `from..to`, which has no white space at its ends.
    pub(crate) fn instruction(&mut self, from: usize, to: usize, parent: Option<&str>) -> Instruction {
        let text = self.line.text;
        let mut at = from;
        while at < to && !blank(text[at]) {
            at += 1;
        }
        let word = self.line.span(from, at);
        let known = keyword(&text[from..at]);
        while at < to && blank(text[at]) {
            at += 1;
        }
        let (flags, at) = if text[at..to].starts_with(b"--") { self.flags(at, to) } else { (Vec::new(), at) };
        let (start, end) = trim(text, at.min(to), to);
        let arguments = self.line.span(start, end);
        let kind = match known {
            None => {
                self.unknown(from, word);
                Kind::Unknown
            }
            Some(name) => {
                let silenced = name == "HEALTHCHECK" && self.is_none(start, end);
                if !flags.is_empty() && !silenced {
                    self.check_flags(name, &flags);
                }
                self.kind(name, word, &flags, start, end, parent)
            }
        };
        Instruction {
            span: self.line.span(from, to),
            keyword: word,
            arguments,
            flags,
            heredocs: Vec::new(),
            kind,
        }
    }

    fn unknown(&mut self, from: usize, span: Span) {
        let rest = self.line.text.get(from..).unwrap_or_default();
        let length = (0..rest.len()).find(|&at| blank(rest[at])).unwrap_or(rest.len());
        let name = String::from_utf8_lossy(&rest[..length]);
        let mut fault =
            Diagnostic::new(Code::UnknownInstruction, span, format!("unknown instruction '{}'", clip(&name)));
        // a space that is not ASCII keeps the keyword and its arguments together
        let head = (0..length).find(|&at| space(rest, at) > 0);
        if let Some(at) = head
            && keyword(&rest[..at]).is_some()
        {
            let place = Span::new(span.start + at, span.start + at + space(rest, at));
            fault = fault.suggest("put a plain space there", Edit::replace(place, " "));
        } else if let Some(close) = closest(&name, KEYWORDS) {
            let lower = name.bytes().any(|byte| byte.is_ascii_lowercase())
                && !name.bytes().any(|byte| byte.is_ascii_uppercase());
            let word = if lower { close.to_ascii_lowercase() } else { close.to_owned() };
            fault = fault.suggest(format!("did you mean {word}?"), Edit::replace(span, word));
        } else if let Some(at) = name.find([':', '：', '=', '('])
            && keyword(&name.as_bytes()[..at]).is_some()
        {
            let wide = name[at..].chars().next().map_or(0, char::len_utf8);
            let place = Span::new(span.start + at, span.start + at + wide);
            fault = fault.suggest("a keyword is followed by a space", Edit::replace(place, " "));
        }
        self.diagnostics.push(fault);
    }

    #[inline]
    fn is_none(&self, start: usize, end: usize) -> bool {
        self.line.text[start..end].eq_ignore_ascii_case(b"none")
    }

    fn kind(
        &mut self,
        name: &'static str,
        keyword: Span,
        flags: &[Flag],
        start: usize,
        end: usize,
        parent: Option<&str>,
    ) -> Kind {
        let empty = start >= end;
        if empty && !matches!(name, "RUN" | "CMD" | "ENTRYPOINT" | "COPY" | "ADD" | "FROM") {
            self.fault(Code::MissingArgument, keyword, format!("{name} needs an argument"));
        }
        match name {
            "FROM" => Kind::From(Box::new(self.from(keyword, flags, start, end))),
            "RUN" => Kind::Run(Box::new(self.run(flags, start, end))),
            "CMD" => Kind::Cmd(self.command(name, start, end)),
            "ENTRYPOINT" => Kind::Entrypoint(self.command(name, start, end)),
            "SHELL" => Kind::Shell(self.shell(start, end)),
            "ENV" => Kind::Env(self.pairs(name, start, end)),
            "LABEL" => Kind::Label(self.pairs(name, start, end)),
            "ARG" => Kind::Arg(self.arguments(start, end)),
            "EXPOSE" => Kind::Expose(self.split(start, end)),
            "COPY" => {
                let (sources, destination, json) = self.transfer(name, keyword, start, end);
                Kind::Copy(Box::new(Copy {
                    sources,
                    destination,
                    json,
                    from: self.value(flags, "from"),
                    chown: self.value(flags, "chown"),
                    chmod: self.value(flags, "chmod"),
                    link: self.switch(flags, "link"),
                    parents: self.switch(flags, "parents"),
                    exclude: self.values(flags, "exclude").into_iter().cloned().collect(),
                }))
            }
            "ADD" => {
                let (sources, destination, json) = self.transfer(name, keyword, start, end);
                Kind::Add(Box::new(Add {
                    sources,
                    destination,
                    json,
                    chown: self.value(flags, "chown"),
                    chmod: self.value(flags, "chmod"),
                    link: self.switch(flags, "link"),
                    checksum: self.value(flags, "checksum"),
                    keep_git_dir: self.switch(flags, "keep-git-dir"),
                    unpack: self.switch(flags, "unpack"),
                    exclude: self.values(flags, "exclude").into_iter().cloned().collect(),
                }))
            }
            "VOLUME" => {
                let (paths, json) = match self.json(name, start, end) {
                    Some(words) => (words, true),
                    None => (self.split(start, end), false),
                };
                if let Some(word) = paths.iter().find(|word| self.bytes(word).trim_ascii().is_empty()) {
                    let span = word.span;
                    self.fault(Code::MissingArgument, span, "a volume's path is empty");
                } else if paths.is_empty() && !empty {
                    self.fault(Code::MissingArgument, keyword, "VOLUME needs an argument");
                }
                Kind::Volume(Volume { paths, json })
            }
            "USER" => Kind::User(self.whole(start, end)),
            "WORKDIR" => Kind::Workdir(self.whole(start, end)),
            "STOPSIGNAL" => Kind::Stopsignal(self.whole(start, end)),
            "MAINTAINER" => Kind::Maintainer(self.whole(start, end)),
            "HEALTHCHECK" => Kind::Healthcheck(Box::new(self.healthcheck(flags, start, end))),
            _ => Kind::Onbuild(self.onbuild(keyword, start, end, parent)),
        }
    }

    #[inline]
    fn whole(&self, start: usize, end: usize) -> Option<Word> {
        (start < end).then(|| Word::of(self.line, start, end))
    }

    /// Words told apart by blanks alone.
    #[inline]
    fn split(&self, start: usize, end: usize) -> Vec<Word> {
        self.split_into(start, end, |word| word)
    }

    #[inline]
    fn split_into<T>(&self, start: usize, end: usize, make: impl Fn(Word) -> T) -> Vec<T> {
        let text = self.line.text;
        let mut words = Vec::new();
        let mut at = start;
        while at < end {
            let from = at;
            while at < end && !blank(text[at]) {
                at += 1;
            }
            words.push(make(Word::of(self.line, from, at)));
            while at < end && blank(text[at]) {
                at += 1;
            }
        }
        words
    }

    /// The next word with its quotes and escapes, from `at` on.
    #[inline]
    fn next_word(&self, at: &mut usize, end: usize) -> Option<(usize, usize)> {
        let text = self.line.text;
        while *at < end {
            match space(text, *at) {
                0 => break,
                length => *at += length,
            }
        }
        if *at >= end {
            return None;
        }
        let from = *at;
        let mut quote = None;
        loop {
            *at = plain(text, *at, end);
            if *at >= end {
                break;
            }
            let byte = text[*at];
            if byte == self.escape && quote != Some(b'\'') {
                if *at + 1 >= end {
                    // an escape at the very end escapes nothing and is dropped
                    let to = *at;
                    *at = end;
                    return (to > from).then_some((from, to));
                }
                *at += 1;
                *at += width(text, *at).min(end - *at);
                continue;
            }
            match quote {
                Some(open) if open == byte => quote = None,
                None if matches!(byte, b'"' | b'\'') => quote = Some(byte),
                None if space(text, *at) > 0 => break,
                _ => {}
            }
            *at += 1;
        }
        Some((from, *at))
    }

    fn pairs(&mut self, name: &str, start: usize, end: usize) -> Vec<Pair> {
        let text = self.line.text;
        let mut at = start;
        let mut pairs = Vec::new();
        while let Some((from, to)) = self.next_word(&mut at, end) {
            match position(b'=', &text[from..to]) {
                Some(equals) => {
                    if equals == 0 {
                        let span = self.line.span(from, to);
                        self.fault(Code::BlankName, span, format!("{name}: a name is empty"));
                    }
                    pairs.push(Pair {
                        name: Word::of(self.line, from, from + equals),
                        value: Word::of(self.line, from + equals + 1, to),
                        separator: Separator::Equals,
                    });
                }
                None if pairs.is_empty() => {
                    let mut cut = start;
                    while cut < end && !blank(text[cut]) {
                        cut += 1;
                    }
                    let mut value = cut;
                    while value < end && blank(text[value]) {
                        value += 1;
                    }
                    if value >= end {
                        let span = self.line.span(start, end);
                        self.fault(Code::MissingArgument, span, format!("{name} needs a name and a value"));
                    }
                    pairs.push(Pair {
                        name: Word::of(self.line, start, cut),
                        value: Word::of(self.line, value, end),
                        separator: Separator::Space,
                    });
                    break;
                }
                None => {
                    let span = self.line.span(from, to);
                    if text[from] == b'#' {
                        self.trailing_comment(from, end);
                        break;
                    }
                    let word = String::from_utf8_lossy(&text[from..to]).into_owned();
                    self.fault(
                        Code::MissingEquals,
                        span,
                        format!(
                            "{name}: '{}' has no '=': names and values are written name=value",
                            clip(&word)
                        ),
                    );
                }
            }
        }
        pairs
    }

    fn arguments(&mut self, start: usize, end: usize) -> Vec<Argument> {
        let text = self.line.text;
        let mut at = start;
        let mut arguments = Vec::new();
        while let Some((from, to)) = self.next_word(&mut at, end) {
            if text[from] == b'#' && !arguments.is_empty() {
                self.trailing_comment(from, end);
            }
            let equals = position(b'=', &text[from..to]);
            if equals == Some(0) {
                let span = self.line.span(from, to);
                self.fault(Code::BlankName, span, "ARG: a name is empty");
            }
            let cut = equals.map_or(to, |equals| from + equals);
            arguments.push(Argument {
                name: Word::of(self.line, from, cut),
                default: equals.map(|equals| Word::of(self.line, from + equals + 1, to)),
            });
        }
        arguments
    }

    /// Say that what looks like a comment is part of the instruction.
    fn trailing_comment(&mut self, from: usize, end: usize) {
        let mut begin = from;
        while begin > 0 && blank(self.line.text[begin - 1]) {
            begin -= 1;
        }
        let span = self.line.span(from, end);
        self.diagnostics.push(
            Diagnostic::new(
                Code::TrailingComment,
                span,
                "a comment stands on a line of its own; after an instruction it is part of it",
            )
            .suggest("take it out", Edit::delete(self.line.span(begin, end))),
        );
    }

    fn from(&mut self, keyword: Span, flags: &[Flag], start: usize, end: usize) -> From {
        let mut words = self.split(start, end);
        if let Some(at) = words.iter().position(|word| self.bytes(word).starts_with(b"#"))
            && at > 0
        {
            let mut begin = start;
            for _ in 0..at {
                while begin < end && !blank(self.line.text[begin]) {
                    begin += 1;
                }
                while begin < end && blank(self.line.text[begin]) {
                    begin += 1;
                }
            }
            self.trailing_comment(begin, end);
        }
        let platform = self.value(flags, "platform");
        let mut from = From { platform, ..From::default() };
        let named = words.get(1).is_some_and(|word| self.bytes(word).eq_ignore_ascii_case(b"as"));
        match words.len() {
            0 => self.fault(Code::MissingArgument, keyword, "FROM needs an image or a stage"),
            1 => {}
            3 if named => {
                let name = self.str(&words[2]).into_owned();
                let valid = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic())
                    && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
                if !valid {
                    let message = format!(
                        "'{}' is no name for a stage: letters, digits, '-', '_' and '.', first a letter",
                        clip(&name)
                    );
                    self.fault(Code::InvalidStageName, words[2].span, message);
                }
            }
            _ => {
                let last = words.last().map_or(keyword, |word| word.span);
                let first = words.get(if named { 3 } else { 1 }).map_or(last, |word| word.span);
                let message = if named && words.len() == 2 {
                    "FROM: a name is missing after AS"
                } else {
                    "FROM has either one argument, or three: IMAGE AS NAME"
                };
                let code =
                    if named && words.len() == 2 { Code::MissingArgument } else { Code::ExtraArgument };
                self.fault(code, first.to(last), message);
            }
        }
        if named {
            from.extra = words.split_off(words.len().min(3));
            from.name = (words.len() > 2).then(|| words.remove(2));
            from.as_keyword = Some(words.remove(1));
        } else {
            from.extra = words.split_off(words.len().min(1));
        }
        from.image = words.pop();
        from
    }

    /// A JSON array of strings; `None` if it is to be taken as text.
    fn json(&mut self, name: &str, start: usize, end: usize) -> Option<Vec<Word>> {
        let text = self.line.text;
        if start >= end || text[start] != b'[' {
            return None;
        }
        match json::array(self.line, start, end) {
            Array::Strings(words) => Some(words),
            Array::NotStrings(at) => {
                let span = self.line.span(at, end - 1);
                self.fault(Code::JsonNotStrings, span, format!("{name}: a JSON array here has only strings"));
                Some(Vec::new())
            }
            Array::Invalid(at) => {
                self.not_quite_json(name, start, end, at);
                None
            }
        }
    }

    /// Say what keeps it from being JSON, unless it may well be meant as text.
    fn not_quite_json(&mut self, name: &str, start: usize, end: usize, at: usize) {
        let text = &self.line.text[start..end];
        let inner = text[1..].trim_ascii_start();
        let single = inner.first() == Some(&b'\'');
        let smart = ["“", "”", "„", "‘", "’"].iter().any(|quote| inner.starts_with(quote.as_bytes()));
        let double = inner.first() == Some(&b'"');
        if matches!(name, "RUN" | "CMD" | "ENTRYPOINT" | "HEALTHCHECK") {
            // [ "$a" = b ] is a test
            let test = matches!(text.get(1), Some(b' ' | b'[')) && memchr::memchr(b',', text).is_none();
            if test || !(single || smart || double) {
                return;
            }
        }
        let span = self.line.span(start, end);
        let bad = self.line.span(at.min(end), (at + 1).min(end));
        // an array that is fine, and then a comment
        if at < end && self.line.text[at] == b'#' && text[..at - start].trim_ascii_end().ends_with(b"]") {
            self.trailing_comment(at, end);
            return;
        }
        let reason = if single {
            "strings have double quotes"
        } else if smart {
            "the quotes are typographic"
        } else if at < end && self.line.text[at] == b']' {
            "a comma stands before the end"
        } else if at >= end {
            "it does not end with ]"
        } else {
            "it stops to be JSON here"
        };
        let place = if bad.is_empty() { span } else { bad };
        let mut fault = Diagnostic::new(
            Code::JsonFallback,
            if single || smart { span } else { place },
            format!("{name}: this is not a JSON array ({reason}), so it is taken as plain text"),
        );
        if let Some(mended) = mend(text) {
            fault = fault.suggest("write it as JSON", Edit::replace(span, mended));
        }
        self.diagnostics.push(fault);
    }

    fn command(&mut self, name: &str, start: usize, end: usize) -> Command {
        if start >= end {
            return Command::Empty;
        }
        match self.json(name, start, end) {
            Some(words) => Command::Exec(words),
            None => Command::Shell(Word::of(self.line, start, end)),
        }
    }

    fn run(&mut self, flags: &[Flag], start: usize, end: usize) -> Run {
        let command = self.command("RUN", start, end);
        if flags.is_empty() {
            return Run { command, mounts: Vec::new(), network: None, security: None, devices: Vec::new() };
        }
        let mounts = self.values(flags, "mount");
        let devices = self.values(flags, "device");
        Run {
            command,
            mounts: mounts.into_iter().map(|value| self.mount(value)).collect(),
            network: self.choice(flags, "network", &["default", "none", "host"]),
            security: self.choice(flags, "security", &["sandbox", "insecure"]),
            devices: devices.into_iter().map(|value| self.device(value)).collect(),
        }
    }

    fn shell(&mut self, start: usize, end: usize) -> Vec<Word> {
        if start >= end {
            return Vec::new();
        }
        let span = self.line.span(start, end);
        match json::array(self.line, start, end) {
            Array::Strings(words) => {
                if words.is_empty() {
                    self.fault(Code::MissingArgument, span, "SHELL needs at least one word");
                }
                words
            }
            Array::NotStrings(_) => {
                self.fault(Code::JsonNotStrings, span, "SHELL: a JSON array here has only strings");
                Vec::new()
            }
            Array::Invalid(_) => {
                let text = &self.line.text[start..end];
                let mut fault = Diagnostic::new(
                    Code::JsonNotStrings,
                    span,
                    "SHELL takes a JSON array of strings, such as [\"/bin/sh\", \"-c\"]",
                );
                if let Some(mended) = mend(text) {
                    fault = fault.suggest("write it as JSON", Edit::replace(span, mended));
                }
                self.diagnostics.push(fault);
                Vec::new()
            }
        }
    }

    fn transfer(
        &mut self,
        name: &str,
        keyword: Span,
        start: usize,
        end: usize,
    ) -> (Vec<Source>, Option<Word>, bool) {
        let source = |word| Source { word, heredoc: None };
        let (mut sources, json) = match self.json(name, start, end) {
            Some(words) => (words.into_iter().map(source).collect(), true),
            None => (self.split_into(start, end, source), false),
        };
        if sources.len() < 2 {
            let span = sources.first().map_or(keyword, |source| source.word.span);
            self.fault(Code::MissingArgument, span, format!("{name} needs a source and a destination"));
        }
        if let Some(at) = sources.iter().skip(2).position(|source| self.bytes(&source.word) == b"#")
            && !json
        {
            let mut from = start;
            for _ in 0..at + 2 {
                while from < end && !blank(self.line.text[from]) {
                    from += 1;
                }
                while from < end && blank(self.line.text[from]) {
                    from += 1;
                }
            }
            self.trailing_comment(from, end);
        }
        let destination = sources.pop().map(|last| last.word);
        if let Some(word) = &destination
            && crate::heredoc::redirect(self.bytes(word)).is_some()
        {
            let span = word.span;
            self.fault(
                Code::MisplacedHeredoc,
                span,
                format!("{name}: a here-document is a source, not a destination"),
            );
        }
        (sources, destination, json)
    }

    fn healthcheck(&mut self, flags: &[Flag], start: usize, end: usize) -> Healthcheck {
        let text = self.line.text;
        let cut = (start..end).find(|&at| space(text, at) > 0).unwrap_or(end);
        let (from, to) = trim(text, cut, end);
        let word = &text[start..cut];
        let span = self.line.span(start, cut);
        let mut check = Healthcheck {
            test: HealthTest::Invalid,
            interval: None,
            timeout: None,
            start_period: None,
            start_interval: None,
            retries: None,
        };
        if word.eq_ignore_ascii_case(b"none") {
            check.test = HealthTest::None;
            if from < to {
                let extra = self.line.span(from, to);
                self.fault(Code::ExtraArgument, extra, "HEALTHCHECK NONE takes no arguments");
            }
            return check;
        }
        check.interval = self.duration(flags, "interval");
        check.timeout = self.duration(flags, "timeout");
        check.start_period = self.duration(flags, "start-period");
        check.start_interval = self.duration(flags, "start-interval");
        check.retries = self.count(flags, "retries");
        if word.eq_ignore_ascii_case(b"cmd") {
            let command = self.command("HEALTHCHECK", from, to);
            if command == Command::Empty || command == Command::Exec(Vec::new()) {
                self.fault(Code::MissingArgument, span, "HEALTHCHECK CMD needs a command");
            }
            check.test = HealthTest::Cmd(command);
        } else if start < end {
            let word = String::from_utf8_lossy(word).into_owned();
            let mut fault = Diagnostic::new(
                Code::InvalidHealthcheck,
                span,
                format!("HEALTHCHECK is followed by CMD or NONE, not '{}'", clip(&word)),
            );
            if let Some(close) = closest(&word, ["CMD", "NONE"]) {
                fault = fault.suggest(format!("did you mean {close}?"), Edit::replace(span, close));
            } else {
                fault = fault.suggest("put CMD before the command", Edit::insert(span.start, "CMD "));
            }
            self.diagnostics.push(fault);
        }
        check
    }

    fn onbuild(
        &mut self,
        keyword: Span,
        start: usize,
        end: usize,
        parent: Option<&str>,
    ) -> Option<Box<Instruction>> {
        if start >= end || parent.is_some() {
            return None;
        }
        let trigger = self.instruction(start, end, Some("ONBUILD"));
        let name = trigger.kind.name();
        if matches!(name, "ONBUILD" | "FROM" | "MAINTAINER") {
            self.fault(
                Code::OnbuildForbidden,
                keyword.to(trigger.keyword),
                format!("ONBUILD cannot put off {name}"),
            );
        }
        if name == "ONBUILD" {
            return None;
        }
        Some(Box::new(trigger))
    }
}

/// White space between the words of an instruction.
#[inline]
pub(crate) fn blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x0B | 0x0C | b'\r')
}

/// Length of the character at `at`.
#[inline]
fn width(text: &[u8], at: usize) -> usize {
    match text.get(at) {
        Some(0xC2..=0xDF) => 2,
        Some(0xE0..=0xEF) => 3,
        Some(0xF0..=0xF4) => 4,
        _ => 1,
    }
}

/// `['a', “b”,]` as proper JSON, if it is one list of quoted words.
fn mend(text: &[u8]) -> Option<String> {
    if text.len() > 4096 {
        return None;
    }
    let text = std::str::from_utf8(text).ok()?.trim();
    let mut rest = text.strip_prefix('[')?.trim_start();
    let mut words = Vec::new();
    loop {
        if let Some(after) = rest.strip_prefix(']') {
            if !after.trim().is_empty() {
                return None;
            }
            break;
        }
        if rest.is_empty() {
            break;
        }
        let open = rest.chars().next()?;
        let closers: &[char] = match open {
            '\'' | '‘' | '’' => &['\'', '‘', '’'],
            '"' | '“' | '”' | '„' => &['"', '“', '”'],
            _ => return None,
        };
        rest = &rest[open.len_utf8()..];
        let close = rest.find(closers)?;
        words.push(rest[..close].to_owned());
        let after = rest[close..].chars().next()?;
        rest = rest[close + after.len_utf8()..].trim_start();
        match rest.chars().next() {
            Some(comma @ (',' | '，')) => rest = rest[comma.len_utf8()..].trim_start(),
            Some(']') | None => {}
            _ => return None,
        }
    }
    if words.is_empty() {
        return None;
    }
    let mut out = String::from("[");
    for (at, word) in words.iter().enumerate() {
        if at > 0 {
            out.push_str(", ");
        }
        json::quote(&mut out, word);
    }
    out.push(']');
    Some(out)
}
