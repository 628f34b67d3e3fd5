//! Health checks: what the container and its image say together.

use std::time::Duration;

use container_image::{ContainerConfig, Healthcheck};
use container_runtime::monitor::HealthSpec;

use crate::Error;
use crate::options::{ContainerOptions, HealthCheck};

const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const START_INTERVAL: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;
/// Docker takes no shorter time.
const LEAST: Duration = Duration::from_millis(1);

/// What the monitor is told; none if nobody wants a check.
pub(crate) fn health(
    options: &ContainerOptions,
    image: &ContainerConfig,
) -> Result<Option<HealthSpec>, Error> {
    let own = options.health.clone().unwrap_or_default();
    let none = Healthcheck::default();
    let image_check = image.healthcheck.as_ref().unwrap_or(&none);
    let test = if own.test.is_empty() { &image_check.test } else { &own.test };
    let test = match test.split_first() {
        _ if own.disabled => return Ok(None),
        None => return Ok(None),
        Some((kind, [])) if kind == "NONE" => return Ok(None),
        Some((kind, words)) if kind == "CMD" && !words.is_empty() => words.to_vec(),
        Some((kind, [line])) if kind == "CMD-SHELL" => {
            let mut words =
                image.shell.clone().unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()]);
            words.push(line.clone());
            words
        }
        Some(_) => {
            let reason = "it is NONE, CMD and a command, or CMD-SHELL and one line";
            return Err(Error::setting("health check", test.join(" "), reason));
        }
    };
    let time = |own: Option<Duration>, image: u64, default: Duration| {
        let time = own.filter(|time| !time.is_zero()).unwrap_or(match image {
            0 => default,
            nanoseconds => Duration::from_nanos(nanoseconds),
        });
        time.as_millis() as u64
    };
    let retries =
        own.retries.filter(|count| *count > 0).or(Some(image_check.retries).filter(|count| *count > 0));
    Ok(Some(HealthSpec {
        test,
        interval_ms: time(own.interval, image_check.interval, INTERVAL),
        timeout_ms: time(own.timeout, image_check.timeout, TIMEOUT),
        start_period_ms: time(own.start_period, image_check.start_period, Duration::ZERO),
        start_interval_ms: time(own.start_interval, image_check.start_interval, START_INTERVAL),
        retries: retries.unwrap_or(RETRIES),
    }))
}

/// What is wrong with a check's own words, before anything is made.
pub(crate) fn check(options: &ContainerOptions, image: &ContainerConfig) -> Result<(), Error> {
    let own = options.health.clone().unwrap_or_default();
    let HealthCheck { interval, timeout, start_period, start_interval, .. } = own;
    for (name, time) in [
        ("health interval", interval),
        ("health timeout", timeout),
        ("health start period", start_period),
        ("health start interval", start_interval),
    ] {
        if let Some(time) = time
            && !time.is_zero()
            && time < LEAST
        {
            return Err(Error::setting(name, format!("{time:?}"), "the least is 1 ms"));
        }
    }
    health(options, image).map(drop)
}
