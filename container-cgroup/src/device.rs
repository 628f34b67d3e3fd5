use std::fmt;

use crate::{DeviceNumber, Error};

/// The kind of device node that a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeviceKind {
    /// Block and character devices.
    Any,
    /// Block devices.
    Block,
    /// Character devices.
    Char,
}

/// What may be done with a device node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Access {
    /// Open for reading.
    pub read: bool,
    /// Open for writing.
    pub write: bool,
    /// Create by `mknod`.
    pub mknod: bool,
}

impl Access {
    /// Everything.
    pub const ALL: Self = Self { read: true, write: true, mknod: true };
    /// Only `mknod`.
    pub const MKNOD: Self = Self { read: false, write: false, mknod: true };

    /// `BPF_DEVCG_ACC_*`.
    pub(crate) const fn bits(self) -> u32 {
        self.mknod as u32 | (self.read as u32) << 1 | (self.write as u32) << 2
    }

    const fn from_bits(bits: u32) -> Self {
        Self { mknod: bits & 1 != 0, read: bits & 2 != 0, write: bits & 4 != 0 }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (on, letter) in [(self.read, "r"), (self.write, "w"), (self.mknod, "m")] {
            if on {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}

/// One rule about device nodes. In a list the last rule that matches decides; if none does, access is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DeviceRule {
    /// Allow or refuse.
    pub allow: bool,
    /// Block, character, or both.
    pub kind: DeviceKind,
    /// Major number; all if absent.
    pub major: Option<u32>,
    /// Minor number; all if absent.
    pub minor: Option<u32>,
    /// The accesses that the rule is about.
    pub access: Access,
}

impl DeviceRule {
    /// Refuses everything.
    pub const DENY_ALL: Self =
        Self { allow: false, kind: DeviceKind::Any, major: None, minor: None, access: Access::ALL };
    /// Allows everything, as for a privileged container.
    pub const ALLOW_ALL: Self = Self { allow: true, ..Self::DENY_ALL };

    /// Allows one device.
    pub fn allow(kind: DeviceKind, device: DeviceNumber, access: Access) -> Self {
        Self { allow: true, kind, major: Some(device.major), minor: Some(device.minor), access }
    }

    /// What every container may have: `mknod` of any device, and the nodes that the OCI specification's
    /// "Default Devices" names (null, zero, full, random, urandom, tty, console, pseudo-terminals).
    pub fn defaults() -> Vec<Self> {
        let any_mknod = |kind| Self { allow: true, kind, major: None, minor: None, access: Access::MKNOD };
        let char =
            |major, minor| Self { allow: true, kind: DeviceKind::Char, major, minor, access: Access::ALL };
        let mut rules = vec![any_mknod(DeviceKind::Char), any_mknod(DeviceKind::Block)];
        rules.extend([3, 5, 7, 8, 9].map(|minor| char(Some(1), Some(minor))));
        rules.extend([0, 1, 2].map(|minor| char(Some(5), Some(minor))));
        rules.push(char(Some(136), None));
        rules
    }

    fn matches(&self, kind: DeviceKind, device: DeviceNumber, access: Access) -> bool {
        let numbers = self.major.is_none_or(|major| major == device.major)
            && self.minor.is_none_or(|minor| minor == device.minor);
        let (mine, asked) = (self.access.bits(), access.bits());
        let accesses = if self.allow { asked & mine == asked } else { asked & mine != 0 };
        (self.kind == DeviceKind::Any || self.kind == kind) && numbers && accesses
    }

    /// What a list of rules says to one access: the meaning that both versions of the filter carry out.
    pub fn decide(rules: &[Self], kind: DeviceKind, device: DeviceNumber, access: Access) -> bool {
        rules.iter().rev().find(|rule| rule.matches(kind, device, access)).is_some_and(|rule| rule.allow)
    }

    fn covers(&self, other: &Self) -> bool {
        (self.kind == DeviceKind::Any || self.kind == other.kind)
            && (self.major.is_none() || self.major == other.major)
            && (self.minor.is_none() || self.minor == other.minor)
    }

    fn meets(&self, other: &Self) -> bool {
        let meet = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
        (self.kind == DeviceKind::Any || other.kind == DeviceKind::Any || self.kind == other.kind)
            && meet(self.major, other.major)
            && meet(self.minor, other.minor)
    }
}

impl fmt::Display for DeviceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            DeviceKind::Any => "a",
            DeviceKind::Block => "b",
            DeviceKind::Char => "c",
        })?;
        for (separator, number) in [(" ", self.major), (":", self.minor)] {
            match number {
                Some(number) => write!(f, "{separator}{number}")?,
                None => write!(f, "{separator}*")?,
            }
        }
        write!(f, " {}", self.access)
    }
}

