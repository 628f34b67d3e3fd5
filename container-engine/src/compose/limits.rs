//! What a container of a service may use.

use compose_model::Bytes as Size;
use compose_model::model::Service;
use container_cgroup::{Bytes, Cpus};

use super::refused;
use crate::Error;
use crate::options::Resources;

pub(super) fn bytes(name: &str, key: &str, size: Size) -> Result<Bytes, Error> {
    match u64::try_from(size.0) {
        Ok(size) => Ok(Bytes(size)),
        // no limit at all
        Err(_) if size.0 == -1 => Ok(Bytes(u64::MAX)),
        Err(_) => Err(refused(name, key, "a number of bytes is not below 0")),
    }
}

/// The service's own limits, and where it has none those of `deploy.resources`.
pub(super) fn resources(name: &str, service: &Service) -> Result<Resources, Error> {
    let deploy = service.deploy.as_ref().and_then(|deploy| deploy.resources.as_ref());
    let limits = deploy.and_then(|resources| resources.limits.clone()).unwrap_or_default();
    let reserved = deploy.and_then(|resources| resources.reservations.clone()).unwrap_or_default();
    if !reserved.devices.is_empty() || !reserved.generic_resources.is_empty() {
        return Err(refused(name, "deploy.resources.reservations.devices", "the engine cannot do this yet"));
    }
    let size = |key: &str, size: Option<Size>| {
        size.filter(|size| size.0 != 0).map(|size| bytes(name, key, size)).transpose()
    };
    Ok(Resources {
        memory: size("mem_limit", service.mem_limit.or(limits.memory))?,
        memory_swap: size("memswap_limit", service.memswap_limit)?,
        memory_reservation: size("mem_reservation", service.mem_reservation.or(reserved.memory))?,
        cpus: processors(name, service, limits.cpus)?,
        cpu_shares: service
            .cpu_shares
            .and_then(|shares| u64::try_from(shares).ok())
            .filter(|shares| *shares > 0),
        cpuset_cpus: service.cpuset.clone(),
        cpuset_mems: None,
        pids: service.pids_limit.or(limits.pids),
        oom_score_adj: service.oom_score_adj.and_then(|score| i32::try_from(score).ok()),
    })
}

/// `cpus`, or `cpu_quota` over `cpu_period`.
fn processors(name: &str, service: &Service, limit: Option<f64>) -> Result<Option<Cpus>, Error> {
    let number = |key: &str, text: &str| {
        text.parse::<f64>()
            .ok()
            .filter(|number| *number > 0.0)
            .ok_or_else(|| refused(name, key, format!("{text:?} is no number above 0")))
    };
    let count = match (service.cpus.or(limit), service.cpu_quota.as_deref()) {
        (Some(count), _) => count,
        (None, Some(quota)) => {
            let period = service.cpu_period.as_deref().unwrap_or("100000");
            number("cpu_quota", quota)? / number("cpu_period", period)?
        }
        (None, None) => return Ok(None),
    };
    if count == 0.0 {
        return Ok(None);
    }
    let text = format!("{count:.3}");
    text.parse().map(Some).map_err(|_| refused(name, "cpus", format!("{count} is no number of processors")))
}
