use std::fmt;
use std::str::FromStr;

/// A number of bytes.
///
/// ```
/// use container_cgroup::Bytes;
/// assert_eq!("64m".parse::<Bytes>(), Ok(Bytes::mib(64)));
/// assert_eq!(Bytes::mib(64).to_string(), "67108864");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bytes(pub u64);

impl Bytes {
    /// `n` times 1024.
    pub const fn kib(n: u64) -> Self {
        Self(n.saturating_mul(1 << 10))
    }

    /// `n` times 1024².
    pub const fn mib(n: u64) -> Self {
        Self(n.saturating_mul(1 << 20))
    }

    /// `n` times 1024³.
    pub const fn gib(n: u64) -> Self {
        Self(n.saturating_mul(1 << 30))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A text that is not a quantity of the unit asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {unit}")]
pub struct ParseUnitError {
    text: String,
    unit: &'static str,
}

impl FromStr for Bytes {
    type Err = ParseUnitError;

    /// Reads `1024`, `64k`, `64m`, `2g`, `1t`, with an optional `b` or `ib` after the letter; powers of 1024.
    fn from_str(text: &str) -> Result<Self, ParseUnitError> {
        let wrong = || ParseUnitError { text: text.to_owned(), unit: "a number of bytes" };
        let lower = text.to_ascii_lowercase();
        let digits = lower.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = lower.split_at(digits);
        let shift = match unit {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            "t" | "tb" | "tib" => 40,
            _ => return Err(wrong()),
        };
        let number: u64 = number.parse().map_err(|_| wrong())?;
        number.checked_mul(1 << shift).map(Self).ok_or_else(wrong)
    }
}

/// A share of processors in thousandths: `Cpus(1500)` is one and a half.
///
/// ```
/// use container_cgroup::Cpus;
/// assert_eq!("1.5".parse::<Cpus>(), Ok(Cpus(1500)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Cpus(pub u32);

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

impl FromStr for Cpus {
    type Err = ParseUnitError;

    /// Reads a decimal number with at most three places.
    fn from_str(text: &str) -> Result<Self, ParseUnitError> {
        let wrong = || ParseUnitError { text: text.to_owned(), unit: "a number of processors" };
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        if part.len() > 3 || !whole.bytes().chain(part.bytes()).all(|b| b.is_ascii_digit()) {
            return Err(wrong());
        }
        if whole.is_empty() && part.is_empty() {
            return Err(wrong());
        }
        let number = |digits: &str| match digits {
            "" => Ok(0),
            digits => digits.parse::<u32>().map_err(|_| wrong()),
        };
        let thousandths = number(part)? * [1000, 100, 10, 1][part.len()];
        number(whole)?
            .checked_mul(1000)
            .and_then(|millis| millis.checked_add(thousandths))
            .map(Self)
            .ok_or_else(wrong)
    }
}

/// An upper bound that may be lifted: `max` in the kernel's files of version 2, `-1` in those of version 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ceiling<T> {
    /// No bound.
    Unlimited,
    /// This bound.
    At(T),
}

impl<T: fmt::Display> Ceiling<T> {
    pub(crate) fn v1(&self) -> String {
        match self {
            Self::Unlimited => "-1".to_owned(),
            Self::At(value) => value.to_string(),
        }
    }

    pub(crate) fn v2(&self) -> String {
        match self {
            Self::Unlimited => "max".to_owned(),
            Self::At(value) => value.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_processors_read_what_docker_reads() {
        for (text, bytes) in [("0", 0), ("10b", 10), ("4K", 4096), ("1GiB", 1 << 30), ("2tb", 2 << 40)] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
        for text in ["", "m", "-1", "1.5m", "1x", "18446744073709551616", "16777216t"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
        for (text, millis) in [("1", 1000), ("0.5", 500), (".25", 250), ("2.001", 2001)] {
            assert_eq!(text.parse(), Ok(Cpus(millis)), "{text}");
        }
        for text in ["", ".", "1.0001", "-1", "1e3", "4294967296", "4294968"] {
            assert!(text.parse::<Cpus>().is_err(), "{text}");
        }
    }
}
