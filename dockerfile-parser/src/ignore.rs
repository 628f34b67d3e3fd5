//! `.dockerignore`, and the patterns of `COPY --exclude`.

use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::dockerfile::clip;
use crate::error::Error;
use crate::span::Span;

/// The patterns of an ignore file.
///
/// The rules are those of Docker's `patternmatcher`: a pattern that matches a folder matches all within;
/// the last pattern that matches decides, and `!` takes a match back; `*` and `?` stay within a name, `**`
/// spans any number of folders. Matching takes at most the length of the pattern times that of the path.
#[derive(Debug, Clone, Default)]
pub struct Ignore {
    patterns: Vec<Pattern>,
    negates: bool,
}

#[derive(Debug, Clone)]
struct Pattern {
    text: String,
    negated: bool,
    how: How,
}

/// How a pattern is matched.
#[derive(Debug, Clone)]
enum How {
    /// Letter by letter.
    Exact,
    /// `text**`: all that begins so.
    Prefix(String),
    /// `**text`: all that ends so.
    Suffix(String),
    /// With wildcards.
    Tokens(Vec<Token>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Char(char),
    /// `?`
    One,
    /// `*`
    Many,
    /// `**` or `**/` in the middle: nothing, or what comes next and then a slash
    Folders,
    /// Always after `Folders`: anything up to a slash
    Inside,
    /// `**` at the end: anything
    Rest,
    /// `[a-z]`, `[^a-z]`
    Class(bool, Vec<(char, char)>),
}

impl Ignore {
    /// Read an ignore file. Patterns that are malformed are left out, and reported.
    pub fn parse(source: &[u8]) -> (Ignore, Vec<Diagnostic>) {
        let mut ignore = Ignore::default();
        let mut diagnostics = Vec::new();
        let mut at = if source.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
        while at < source.len() {
            let (end, next) = crate::dockerfile::line_at(source, at);
            let (start, line) = (at, &source[at..end]);
            at = next;
            if line.starts_with(b"#") {
                continue;
            }
            let text = String::from_utf8_lossy(line);
            if let Err(fault) = ignore.push(&text) {
                diagnostics.push(Diagnostic::new(
                    Code::InvalidPattern,
                    Span::new(start, end),
                    fault.to_string(),
                ));
            }
        }
        (ignore, diagnostics)
    }

    /// Patterns from elsewhere, such as `--exclude`. Fails at the first that is malformed.
    pub fn from_patterns<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Ignore, Error> {
        let mut ignore = Ignore::default();
        for pattern in patterns {
            ignore.push(pattern)?;
        }
        Ok(ignore)
    }

    /// Whether there is no pattern.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether a pattern takes matches back.
    pub fn negates(&self) -> bool {
        self.negates
    }

    /// The patterns as they are matched, cleaned, with their `!`.
    pub fn patterns(&self) -> impl Iterator<Item = String> + '_ {
        self.patterns
            .iter()
            .map(|pattern| format!("{}{}", if pattern.negated { "!" } else { "" }, pattern.text))
    }

    /// Whether a path, relative to the context and with slashes, is left out; by a pattern for it or for
    /// a folder it is in.
    pub fn matches(&self, path: &str) -> bool {
        let path = clean(path);
        let path = path.trim_start_matches('/');
        if path == "." || path.is_empty() {
            return false;
        }
        let mut matched = false;
        for pattern in &self.patterns {
            if pattern.negated == matched && pattern.matches(path) {
                matched = !pattern.negated;
            }
        }
        matched
    }

    /// Whether a folder and all that is in it is left out, so that nobody need look inside.
    pub fn prunes(&self, folder: &str) -> bool {
        !self.negates && self.matches(folder)
    }

    fn push(&mut self, line: &str) -> Result<(), Error> {
        let fault = |reason| Error::Pattern { pattern: clip(line.trim()).into_owned(), reason };
        let mut text = line.trim();
        if text.is_empty() {
            return Ok(());
        }
        let negated = text.starts_with('!');
        if negated {
            text = text[1..].trim();
            if text.is_empty() {
                return Err(fault("nothing follows the '!'"));
            }
        }
        let mut cleaned = clean(text);
        if cleaned.len() > 1 && cleaned.starts_with('/') {
            cleaned.remove(0);
        }
        let how = compile(&cleaned).map_err(fault)?;
        self.negates |= negated;
        self.patterns.push(Pattern { text: cleaned, negated, how });
        Ok(())
    }

    /// Whether nothing at the root is left: one pattern leaves out all.
    pub(crate) fn leaves_out_all(&self) -> bool {
        self.patterns.iter().any(|pattern| !pattern.negated && matches!(&*pattern.text, "*" | "**" | "**/*"))
    }
}

