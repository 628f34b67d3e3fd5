//! Values with a unit: durations and numbers of bytes, written as Go writes them.
use std::time::Duration;

use crate::error::Error;
use crate::shape::{Reader, Shape};
use crate::yaml::{Node, Value};

/// A duration such as `1h5m30s20ms`; units are `d h m s ms us µs ns`, fractions are allowed.
///
/// # Errors
/// [`Error::Duration`] for anything else, also for one past 290 years.
#[expect(clippy::cast_precision_loss, reason = "fractions are rounded anyway")]
pub fn duration(text: &str) -> Result<Duration, Error> {
    let fault = || Error::Duration(text.chars().take(60).collect());
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(fault());
    }
    let mut nanos: f64 = 0.0;
    let mut whole: u64 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).ok_or_else(fault)?;
        let (number, tail) = rest.split_at(end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let scale: u64 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "d" => 86_400_000_000_000,
            "w" => 604_800_000_000_000,
            _ => return Err(fault()),
        };
        if let Ok(number) = number.parse::<u64>() {
            whole = number.checked_mul(scale).and_then(|more| whole.checked_add(more)).ok_or_else(fault)?;
        } else {
            nanos += number.parse::<f64>().map_err(|_| fault())? * scale as f64;
        }
        rest = tail;
    }
    let total = whole
        .checked_add(nanos.round() as u64)
        .filter(|total| i64::try_from(*total).is_ok())
        .ok_or_else(fault)?;
    Ok(Duration::from_nanos(total))
}

/// A duration as Go prints it: `1m30s`, `1h0m0s`, `500ms`, `0s`.
pub fn show_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let fraction = |value: u128, scale: u128, unit: &str| {
        let rest = value % scale;
        let mut text = (value / scale).to_string();
        if rest > 0 {
            let width = scale.ilog10() as usize;
            text.push_str(format!(".{rest:0width$}").trim_end_matches('0'));
        }
        text + unit
    };
    if nanos == 0 {
        return "0s".to_owned();
    }
    if nanos < 1_000 {
        return format!("{nanos}ns");
    }
    if nanos < 1_000_000 {
        return fraction(nanos, 1_000, "µs");
    }
    if nanos < 1_000_000_000 {
        return fraction(nanos, 1_000_000, "ms");
    }
    let seconds = fraction(nanos % 60_000_000_000, 1_000_000_000, "s");
    let minutes = nanos / 60_000_000_000;
    match (minutes / 60, minutes % 60) {
        (0, 0) => seconds,
        (0, minutes) => format!("{minutes}m{seconds}"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
    }
}

/// A number of bytes; -1 means no limit where the key has that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Bytes(pub i64);

impl Bytes {
    /// A number of bytes such as `512m`, `1.5gb`, `64KiB`, `1024`; units count in 1024.
    ///
    /// # Errors
    /// [`Error::Bytes`] for anything else, also for one past 2^63.
    #[expect(clippy::cast_precision_loss, reason = "fractions are rounded anyway")]
    pub fn parse(text: &str) -> Result<Self, Error> {
        let fault = || Error::Bytes(text.chars().take(60).collect());
        let trimmed = text.trim();
        let end =
            trimmed.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '-'))).unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(end);
        let shift = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            "t" | "tb" | "tib" => 40,
            "p" | "pb" | "pib" => 50,
            _ => return Err(fault()),
        };
        if let Ok(whole) = number.parse::<i64>() {
            if whole < -1 || (whole == -1 && shift > 0) {
                return Err(fault());
            }
            return whole.checked_mul(1 << shift).map(Self).ok_or_else(fault);
        }
        let bytes = number.parse::<f64>().map_err(|_| fault())? * (1u64 << shift) as f64;
        if !(0.0..9.2e18).contains(&bytes) {
            return Err(fault());
        }
        Ok(Self(bytes as i64))
    }
}

impl Shape for Bytes {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let expected = "a number of bytes such as `512m`";
        match &node.value {
            Value::Int(number) if *number >= -1 => Some(Self(*number)),
            Value::Text(text) => match Self::parse(text) {
                Ok(bytes) => Some(bytes),
                Err(error) => reader.refuse(node, &error, expected),
            },
            _ => reader.mismatch(node, expected),
        }
    }
    fn write(&self) -> Option<Node> {
        Some(Node::text(self.0.to_string()))
    }
}
