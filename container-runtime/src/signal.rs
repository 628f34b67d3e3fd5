use std::fmt;
use std::str::FromStr;

use crate::Error;

/// A signal by number, 1 to 64.
///
/// ```
/// use container_runtime::Signal;
/// assert_eq!("TERM".parse::<Signal>().unwrap().number(), 15);
/// assert_eq!("SIGRTMIN+3".parse::<Signal>().unwrap().number(), 37);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signal(i32);

impl Signal {
    /// SIGTERM.
    pub const TERM: Self = Self(15);
    /// SIGKILL.
    pub const KILL: Self = Self(9);

    /// A signal by number.
    pub fn new(number: i32) -> Result<Self, Error> {
        if (1..=64).contains(&number) {
            Ok(Self(number))
        } else {
            Err(Error::Signal { text: number.to_string() })
        }
    }

    /// Its number.
    pub fn number(self) -> i32 {
        self.0
    }
}

/// Names of the numbers 1 to 31 on x86, arm and riscv.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

impl FromStr for Signal {
    type Err = Error;

    /// Reads a number, or a name with or without `SIG`, in either case.
    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::Signal { text: text.to_owned() };
        if let Ok(number) = text.parse::<i32>() {
            return Self::new(number);
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some(position) = NAMES.iter().position(|known| *known == name) {
            return Ok(Self(position as i32 + 1));
        }
        let offset = |rest: &str, sign: char| match rest {
            "" => Ok(0),
            rest => rest.strip_prefix(sign).and_then(|n| n.parse::<i32>().ok()).ok_or_else(wrong),
        };
        let number = match name {
            "IOT" => return Ok(Self(6)),
            "CLD" => return Ok(Self(17)),
            "POLL" => return Ok(Self(29)),
            _ => match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
                // the C library keeps two of the kernel's real-time signals for itself
                (Some(rest), _) => 34 + offset(rest, '+')?,
                (_, Some(rest)) => 64 - offset(rest, '-')?,
                _ => return Err(wrong()),
            },
        };
        if (34..=64).contains(&number) { Ok(Self(number)) } else { Err(wrong()) }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match usize::try_from(self.0 - 1).ok().and_then(|index| NAMES.get(index)) {
            Some(name) => write!(f, "SIG{name}"),
            None => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_read_by_number_and_name() {
        for (text, number) in [
            ("9", 9),
            ("KILL", 9),
            ("sigterm", 15),
            ("RTMIN", 34),
            ("rtmin+2", 36),
            ("RTMAX-1", 63),
            ("IOT", 6),
        ] {
            assert_eq!(text.parse::<Signal>().map(Signal::number).ok(), Some(number), "{text}");
        }
        for text in ["0", "65", "-9", "", "SIG", "NOPE", "RTMIN+99", "RTMAX-40", "RTMINx", "1e3"] {
            assert!(text.parse::<Signal>().is_err(), "{text}");
        }
    }
}
