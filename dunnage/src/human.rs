//! Times and sizes as people read them.

use std::time::{Duration, SystemTime};

use container_engine::{Exit, HealthStatus, Phase, parse_rfc3339};

/// `5 seconds`, `About a minute`, `3 hours`, as Docker says it.
pub(crate) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match seconds {
        0 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".to_owned(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours <= 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 14 => format!("{} days", hours / 24),
        _ if hours < 24 * 60 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

/// How long ago a time was; empty if it cannot be read.
pub(crate) fn ago(time: &str) -> String {
    parse_rfc3339(time).map(|time| format!("{} ago", duration(since(time)))).unwrap_or_default()
}

fn since(time: SystemTime) -> Duration {
    SystemTime::now().duration_since(time).unwrap_or_default()
}

/// The status of a container as `ps` shows it.
pub(crate) fn status(phase: &Phase) -> String {
    let up = |time: &str| parse_rfc3339(time).map(|time| duration(since(time))).unwrap_or_default();
    match phase {
        Phase::Created => "Created".to_owned(),
        Phase::Running { started_at, paused: false, health, .. } => {
            let health = health.as_ref().map_or("", |health| match health.status {
                HealthStatus::Starting => " (health: starting)",
                HealthStatus::Healthy => " (healthy)",
                HealthStatus::Unhealthy => " (unhealthy)",
            });
            format!("Up {}{health}", up(started_at))
        }
        Phase::Running { started_at, .. } => format!("Up {} (Paused)", up(started_at)),
        Phase::Restarting { exit_code, finished_at } => {
            format!("Restarting ({exit_code}) {}", ago(finished_at))
        }
        Phase::Exited(Exit { code, finished_at, .. }) => format!("Exited ({code}) {}", ago(finished_at)),
        _ => "Removal In Progress".to_owned(),
    }
}

/// `1.45MB`: three figures, powers of 1000, as Docker shows sizes.
pub(crate) fn size(bytes: u64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "three figures are shown")]
    let mut value = bytes as f64;
    let mut units = ["B", "kB", "MB", "GB", "TB", "PB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    while value >= 999.5 {
        let Some(next) = units.next() else { break };
        value /= 1000.0;
        unit = next;
    }
    let places = if unit == "B" || value >= 99.95 {
        0
    } else if value >= 9.995 {
        1
    } else {
        2
    };
    let text = format!("{value:.places$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

/// `1.95MiB`: four figures, powers of 1024, as Docker shows memory.
#[allow(clippy::cast_precision_loss, reason = "four figures are shown")]
pub(crate) fn memory(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut unit = "B";
    for next in ["KiB", "MiB", "GiB", "TiB", "PiB"] {
        if value < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    let places = if unit == "B" || value >= 1000.0 {
        0
    } else if value >= 100.0 {
        1
    } else if value >= 10.0 {
        2
    } else {
        3
    };
    let text = format!("{value:.places$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

/// A text from a container or image without control characters, which could steer the terminal.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times_read_as_dockers_do() {
        assert_eq!(size(0), "0B");
        assert_eq!(size(999), "999B");
        assert_eq!(size(1_234), "1.23kB");
        assert_eq!(size(1_000_000), "1MB");
        assert_eq!(size(206_500_000), "206MB");
        assert_eq!(size(12_340_000), "12.3MB");
        assert_eq!(duration(Duration::from_secs(59)), "59 seconds");
        assert_eq!(duration(Duration::from_secs(61)), "About a minute");
        assert_eq!(duration(Duration::from_secs(7200)), "2 hours");
        for (bytes, text) in
            [(0, "0B"), (1023, "1023B"), (2_044_723, "1.95MiB"), (25_253_380_096, "23.52GiB")]
        {
            assert_eq!(memory(bytes), text);
        }
        assert_eq!(plain("a\x1b[31mb"), "a\u{fffd}[31mb");
    }
}