impl Pattern {
    /// Whether it matches the path or a folder above it.
    fn matches(&self, path: &str) -> bool {
        match &self.how {
            How::Exact => {
                path.strip_prefix(&*self.text).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            How::Prefix(prefix) => path.starts_with(&**prefix),
            How::Suffix(suffix) => {
                let ends = |part: &str| {
                    part.ends_with(&**suffix) || suffix.strip_prefix('/').is_some_and(|name| name == part)
                };
                ends(path) || memchr::memchr_iter(b'/', path.as_bytes()).any(|at| ends(&path[..at]))
            }
            How::Tokens(tokens) => simulate(tokens, path),
        }
    }
}

/// Follow all states at once; a match at a slash is a match of a folder.
fn simulate(tokens: &[Token], path: &str) -> bool {
    let last = tokens.len();
    // states that are on, each once, in ascending order of discovery; a mark tells which are
    let mut now: Vec<usize> = Vec::with_capacity(8);
    let mut next: Vec<usize> = Vec::with_capacity(8);
    let mut marks = vec![0usize; last + 1];
    let mut round = 1;
    enter(tokens, 0, &mut now, &mut marks, round);
    for ch in path.chars() {
        if ch == '/' && marks[last] == round {
            return true;
        }
        round += 1;
        next.clear();
        for &state in &now {
            let Some(token) = tokens.get(state) else { continue };
            match token {
                Token::Char(wanted) if *wanted == ch => {
                    enter(tokens, state + 1, &mut next, &mut marks, round);
                }
                Token::One if ch != '/' => enter(tokens, state + 1, &mut next, &mut marks, round),
                Token::Many if ch != '/' => enter(tokens, state, &mut next, &mut marks, round),
                Token::Rest if ch != '\n' => enter(tokens, state, &mut next, &mut marks, round),
                Token::Inside => {
                    if ch == '/' {
                        enter(tokens, state + 1, &mut next, &mut marks, round);
                    }
                    if ch != '\n' {
                        enter(tokens, state, &mut next, &mut marks, round);
                    }
                }
                Token::Class(negated, ranges)
                    if ranges.iter().any(|(from, to)| (*from..=*to).contains(&ch)) != *negated =>
                {
                    enter(tokens, state + 1, &mut next, &mut marks, round);
                }
                _ => {}
            }
        }
        std::mem::swap(&mut now, &mut next);
        if now.is_empty() {
            return false;
        }
    }
    marks[last] == round
}

/// Switch a state on, and those that need no character to get to.
fn enter(tokens: &[Token], mut state: usize, states: &mut Vec<usize>, marks: &mut [usize], round: usize) {
    loop {
        if marks[state] == round {
            return;
        }
        marks[state] = round;
        match tokens.get(state) {
            Some(Token::Many | Token::Rest) => {
                states.push(state);
                state += 1;
            }
            Some(Token::Folders) => {
                if marks[state + 1] != round {
                    marks[state + 1] = round;
                    states.push(state + 1);
                }
                state += 2;
            }
            _ => {
                states.push(state);
                return;
            }
        }
    }
}

fn compile(text: &str) -> Result<How, &'static str> {
    let mut tokens = Vec::new();
    let mut chars = text.chars().peekable();
    let mut wild = false;
    let mut first = true;
    let mut ends_with_rest = false;
    let mut begins_with_rest = false;
    while let Some(ch) = chars.next() {
        match ch {
            '*' if chars.peek() == Some(&'*') => {
                chars.next();
                if chars.peek() == Some(&'/') {
                    chars.next();
                }
                begins_with_rest |= first;
                if chars.peek().is_none() {
                    ends_with_rest = true;
                    tokens.push(Token::Rest);
                } else {
                    wild |= !first;
                    tokens.extend([Token::Folders, Token::Inside]);
                }
            }
            '*' => {
                wild = true;
                if tokens.last() != Some(&Token::Many) {
                    tokens.push(Token::Many);
                }
            }
            '?' => {
                wild = true;
                tokens.push(Token::One);
            }
            '\\' => {
                wild = true;
                tokens.push(Token::Char(chars.next().ok_or("it ends in a backslash")?));
            }
            '[' => {
                wild = true;
                let negated = chars.next_if_eq(&'^').is_some();
                let mut ranges = Vec::new();
                loop {
                    let from = match chars.next() {
                        None => return Err("a bracket is not closed"),
                        Some(']') if !ranges.is_empty() => break,
                        Some(']' | '-') => return Err("a bracket is empty"),
                        Some('\\') => chars.next().ok_or("a bracket is not closed")?,
                        Some(from) => from,
                    };
                    let mut to = from;
                    if chars.next_if_eq(&'-').is_some() {
                        to = match chars.next() {
                            None => return Err("a bracket is not closed"),
                            Some(']' | '-') => return Err("a range in brackets has no end"),
                            Some('\\') => chars.next().ok_or("a bracket is not closed")?,
                            Some(to) => to,
                        };
                    }
                    ranges.push((from, to));
                }
                tokens.push(Token::Class(negated, ranges));
            }
            other => tokens.push(Token::Char(other)),
        }
        first = false;
    }
    if wild {
        return Ok(How::Tokens(tokens));
    }
    if begins_with_rest && ends_with_rest && tokens.len() > 1 {
        return Ok(How::Tokens(tokens));
    }
    if begins_with_rest {
        return Ok(How::Suffix(text[2..].to_owned()));
    }
    if ends_with_rest {
        return Ok(How::Prefix(text.strip_suffix("**").unwrap_or(text).to_owned()));
    }
    Ok(How::Exact)
}

/// The shortest path that means the same, as Go's `filepath.Clean` has it.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(&"..") => parts.push(part),
                None if !rooted => parts.push(part),
                None => {}
                Some(_) => {
                    parts.pop();
                }
            },
            _ => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}