/// The state of a device controller of version 1: a default and exceptions from it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Whitelist {
    pub(crate) default_allow: bool,
    pub(crate) exceptions: Vec<DeviceRule>,
}

impl Whitelist {
    /// Folds a list of rules; a rule that carves a hole into a wider one cannot be expressed.
    pub(crate) fn fold(rules: &[DeviceRule]) -> Result<Self, Error> {
        let mut state = Self { default_allow: false, exceptions: Vec::new() };
        for rule in rules {
            if rule.kind == DeviceKind::Any {
                if rule.major.is_none() && rule.minor.is_none() && rule.access == Access::ALL {
                    state = Self { default_allow: rule.allow, exceptions: Vec::new() };
                } else {
                    state.add(DeviceRule { kind: DeviceKind::Char, ..*rule })?;
                    state.add(DeviceRule { kind: DeviceKind::Block, ..*rule })?;
                }
            } else {
                state.add(*rule)?;
            }
        }
        Ok(state)
    }

    fn add(&mut self, rule: DeviceRule) -> Result<(), Error> {
        if rule.allow == self.default_allow {
            for exception in self.exceptions.iter_mut().filter(|exception| exception.meets(&rule)) {
                if !rule.covers(exception) {
                    let reason = "cuts a hole into a wider rule, which version 1 cannot";
                    return Err(Error::Device { rule: rule.to_string(), reason });
                }
                exception.access = Access::from_bits(exception.access.bits() & !rule.access.bits());
            }
            self.exceptions.retain(|exception| exception.access.bits() != 0);
            return Ok(());
        }
        let same =
            self.exceptions.iter_mut().find(|exception| exception.covers(&rule) && rule.covers(exception));
        match same {
            Some(same) => same.access = Access::from_bits(same.access.bits() | rule.access.bits()),
            None => self.exceptions.push(rule),
        }
        Ok(())
    }

    /// Reads `devices.list` of a group whose default is to refuse; none if the default is to allow.
    pub(crate) fn parse_list(text: &str) -> Option<Vec<DeviceRule>> {
        let number = |word: &str| if word == "*" { Some(None) } else { word.parse().ok().map(Some) };
        let rules = text.lines().map(|line| {
            let mut words = line.split_whitespace();
            let kind = match words.next()? {
                "b" => DeviceKind::Block,
                "c" => DeviceKind::Char,
                _ => return None,
            };
            let (major, minor) = words.next()?.split_once(':')?;
            let letters = words.next()?;
            let access = Access {
                read: letters.contains('r'),
                write: letters.contains('w'),
                mknod: letters.contains('m'),
            };
            Some(DeviceRule { allow: true, kind, major: number(major)?, minor: number(minor)?, access })
        });
        rules.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> DeviceRule {
        let (allow, rest) = text.split_once(' ').expect("a verb");
        let mut found = Whitelist::parse_list(rest).expect("a rule").remove(0);
        found.allow = allow == "+";
        found
    }

    #[test]
    fn rules_fold_to_what_version_1_can_hold() {
        let rules = [
            DeviceRule::DENY_ALL,
            rule("+ c 1:3 rw"),
            rule("+ c 1:3 m"),
            rule("- c 1:3 w"),
            rule("+ b *:* m"),
        ];
        let state = Whitelist::fold(&rules).expect("expressible");
        let lines: Vec<String> = state.exceptions.iter().map(ToString::to_string).collect();
        assert_eq!((state.default_allow, lines.join(", ").as_str()), (false, "c 1:3 rm, b *:* m"));
    }

    #[test]
    fn a_hole_in_a_wider_rule_is_an_error_for_version_1() {
        let rules = [DeviceRule::DENY_ALL, rule("+ c 1:* rwm"), rule("- c 1:3 rwm")];
        assert!(matches!(Whitelist::fold(&rules), Err(Error::Device { .. })));
    }

    #[test]
    fn the_last_rule_that_matches_decides() {
        let rules = [DeviceRule::DENY_ALL, rule("+ c 1:* rw"), rule("- c 1:3 w")];
        let null = DeviceNumber { major: 1, minor: 3 };
        let read = Access { read: true, ..Access::default() };
        let both = Access { write: true, ..read };
        assert!(DeviceRule::decide(&rules, DeviceKind::Char, null, read));
        assert!(!DeviceRule::decide(&rules, DeviceKind::Char, null, both));
        assert!(!DeviceRule::decide(&rules, DeviceKind::Block, null, read));
        assert!(!DeviceRule::decide(&[], DeviceKind::Char, null, read));
    }
}
