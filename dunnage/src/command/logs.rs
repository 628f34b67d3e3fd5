use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use clap::Args;
use container_engine::{LogQuery, parse_rfc3339};

use crate::context::{Failure, Roots};

#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// Go on with what is written from now on
    #[arg(short, long)]
    follow: bool,
    /// Only the last so many lines; all
    #[arg(short = 'n', long, default_value = "all", value_name = "LINES")]
    tail: String,
    /// Only since a time: RFC 3339, seconds since 1970, or how long ago, as 10m
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only before a time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Show when each line was written
    #[arg(short, long)]
    timestamps: bool,
    /// Container
    container: String,
}

impl Logs {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        let tail = match self.tail.as_str() {
            "all" | "-1" => None,
            count => Some(
                count
                    .parse()
                    .map_err(|_| Failure::new(format!("tail {count:?} is neither a number nor all")))?,
            ),
        };
        let engine = roots.engine().await?;
        let query = LogQuery {
            tail,
            since: self.since.as_deref().map(time).transpose()?,
            until: self.until.as_deref().map(time).transpose()?,
            follow: self.follow,
        };
        let mut lines = engine.logs(&self.container, query).await?;
        while let Some(line) = lines.next().await? {
            let stamp = if self.timestamps { format!("{} ", line.time) } else { String::new() };
            let bytes = [stamp.as_bytes(), line.log.as_bytes()].concat();
            let written = match line.stream.as_str() {
                "stderr" => write(&mut io::stderr().lock(), &bytes),
                _ => write(&mut io::stdout().lock(), &bytes),
            };
            match written {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(0),
                result => result?,
            }
        }
        Ok(0)
    }
}

fn write(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes)?;
    to.flush()
}

/// A point in time as Docker takes it.
pub(crate) fn time(text: &str) -> Result<SystemTime, Failure> {
    let wrong = || {
        Failure::new(format!("time {text:?}: neither RFC 3339, nor seconds since 1970, nor an age as 1h30m"))
    };
    if let Some(time) = parse_rfc3339(text).or_else(|| parse_rfc3339(&format!("{text}Z"))) {
        return Ok(time);
    }
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds)
            .map(|since| SystemTime::UNIX_EPOCH + since)
            .map_err(|_| wrong());
    }
    let mut age = 0;
    let mut digits = String::new();
    for c in text.chars() {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        let unit = match c {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            _ => return Err(wrong()),
        };
        age += digits.parse::<u64>().map_err(|_| wrong())?.saturating_mul(unit);
        digits.clear();
    }
    if !digits.is_empty() || text.is_empty() {
        return Err(wrong());
    }
    SystemTime::now().checked_sub(Duration::from_secs(age)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_absolute_or_ages() {
        assert_eq!(time("10").unwrap(), SystemTime::UNIX_EPOCH + Duration::from_secs(10));
        assert!(time("1h30m").unwrap() < SystemTime::now() - Duration::from_secs(5000));
        assert!(time("2026-01-02T03:04:05").is_ok());
        for bad in ["", "yesterday", "10x", "1h30", "-5"] {
            assert!(time(bad).is_err(), "{bad}");
        }
    }
}
