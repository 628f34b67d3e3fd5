//! Command lines as runc reads them: flags with one or two dashes, `--name value` or `--name=value`; before the first plain word,
//! and, but for `exec` and `ps`, whose words go to another program, also behind it.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

use super::Failure;

pub(crate) struct Args {
    words: VecDeque<OsString>,
    flag: String,
    inline: Option<String>,
    /// Plain words passed over in the search for flags, if they may be.
    passed: Option<VecDeque<OsString>>,
}

impl Args {
    pub(crate) fn new(words: impl IntoIterator<Item = OsString>) -> Self {
        Self { words: words.into_iter().collect(), flag: String::new(), inline: None, passed: None }
    }

    /// From here on flags may also stand behind plain words.
    pub(crate) fn anywhere(mut self) -> Self {
        self.passed = Some(VecDeque::new());
        self
    }

    /// The next flag, without dashes; none at the first plain word, or, if they may stand anywhere, at the end; none after `--`.
    pub(crate) fn flag(&mut self) -> Result<Option<String>, Failure> {
        if let Some(value) = self.inline.take() {
            return Err(Failure::usage(format!("flag --{} takes no value, not {value:?}", self.flag)));
        }
        let rest = loop {
            let next =
                self.words.front().and_then(|word| word.to_str()).and_then(|word| word.strip_prefix('-'));
            match (next.filter(|rest| !rest.is_empty()), &mut self.passed) {
                (Some("-"), _) => {
                    self.words.pop_front();
                    self.put_back();
                    return Ok(None);
                }
                (Some(rest), _) => break rest,
                (None, Some(passed)) => {
                    let Some(word) = self.words.pop_front() else {
                        self.put_back();
                        return Ok(None);
                    };
                    passed.push_back(word);
                }
                (None, None) => return Ok(None),
            }
        };
        let rest = rest.strip_prefix('-').unwrap_or(rest);
        let (name, value) = match rest.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (rest.to_owned(), None),
        };
        self.words.pop_front();
        self.inline = value;
        self.flag.clone_from(&name);
        Ok(Some(name))
    }

    /// The words that were passed over come first again.
    fn put_back(&mut self) {
        if let Some(mut passed) = self.passed.take() {
            passed.append(&mut self.words);
            self.words = passed;
        }
    }

    /// The value of the flag just read.
    pub(crate) fn value(&mut self) -> Result<String, Failure> {
        let missing = || Failure::usage(format!("flag --{} needs a value", self.flag));
        if let Some(value) = self.inline.take() {
            return Ok(value);
        }
        let word = self.words.pop_front().ok_or_else(missing)?;
        word.into_string().map_err(|word| {
            Failure::usage(format!("flag --{}: {} is not UTF-8", self.flag, word.to_string_lossy()))
        })
    }

    pub(crate) fn path(&mut self) -> Result<PathBuf, Failure> {
        self.value().map(PathBuf::from)
    }

    pub(crate) fn parse<T: FromStr>(&mut self, what: &str) -> Result<T, Failure> {
        let value = self.value()?;
        value.parse().map_err(|_| Failure::usage(format!("flag --{}: {value:?} is not {what}", self.flag)))
    }

    /// Whether the switch just read is on: `--detach`, `--detach=true`, `--detach=false`.
    pub(crate) fn switch(&mut self) -> Result<bool, Failure> {
        match self.inline.take().as_deref() {
            None | Some("true" | "1") => Ok(true),
            Some("false" | "0") => Ok(false),
            Some(value) => {
                Err(Failure::usage(format!("flag --{}: {value:?} is not a truth value", self.flag)))
            }
        }
    }

    pub(crate) fn unknown<T>(&self) -> Result<T, Failure> {
        Err(Failure::usage(format!("flag --{} is unknown", self.flag)))
    }

    pub(crate) fn word(&mut self, what: &str) -> Result<String, Failure> {
        let word = self.words.pop_front().ok_or_else(|| Failure::usage(format!("{what} is missing")))?;
        word.into_string().map_err(|word| Failure::usage(format!("{} is not UTF-8", word.to_string_lossy())))
    }

    pub(crate) fn optional(&mut self) -> Option<String> {
        self.words.pop_front().map(|word| word.to_string_lossy().into_owned())
    }

    pub(crate) fn rest(&mut self) -> Vec<OsString> {
        std::mem::take(&mut self.words).into()
    }

    pub(crate) fn end(&self) -> Result<(), Failure> {
        match self.words.front() {
            Some(word) => Err(Failure::usage(format!("{:?} is one word too many", word.to_string_lossy()))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mut args: Args) -> (Vec<String>, Vec<OsString>) {
        let mut flags = Vec::new();
        while let Some(flag) = args.flag().expect("a flag") {
            flags.push(if flag == "b" { format!("b={}", args.value().expect("a value")) } else { flag });
        }
        (flags, args.rest())
    }

    #[test]
    fn flags_may_stand_behind_the_id_where_no_other_program_has_them() {
        let words = ["-b", "x", "one", "--force", "two", "--", "-b"].map(OsString::from);
        let (flags, rest) = read(Args::new(words.clone()));
        assert_eq!((flags, rest.len()), (vec!["b=x".to_owned()], 5));
        let (flags, rest) = read(Args::new(words).anywhere());
        assert_eq!(flags, ["b=x", "force"]);
        assert_eq!(rest, ["one", "two", "-b"]);
    }
}
