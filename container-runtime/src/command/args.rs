//! Command lines as runc reads them: flags with one or two dashes before the first plain word, `--name value` or `--name=value`.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

use super::Failure;

pub(crate) struct Args {
    words: VecDeque<OsString>,
    flag: String,
    inline: Option<String>,
}

impl Args {
    pub(crate) fn new(words: impl IntoIterator<Item = OsString>) -> Self {
        Self { words: words.into_iter().collect(), flag: String::new(), inline: None }
    }

    /// The next flag, without dashes; none at the first plain word or after `--`.
    pub(crate) fn flag(&mut self) -> Result<Option<String>, Failure> {
        if let Some(value) = self.inline.take() {
            return Err(Failure::usage(format!("flag --{} takes no value, not {value:?}", self.flag)));
        }
        let Some(word) = self.words.front().and_then(|word| word.to_str()) else { return Ok(None) };
        let Some(rest) = word.strip_prefix('-').filter(|rest| !rest.is_empty()) else { return Ok(None) };
        if rest == "-" {
            self.words.pop_front();
            return Ok(None);
        }
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
