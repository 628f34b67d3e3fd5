//! Spawns many sandboxed processes from a busy, multi-threaded tokio program, and checks that nothing is left of them.
//!
//! `cargo run --release -p container-ns --features tokio --example thousand -- 1000`

use std::fs;
use std::hint::black_box;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use container_ns::{
    CapSet, Capabilities, Error, IdMap, IdMaps, Keyring, Namespace, Namespaces, Sandbox, Seccomp, Stdio, User,
};
use tokio::task::JoinSet;

/// How many are under way at a time.
const TOGETHER: usize = 32;

/// Everything new, the root inherited: what `unshare` with all its flags would do, and a filter.
fn sandbox() -> Sandbox {
    let mut sandbox = Sandbox::new(["/bin/true"]);
    sandbox.namespaces = Namespaces { user: Namespace::New, time: Namespace::New, ..Namespaces::container() };
    sandbox.id_maps = IdMaps::both(IdMap::new(0, 0, 65536));
    sandbox.loopback = true;
    sandbox.hostname = Some("thousand".into());
    sandbox.keyring = Keyring::New;
    sandbox.user = Some(User::default());
    sandbox.capabilities = Some(Capabilities::bounded(CapSet::DOCKER_DEFAULT));
    sandbox.no_new_privs = true;
    sandbox.seccomp = Some(Seccomp::docker_default(CapSet::DOCKER_DEFAULT));
    (sandbox.stdin, sandbox.stdout, sandbox.stderr) = (Stdio::Null, Stdio::Null, Stdio::Null);
    sandbox.new_session = true;
    sandbox
}

async fn one() -> Result<bool, Error> {
    let mut child = tokio::task::spawn_blocking(|| sandbox().compile()?.run()).await.map_err(|error| {
        Error::Prepare { what: "a blocking task".into(), source: std::io::Error::other(error) }
    })??;
    Ok(child.finished().await?.success())
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").map_or(0, |list| list.count() - 1)
}

fn children() -> String {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return "unknown".into() };
    tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("children")).ok()).collect()
}

#[tokio::main(flavor = "multi_thread", worker_threads = 4)]
async fn main() -> ExitCode {
    let count: usize = std::env::args().nth(1).and_then(|word| word.parse().ok()).unwrap_or(1000);
    // threads that hold the allocator's and a logger's locks most of the time: what a fork must not meet
    let stop = Arc::new(AtomicBool::new(false));
    let log = Arc::new(std::sync::Mutex::new(Vec::<u8>::new()));
    let busy: Vec<_> = (0..2)
        .map(|thread| {
            let (stop, log) = (Arc::clone(&stop), Arc::clone(&log));
            std::thread::spawn(move || {
                for round in 0usize.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    black_box(vec![round; 1 + round % 5000]);
                    if let Ok(mut log) = log.lock() {
                        log.clear();
                        let _ = writeln!(log, "thread {thread} in round {round}");
                    }
                }
            })
        })
        .collect();
    // the runtime's own descriptors come with the first use
    if let Err(error) = one().await {
        eprintln!("{error}: {:?}", std::error::Error::source(&error).map(ToString::to_string));
    }
    let before = descriptors();
    let start = Instant::now();
    let failed = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..count {
        if tasks.len() >= TOGETHER {
            tasks.join_next().await;
        }
        let failed = Arc::clone(&failed);
        tasks.spawn(async move {
            match one().await {
                Ok(true) => {}
                other => {
                    failed.fetch_add(1, Ordering::Relaxed);
                    eprintln!("{other:?}");
                }
            }
        });
    }
    while tasks.join_next().await.is_some() {}
    let time = start.elapsed();
    stop.store(true, Ordering::Relaxed);
    for thread in busy {
        let _ = thread.join();
    }
    let (after, left, failed) = (descriptors(), children(), failed.load(Ordering::Relaxed));
    println!(
        "{count} spawned, {failed} failed; descriptors {before} -> {after}; children left: {left:?}; {:.2} ms each",
        time.as_secs_f64() * 1000.0 / f64::from(u32::try_from(count.max(1)).unwrap_or(u32::MAX))
    );
    if failed == 0 && before == after && left.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
