//! The redirections of here-documents on an instruction's line.

use std::borrow::Cow;

use crate::dockerfile::space;

/// `<<-"EOF"` taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Redirect<'a> {
    pub(crate) descriptor: u64,
    pub(crate) strip_tabs: bool,
    pub(crate) expand: bool,
    pub(crate) name: Cow<'a, [u8]>,
}

/// All redirections in a line, with their places; none if the line's quotes do not match.
///
/// Words are told apart as a shell does, with `\` as the escape whatever the file's is.
pub(crate) fn redirects(text: &[u8]) -> Vec<(usize, usize, Redirect<'_>)> {
    let mut found = Vec::new();
    let mut at = 0;
    let mut start = None;
    while at < text.len() {
        let blank = space(text, at);
        if blank > 0 {
            if let Some(from) = start.take() {
                push(text, from, at, &mut found);
            }
            at += blank;
            continue;
        }
        start.get_or_insert(at);
        match text[at] {
            b'\'' => match memchr::memchr(b'\'', &text[at + 1..]) {
                Some(length) => at += length + 2,
                None => return Vec::new(),
            },
            b'"' => {
                at += 1;
                loop {
                    match text.get(at) {
                        None => return Vec::new(),
                        Some(b'"') => break,
                        Some(b'\\') => at += 2,
                        Some(_) => at += 1,
                    }
                }
                at += 1;
            }
            b'\\' => at += 2,
            b'<' if text.get(at + 1) == Some(&b'<') => {
                at += 2;
                // blanks between << and the delimiter belong to the word
                while matches!(text.get(at), Some(b' ' | b'\t' | b'\r')) {
                    at += 1;
                }
            }
            _ => at += 1,
        }
    }
    if let Some(from) = start {
        push(text, from, text.len(), &mut found);
    }
    found
}

fn push<'a>(text: &'a [u8], from: usize, to: usize, found: &mut Vec<(usize, usize, Redirect<'a>)>) {
    if let Some(redirect) = redirect(&text[from..to.min(text.len())]) {
        found.push((from, to.min(text.len()), redirect));
    }
}

/// A word taken apart, if it is a redirection.
pub(crate) fn redirect(word: &[u8]) -> Option<Redirect<'_>> {
    let digits = word.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut rest = word.get(digits..)?.strip_prefix(b"<<")?;
    let descriptor = std::str::from_utf8(&word[..digits]).ok()?.parse().unwrap_or(0);
    let strip_tabs = rest.first() == Some(&b'-');
    if strip_tabs {
        rest = &rest[1..];
    }
    while let [b' ' | b'\t' | b'\n' | b'\x0c' | b'\r', more @ ..] = rest {
        rest = more;
    }
    if rest.is_empty() || memchr::memchr(b'<', rest).is_some() {
        return None;
    }
    if memchr::memchr3(b'\'', b'"', b'\\', rest).is_none() {
        let blank = (0..rest.len()).any(|at| space(rest, at) > 0);
        return (!blank).then_some(Redirect {
            descriptor,
            strip_tabs,
            expand: true,
            name: Cow::Borrowed(rest),
        });
    }
    let mut name = Vec::with_capacity(rest.len());
    let mut expand = true;
    let mut at = 0;
    while at < rest.len() {
        match rest[at] {
            b'\'' => {
                let length = memchr::memchr(b'\'', &rest[at + 1..])?;
                name.extend_from_slice(&rest[at + 1..at + 1 + length]);
                expand = false;
                at += length + 2;
            }
            b'"' => {
                expand = false;
                at += 1;
                loop {
                    match *rest.get(at)? {
                        b'"' => break,
                        b'\\' if matches!(rest.get(at + 1), Some(b'"' | b'$' | b'\\')) => {
                            name.push(rest[at + 1]);
                            at += 2;
                        }
                        byte => {
                            name.push(byte);
                            at += 1;
                        }
                    }
                }
                at += 1;
            }
            b'\\' => {
                name.extend(rest.get(at + 1));
                at += 2;
            }
            _ if space(rest, at) > 0 => return None,
            byte => {
                name.push(byte);
                at += 1;
            }
        }
    }
    (!name.is_empty()).then_some(Redirect { descriptor, strip_tabs, expand, name: Cow::Owned(name) })
}
