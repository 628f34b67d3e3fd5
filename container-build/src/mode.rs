//! `--chmod`: octal, or symbolic as in `chmod(1)`.

use crate::Error;

/// A change of permission bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ModeChange {
    /// These bits.
    Octal(u32),
    /// Clauses, one after the other.
    Symbolic(Vec<Clause>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Clause {
    /// `u`, `g` and `o` as bits 6, 3 and 0 of a mask of permissions.
    who: u32,
    operator: char,
    permissions: u32,
    /// `X`: execution where it is a directory, or somebody may execute it already.
    conditional: bool,
    /// `u`, `g` or `o` on the right: what those have now.
    copy: Option<char>,
}

impl ModeChange {
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |reason: &str| Error::value("--chmod", text, reason);
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return u32::from_str_radix(text, 8)
                .ok()
                .filter(|mode| *mode <= 0o7777)
                .map(Self::Octal)
                .ok_or_else(|| wrong("an octal mode is between 0 and 7777"));
        }
        let mut clauses = Vec::new();
        for part in text.split(',') {
            let start = part
                .find(['+', '-', '='])
                .ok_or_else(|| wrong("a mode is octal, or clauses such as u=rwX,go-w"))?;
            let mut who = 0;
            for letter in part[..start].chars() {
                who |= match letter {
                    'u' => 0o4700,
                    'g' => 0o2070,
                    'o' => 0o1007,
                    'a' => 0o7777,
                    _ => return Err(wrong("before the operator stand u, g, o and a")),
                };
            }
            if who == 0 {
                who = 0o7777;
            }
            let mut operator = ' ';
            let mut clause: Option<Clause> = None;
            for letter in part[start..].chars() {
                if matches!(letter, '+' | '-' | '=') {
                    clauses.extend(clause.take());
                    operator = letter;
                }
                let clause = clause.get_or_insert(Clause {
                    who,
                    operator,
                    permissions: 0,
                    conditional: false,
                    copy: None,
                });
                match letter {
                    '+' | '-' | '=' => {}
                    'r' => clause.permissions |= 0o444,
                    'w' => clause.permissions |= 0o222,
                    'x' => clause.permissions |= 0o111,
                    'X' => clause.conditional = true,
                    's' => clause.permissions |= 0o6000,
                    't' => clause.permissions |= 0o1000,
                    'u' | 'g' | 'o' => clause.copy = Some(letter),
                    _ => return Err(wrong("after the operator stand r, w, x, X, s, t, or one of u, g, o")),
                }
            }
            clauses.extend(clause);
        }
        Ok(Self::Symbolic(clauses))
    }

    /// The permission bits after the change.
    pub(crate) fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        let clauses = match self {
            Self::Octal(mode) => return *mode,
            Self::Symbolic(clauses) => clauses,
        };
        let mut mode = mode & 0o7777;
        for clause in clauses {
            let mut bits = clause.permissions;
            if clause.conditional && (is_directory || mode & 0o111 != 0) {
                bits |= 0o111;
            }
            let three = match clause.copy {
                Some('u') => (mode >> 6) & 7,
                Some('g') => (mode >> 3) & 7,
                Some(_) => mode & 7,
                None => 0,
            };
            bits |= three * 0o111;
            bits &= clause.who;
            match clause.operator {
                '+' => mode |= bits,
                '-' => mode &= !bits,
                // set-id bits of a directory stay, as chmod(1) has it
                _ => mode = (mode & !(clause.who & if is_directory { 0o1777 } else { 0o7777 })) | bits,
            }
        }
        mode
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_what_chmod_makes_of_them() {
        let apply = |text: &str, mode, directory| ModeChange::parse(text).unwrap().apply(mode, directory);
        assert_eq!(apply("755", 0o600, false), 0o755);
        assert_eq!(apply("4755", 0o600, false), 0o4755);
        assert_eq!(apply("u=rwX,go=rX", 0o600, false), 0o644);
        assert_eq!(apply("u=rwX,go=rX", 0o700, false), 0o755);
        assert_eq!(apply("u=rwX,go=rX", 0o600, true), 0o755);
        assert_eq!(apply("+x", 0o644, false), 0o755);
        assert_eq!(apply("a-w", 0o666, false), 0o444);
        assert_eq!(apply("g=u", 0o640, false), 0o660);
        assert_eq!(apply("u+s,+t", 0o755, false), 0o5755);
        assert_eq!(apply("g+w-x", 0o755, false), 0o765);
        for wrong in ["8", "77777", "rwx", "u=q", "z+x", ""] {
            assert!(ModeChange::parse(wrong).is_err() || wrong.is_empty(), "{wrong}");
        }
    }
}
