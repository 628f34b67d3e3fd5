//! Where in a JSON document a value is.

use std::collections::HashMap;

/// The line, from 1, on which each value of a document begins, at its name if it has one. Places are written `mounts[2].options`.
#[derive(Debug, Default)]
pub(crate) struct Lines(HashMap<String, usize>);

impl Lines {
    /// Of a document that a parser has accepted. Of another one what comes before the fault is known.
    pub(crate) fn of(text: &[u8]) -> Self {
        let mut reader = Reader { text, at: 0, line: 1, lines: Self::default() };
        reader.value(&mut String::new(), 0);
        reader.lines
    }

    pub(crate) fn line(&self, place: &str) -> Option<usize> {
        self.0.get(place).copied()
    }
}

/// Deeper than any parser goes.
const DEEPEST: usize = 200;

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    line: usize,
    lines: Lines,
}

impl Reader<'_> {
    /// The next byte that is no space.
    fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = *self.text.get(self.at)?;
            match byte {
                b'\n' => self.line += 1,
                b' ' | b'\t' | b'\r' => {}
                other => return Some(other),
            }
            self.at += 1;
        }
    }

    /// Takes a byte if it is next.
    fn take(&mut self, wanted: u8) -> bool {
        let there = self.peek() == Some(wanted);
        self.at += usize::from(there);
        there
    }

    /// A string, as it is written but for its quotes.
    fn string(&mut self) -> Option<String> {
        let from = self.at + 1;
        self.at = from;
        loop {
            match self.text.get(self.at)? {
                b'\\' => self.at += 2,
                b'"' => break,
                _ => self.at += 1,
            }
        }
        let word = self.text.get(from..self.at)?;
        self.at += 1;
        Some(String::from_utf8_lossy(word).into_owned())
    }

    fn value(&mut self, place: &mut String, depth: usize) -> Option<()> {
        if depth > DEEPEST {
            return None;
        }
        match self.peek()? {
            b'{' => {
                self.at += 1;
                while self.peek()? == b'"' {
                    let (line, length) = (self.line, place.len());
                    let name = self.string()?;
                    if length > 0 {
                        place.push('.');
                    }
                    place.push_str(&name);
                    self.lines.0.insert(place.clone(), line);
                    if !self.take(b':') {
                        return None;
                    }
                    self.value(place, depth + 1)?;
                    place.truncate(length);
                    if !self.take(b',') {
                        break;
                    }
                }
                self.take(b'}').then_some(())
            }
            b'[' => {
                self.at += 1;
                for index in 0.. {
                    if self.peek()? == b']' {
                        break;
                    }
                    let length = place.len();
                    place.extend(["[", &index.to_string(), "]"]);
                    self.lines.0.insert(place.clone(), self.line);
                    self.value(place, depth + 1)?;
                    place.truncate(length);
                    if !self.take(b',') {
                        break;
                    }
                }
                self.take(b']').then_some(())
            }
            b'"' => self.string().map(drop),
            _ => {
                let end = |byte: &u8| b",]} \t\r\n".contains(byte);
                let rest = self.text.get(self.at..)?;
                let length = rest.iter().position(end).unwrap_or(rest.len());
                self.at += length;
                (length > 0).then_some(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_where_its_name_stands() {
        let text = b"{\n \"a\": [1,\n  {\"b\":\n true, \"c\\\"d\": null}],\n\"e\": \"x\\n\", \"f\": {}, \"g\": []\n}";
        let lines = Lines::of(text);
        for (place, line) in [
            ("a", 2),
            ("a[0]", 2),
            ("a[1]", 3),
            ("a[1].b", 3),
            ("a[1].c\\\"d", 4),
            ("e", 5),
            ("f", 5),
            ("g", 5),
        ] {
            assert_eq!(lines.line(place), Some(line), "{place}");
        }
        assert_eq!(lines.line("h"), None);
    }

    #[test]
    fn no_text_is_a_danger() {
        for text in
            ["", "{", "[", "{\"", "{\"a\"", "{\"a\":", "[1", "[,]", "\"\\", "}{", &"[".repeat(100_000)]
        {
            Lines::of(text.as_bytes());
        }
    }
}
