use std::time::Duration;

use container_cgroup::Stats;
use container_runtime::Status;
use rustix::event::{PollFd, PollFlags, Timespec};
use serde_json::{Map, Value, json};

use super::{Args, Context, Failure, print_json};

/// `events [--stats] [--interval SECONDS] ID`
pub(crate) fn run(context: &Context, mut args: Args) -> Result<i32, Failure> {
    let (mut once, mut interval) = (false, Duration::from_secs(5));
    while let Some(flag) = args.flag()? {
        match flag.as_str() {
            "stats" => once = args.switch()?,
            "interval" => {
                let text = args.value()?;
                let seconds: u64 =
                    text.strip_suffix('s').unwrap_or(&text).parse().map_err(|_| {
                        Failure::usage(format!("interval {text:?} is not a number of seconds"))
                    })?;
                interval = Duration::from_secs(seconds.max(1));
            }
            _ => return args.unknown(),
        }
    }
    let id = context.id(&mut args)?;
    args.end()?;
    let event = |kind: &str, data: Option<Value>| {
        let mut event = json!({"type": kind, "id": id.as_str()});
        if let (Some(event), Some(data)) = (event.as_object_mut(), data) {
            event.insert("data".to_owned(), data);
        }
        print_json(&event, false)
    };
    let stats = || Ok::<_, Failure>(to_json(&context.runtime.stats(&id)?));
    if once {
        return event("stats", Some(stats()?));
    }
    let watch = context.runtime.cgroup(&id)?.watch_oom()?;
    let mut kills = watch.kills()?.unwrap_or(0);
    loop {
        match context.runtime.state(&id).map(|state| state.status) {
            Ok(Status::Stopped) | Err(container_runtime::Error::NotFound { .. }) => return Ok(0),
            status => status?,
        };
        event("stats", Some(stats()?))?;
        let timeout = Timespec { tv_sec: interval.as_secs().cast_signed(), tv_nsec: 0 };
        let ready = rustix::event::poll(&mut [PollFd::new(&watch, PollFlags::IN)], Some(&timeout));
        if matches!(ready, Ok(1..)) {
            let now = watch.kills()?.unwrap_or(kills);
            if now > kills {
                kills = now;
                event("oom", None)?;
            }
        }
    }
}

/// The form of runc's `types.Stats`.
fn to_json(stats: &Stats) -> Value {
    let mut data = Map::new();
    if let Some(cpu) = &stats.cpu {
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        data.insert(
            "cpu".to_owned(),
            json!({
                "usage": {"total": nanoseconds(cpu.usage), "kernel": nanoseconds(cpu.system), "user": nanoseconds(cpu.user)},
                "throttling": {"periods": cpu.periods, "throttledPeriods": cpu.throttled_periods,
                    "throttledTime": nanoseconds(cpu.throttled)},
            }),
        );
    }
    if let Some(memory) = &stats.memory {
        let limit = memory.limit.map_or(u64::MAX, |limit| limit.0);
        data.insert(
            "memory".to_owned(),
            json!({
                "cache": memory.details.get("cache").or_else(|| memory.details.get("file")).copied().unwrap_or(0),
                "usage": {"limit": limit, "usage": memory.usage.0, "max": memory.peak.unwrap_or_default().0, "failcnt": memory.failures},
                "swap": {"usage": memory.swap.unwrap_or_default().0},
                "raw": memory.details,
            }),
        );
    }
    if let Some(pids) = &stats.pids {
        data.insert("pids".to_owned(), json!({"current": pids.current, "limit": pids.limit.unwrap_or(0)}));
    }
    let (mut bytes, mut operations) = (Vec::new(), Vec::new());
    for (device, io) in &stats.io {
        let entry = |op: &str, value: u64| json!({"major": device.major, "minor": device.minor, "op": op, "value": value});
        bytes.extend([entry("Read", io.read.0), entry("Write", io.written.0)]);
        operations.extend([entry("Read", io.reads), entry("Write", io.writes)]);
    }
    let blkio = json!({"ioServiceBytesRecursive": bytes, "ioServicedRecursive": operations});
    data.insert("blkio".to_owned(), blkio);
    let pages: Map<String, Value> = stats
        .hugetlb
        .iter()
        .map(|(size, pages)| (size.clone(), json!({"usage": pages.usage.0, "failcnt": pages.failures})))
        .collect();
    data.insert("hugetlb".to_owned(), Value::Object(pages));
    data.into()
}
