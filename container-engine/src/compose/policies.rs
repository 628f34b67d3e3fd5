//! What becomes of a container of a service: when it is started again, how its health is found out, where its output goes, what confines it.

use std::fs;

use compose_model::model::Service;

use super::refused;
use crate::Error;
use crate::options::{HealthCheck, LogOptions, RestartPolicy, Seccomp};

pub(super) fn restart(name: &str, service: &Service) -> Result<RestartPolicy, Error> {
    if let Some(text) = &service.restart {
        return text.parse().map_err(|error: Error| refused(name, "restart", error.to_string()));
    }
    let policy = service.deploy.as_ref().and_then(|deploy| deploy.restart_policy.clone());
    let Some(policy) = policy else { return Ok(RestartPolicy::No) };
    let tries = policy.max_attempts.and_then(|tries| u32::try_from(tries).ok()).unwrap_or(0);
    match policy.condition.as_deref().unwrap_or("any") {
        "none" => Ok(RestartPolicy::No),
        "on-failure" => Ok(RestartPolicy::OnFailure(tries)),
        "any" => Ok(RestartPolicy::Always),
        other => Err(refused(
            name,
            "deploy.restart_policy.condition",
            format!("{other:?} is none of none, on-failure, any"),
        )),
    }
}

pub(super) fn health(service: &Service) -> Option<HealthCheck> {
    let check = service.healthcheck.as_ref()?;
    let disabled = check.disable == Some(true) || check.test.0.first().is_some_and(|word| word == "NONE");
    Some(HealthCheck {
        disabled,
        test: if disabled { Vec::new() } else { check.test.0.clone() },
        interval: check.interval,
        timeout: check.timeout,
        start_period: check.start_period,
        start_interval: check.start_interval,
        retries: check.retries.and_then(|count| u32::try_from(count).ok()),
    })
}

pub(super) fn log(name: &str, service: &Service) -> Result<LogOptions, Error> {
    let Some(logging) = &service.logging else { return Ok(LogOptions::default()) };
    let mut log = LogOptions::default();
    match logging.driver.as_deref() {
        None | Some("json-file") => {}
        Some("none") => log.none = true,
        Some(other) => {
            return Err(refused(name, "logging.driver", format!("there is no driver {other:?} here")));
        }
    }
    for (key, value) in logging.options.iter() {
        let wrong =
            || refused(name, &format!("logging.options.{key}"), format!("{value:?} is no value of it"));
        match key {
            "max-size" => log.max_size = Some(value.parse().map_err(|_| wrong())?),
            "max-file" => {
                log.max_files = Some(value.parse().ok().filter(|count| *count > 0).ok_or_else(wrong)?);
            }
            _ => {
                return Err(refused(
                    name,
                    &format!("logging.options.{key}"),
                    "this option is not known here",
                ));
            }
        }
    }
    Ok(log)
}

pub(super) fn security(name: &str, texts: &[String]) -> Result<(Seccomp, bool), Error> {
    let (mut seccomp, mut no_new_privileges) = (Seccomp::Default, false);
    for text in texts {
        match text.split_once(['=', ':']).unwrap_or((text, "")) {
            ("no-new-privileges", "" | "true") => no_new_privileges = true,
            ("no-new-privileges", "false") => no_new_privileges = false,
            ("seccomp", "unconfined") => seccomp = Seccomp::Unconfined,
            ("seccomp", file) if !file.is_empty() => {
                let text = fs::read(file).map_err(Error::io("read", file))?;
                let profile = serde_json::from_slice(&text);
                seccomp = Seccomp::Profile(
                    profile.map_err(|error| refused(name, "security_opt", format!("{file}: {error}")))?,
                );
            }
            // there is no such module to confine it by
            ("apparmor", "unconfined") | ("label", "disable") => {}
            _ => return Err(refused(name, "security_opt", format!("{text:?} is not known here"))),
        }
    }
    Ok((seccomp, no_new_privileges))
}
