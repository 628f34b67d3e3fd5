//! What to check.

use std::collections::{BTreeMap, BTreeSet};

use crate::code::{Code, Origin};
use crate::error::Error;
use crate::ignore::Ignore;

/// The options of `# check=skip=…;error=…;experimental=…`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Check {
    /// Rules to leave out.
    pub skip: Rules,
    /// Experimental rules to put in.
    pub experimental: Rules,
    /// Whether a warning is a failure.
    pub error: bool,
}

/// Some rules by name, or all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// All of them.
    pub all: bool,
    /// These, by Docker's or our own name, or by hadolint's number.
    pub names: BTreeSet<String>,
}

impl Rules {
    /// The rules in a list with commas, or `all`.
    pub fn parse(list: &str) -> Self {
        let list = list.trim();
        if list == "all" {
            return Self { all: true, names: BTreeSet::new() };
        }
        let names = list.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
        Self { all: false, names: names.collect() }
    }

    /// Whether a rule is among them.
    pub fn has(&self, code: Code) -> bool {
        self.all || self.names.contains(code.name()) || code.dl().is_some_and(|dl| self.names.contains(dl))
    }

    fn merge(&mut self, other: Rules) {
        self.all |= other.all;
        self.names.extend(other.names);
    }
}

impl Check {
    /// Read the value of a `check` directive.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut check = Self::default();
        // Docker reads the value up to the first blank
        let text = text.split(' ').next().unwrap_or_default();
        for option in text.split(';').filter(|option| !option.is_empty()) {
            let fault = || Error::CheckOption { option: crate::dockerfile::clip(option).into_owned() };
            let (key, value) = option.split_once('=').ok_or_else(fault)?;
            match key.trim() {
                "skip" => check.skip = Rules::parse(value),
                "experimental" => check.experimental = Rules::parse(value),
                "error" => {
                    check.error = match value.trim() {
                        "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
                        "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
                        _ => return Err(fault()),
                    };
                }
                _ => return Err(fault()),
            }
        }
        Ok(check)
    }

    /// Add what another says.
    pub fn merge(&mut self, other: Check) {
        self.skip.merge(other.skip);
        self.experimental.merge(other.experimental);
        self.error |= other.error;
    }

    /// Whether a rule is to be checked.
    pub fn wants(&self, code: Code) -> bool {
        match code.origin() {
            Origin::Syntax => true,
            Origin::Experimental => self.experimental.has(code) && !self.skip.names.contains(code.name()),
            _ => !self.skip.has(code),
        }
    }
}

/// What [`crate::Dockerfile::lint`] looks for, and what it may know.
#[derive(Debug, Clone)]
pub struct LintOptions<'a> {
    /// Rules to leave out and put in, on top of what the file says itself.
    pub check: Check,
    /// Whether to look for good practice and slips, beyond Docker's own checks.
    pub practice: bool,
    /// Build arguments that will be given.
    pub arguments: BTreeMap<String, String>,
    /// The context's ignore file, for `CopyIgnoredFile`.
    pub ignore: Option<&'a Ignore>,
    /// Names of contexts given from outside, which stand for images and stages.
    pub contexts: BTreeSet<String>,
}

impl Default for LintOptions<'_> {
    fn default() -> Self {
        Self {
            check: Check::default(),
            practice: true,
            arguments: BTreeMap::new(),
            ignore: None,
            contexts: BTreeSet::new(),
        }
    }
}
