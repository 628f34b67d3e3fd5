use std::io::Read as _;

use container_cgroup::Bytes;
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPids, LinuxResources};

use super::{Args, Context, Failure, read_json};

/// `update [-r FILE|-] [LIMITS] ID`
pub(crate) fn run(context: &Context, mut args: Args) -> Result<i32, Failure> {
    let mut resources = LinuxResources::default();
    // what oci-spec takes for a default container is not what is to be changed
    resources.set_devices(None);
    let (mut cpu, mut memory, mut io) =
        (LinuxCpu::default(), LinuxMemory::default(), LinuxBlockIo::default());
    let mut pids = None;
    let mut file = None;
    while let Some(flag) = args.flag()? {
        match flag.as_str() {
            "r" | "resources" => file = Some(args.path()?),
            "blkio-weight" => drop(io.set_weight(Some(args.parse("a weight")?))),
            "cpu-period" => drop(cpu.set_period(Some(args.parse("microseconds")?))),
            "cpu-quota" => drop(cpu.set_quota(Some(args.parse("microseconds")?))),
            "cpu-burst" => drop(cpu.set_burst(Some(args.parse("microseconds")?))),
            "cpu-share" => drop(cpu.set_shares(Some(args.parse("a number of shares")?))),
            "cpu-rt-period" => drop(cpu.set_realtime_period(Some(args.parse("microseconds")?))),
            "cpu-rt-runtime" => drop(cpu.set_realtime_runtime(Some(args.parse("microseconds")?))),
            "cpu-idle" => drop(cpu.set_idle(Some(args.parse("0 or 1")?))),
            "cpuset-cpus" => drop(cpu.set_cpus(Some(args.value()?))),
            "cpuset-mems" => drop(cpu.set_mems(Some(args.value()?))),
            "memory" => drop(memory.set_limit(Some(bytes(&mut args)?))),
            "memory-reservation" => drop(memory.set_reservation(Some(bytes(&mut args)?))),
            "memory-swap" => drop(memory.set_swap(Some(bytes(&mut args)?))),
            "pids-limit" => pids = Some(args.parse("a number of processes")?),
            _ => return args.unknown(),
        }
    }
    let id = context.id(&mut args)?;
    args.end()?;
    let resources = match file {
        Some(path) if path.as_os_str() == "-" => {
            let mut text = String::new();
            std::io::stdin().take(1 << 20).read_to_string(&mut text).map_err(Failure::io("read stdin"))?;
            serde_json::from_str(&text).map_err(|error| Failure::usage(format!("stdin: {error}")))?
        }
        Some(path) => read_json(&path, "resources")?,
        None => {
            resources.set_cpu(Some(cpu));
            resources.set_memory(Some(memory));
            resources.set_block_io(Some(io));
            resources.set_pids(pids.map(|limit: i64| {
                let mut pids = LinuxPids::default();
                pids.set_limit(limit);
                pids
            }));
            resources
        }
    };
    context.runtime.update(&id, &resources)?;
    Ok(0)
}

fn bytes(args: &mut Args) -> Result<i64, Failure> {
    let text = args.value()?;
    if text == "-1" {
        return Ok(-1);
    }
    let bytes: Bytes = text.parse().map_err(|error| Failure::usage(format!("{error}")))?;
    i64::try_from(bytes.0).map_err(|_| Failure::usage(format!("{text} is too much")))
}
