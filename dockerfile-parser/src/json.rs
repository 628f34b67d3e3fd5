//! JSON arrays of strings, as the exec form has them; whether other JSON is valid is checked without recursion.

use crate::span::Logical;
use crate::word::Word;

/// How deep arrays and objects may nest before they count as invalid.
const DEPTH: usize = 10_000;

/// What text that begins with `[` turns out to be.
#[derive(Debug)]
pub(crate) enum Array {
    /// An array of strings.
    Strings(Vec<Word>),
    /// Valid JSON, but not all strings; the offset of the first other value.
    NotStrings(usize),
    /// Not JSON; the offset where it stops to be.
    Invalid(usize),
}

/// Read `start..end` of a line as a JSON array.
pub(crate) fn array(line: &Logical<'_>, start: usize, end: usize) -> Array {
    let text = line.text.get(..end).unwrap_or_default();
    let mut reader = Reader { text, at: start };
    reader.blanks();
    if reader.peek() != Some(b'[') {
        return Array::Invalid(reader.at);
    }
    reader.at += 1;
    let mut words = Vec::new();
    let mut other = None;
    reader.blanks();
    if reader.peek() == Some(b']') {
        reader.at += 1;
    } else {
        loop {
            reader.blanks();
            let from = reader.at;
            if reader.peek() == Some(b'"') {
                match reader.string() {
                    Err(Broken) => return Array::Invalid(reader.at),
                    Ok(None) => words.push(Word::of(line, from + 1, reader.at - 1)),
                    Ok(Some(text)) => {
                        words.push(Word::rewritten(line.span(from + 1, reader.at - 1), text));
                    }
                }
            } else {
                if !reader.value() {
                    return Array::Invalid(reader.at);
                }
                other.get_or_insert(from);
            }
            reader.blanks();
            match reader.peek() {
                Some(b',') => reader.at += 1,
                Some(b']') => {
                    reader.at += 1;
                    break;
                }
                _ => return Array::Invalid(reader.at),
            }
        }
    }
    reader.blanks();
    if reader.at < end {
        return Array::Invalid(reader.at);
    }
    match other {
        Some(at) => Array::NotStrings(at),
        None => Array::Strings(words),
    }
}

/// It is not JSON.
struct Broken;

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// A string at `"`: what it says, or nothing if that is what is written between the quotes.
    fn string(&mut self) -> Result<Option<Vec<u8>>, Broken> {
        self.at += 1;
        let start = self.at;
        let mut owned: Option<Vec<u8>> = None;
        loop {
            let byte = self.peek().ok_or(Broken)?;
            match byte {
                b'"' => {
                    self.at += 1;
                    return Ok(owned);
                }
                b'\\' => {
                    let text = self.text;
                    let out =
                        owned.get_or_insert_with(|| text.get(start..self.at).unwrap_or_default().to_vec());
                    self.at += 1;
                    let plain = match self.peek().ok_or(Broken)? {
                        escaped @ (b'"' | b'\\' | b'/') => escaped,
                        b'b' => 8,
                        b'f' => 12,
                        b'n' => b'\n',
                        b'r' => b'\r',
                        b't' => b'\t',
                        b'u' => {
                            self.at += 1;
                            let mut unit = hex4(self.text, self.at).ok_or(Broken)?;
                            self.at += 4;
                            if (0xD800..0xDC00).contains(&unit)
                                && self.text.get(self.at..self.at + 2) == Some(b"\\u")
                                && let Some(low) = hex4(self.text, self.at + 2)
                                && (0xDC00..0xE000).contains(&low)
                            {
                                unit = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
                                self.at += 6;
                            }
                            let ch = char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER);
                            out.extend_from_slice(ch.encode_utf8(&mut [0; 4]).as_bytes());
                            continue;
                        }
                        _ => return Err(Broken),
                    };
                    out.push(plain);
                    self.at += 1;
                }
                0..0x20 => return Err(Broken),
                _ => {
                    if let Some(out) = &mut owned {
                        out.push(byte);
                    }
                    self.at += 1;
                }
            }
        }
    }

    /// Any JSON value but a string at the top; nesting is kept on the heap.
    fn value(&mut self) -> bool {
        let mut open: Vec<u8> = Vec::new();
        loop {
            self.blanks();
            // one value, or the opening of one
            match self.peek() {
                Some(b'[') => {
                    self.at += 1;
                    self.blanks();
                    if self.peek() == Some(b']') {
                        self.at += 1;
                    } else {
                        open.push(b']');
                        if open.len() > DEPTH {
                            return false;
                        }
                        continue;
                    }
                }
                Some(b'{') => {
                    self.at += 1;
                    self.blanks();
                    if self.peek() == Some(b'}') {
                        self.at += 1;
                    } else {
                        open.push(b'}');
                        if open.len() > DEPTH || !self.key() {
                            return false;
                        }
                        continue;
                    }
                }
                Some(b'"') => {
                    if self.string().is_err() {
                        return false;
                    }
                }
                Some(b't') if self.literal(b"true") => {}
                Some(b'f') if self.literal(b"false") => {}
                Some(b'n') if self.literal(b"null") => {}
                Some(b'-' | b'0'..=b'9') => {
                    if !self.number() {
                        return false;
                    }
                }
                _ => return false,
            }
            // what may follow it
            loop {
                let Some(&close) = open.last() else { return true };
                self.blanks();
                match self.peek() {
                    Some(b',') => {
                        self.at += 1;
                        if close == b'}' && !self.key() {
                            return false;
                        }
                        break;
                    }
                    Some(byte) if byte == close => {
                        self.at += 1;
                        open.pop();
                    }
                    _ => return false,
                }
            }
        }
    }

    fn key(&mut self) -> bool {
        self.blanks();
        if self.peek() != Some(b'"') || self.string().is_err() {
            return false;
        }
        self.blanks();
        let colon = self.peek() == Some(b':');
        self.at += usize::from(colon);
        colon
    }

    fn literal(&mut self, word: &[u8]) -> bool {
        let found = self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word));
        if found {
            self.at += word.len();
        }
        found
    }

    fn digits(&mut self) -> bool {
        let from = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at > from
    }

    fn number(&mut self) -> bool {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else if !self.digits() {
            return false;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if !self.digits() {
                return false;
            }
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            return self.digits();
        }
        true
    }
}

fn hex4(text: &[u8], at: usize) -> Option<u32> {
    let digits = text.get(at..at + 4)?;
    digits.iter().try_fold(0, |value, &digit| Some(value * 16 + (digit as char).to_digit(16)?))
}

/// `text` as a JSON string with its quotes.
pub(crate) fn quote(out: &mut String, text: &str) {
    use std::fmt::Write as _;
    out.push('"');
    for ch in text.chars() {
        match ch {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            ch if (ch as u32) < 0x20 || ch == '\u{7f}' || ('\u{80}'..'\u{a0}').contains(&ch) => {
                let _ = write!(out, "\\u{:04x}", ch as u32);
            }
            ch => out.push(ch),
        }
    }
    out.push('"');
}
