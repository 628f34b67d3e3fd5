//! Docker's plugin protocol, version 1, from the side that answers.

use std::{
    collections::BTreeMap,
    fmt, io,
    io::Write,
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Scope,
    http::{self, Fault, Stream, Timed},
};

/// Time for a request to come in and its answer to go out.
const LIMIT: Duration = Duration::from_secs(30);
/// Connections at once.
const MOST: usize = 64;

/// Why a driver does not do a thing, in words for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(pub String);

impl<E: std::error::Error> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A volume as a driver tells of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DriverVolume {
    /// Its name.
    pub name: String,
    /// Where its files are while it is mounted.
    pub mountpoint: Option<PathBuf>,
    /// Whatever else there is to say.
    pub status: serde_json::Map<String, Value>,
}

/// What a volume driver does; [`serve`] brings it to Docker, podman and this suite's engine.
///
/// Calls come from several threads at once. The names are as the caller gave them: what is made a path of one has to be checked.
pub trait VolumeDriver: Sync {
    /// Makes a volume. Must be idempotent: engines ask again after a crash.
    fn create(&self, name: &str, options: &BTreeMap<String, String>) -> Result<(), Refusal>;
    /// Removes a volume.
    fn remove(&self, name: &str) -> Result<(), Refusal>;
    /// Mounts a volume for a caller, whose id comes back in [`unmount`](Self::unmount); returns where its files are.
    fn mount(&self, name: &str, id: &str) -> Result<PathBuf, Refusal>;
    /// A caller needs a volume no more.
    fn unmount(&self, name: &str, id: &str) -> Result<(), Refusal>;
    /// What is known of a volume.
    fn volume(&self, name: &str) -> Result<DriverVolume, Refusal>;
    /// All volumes.
    fn volumes(&self) -> Result<Vec<DriverVolume>, Refusal>;
    /// How far the volumes reach.
    fn scope(&self) -> Scope {
        Scope::Local
    }
}

/// Answers on a socket until `stop` is true, which is looked at ten times a second. Returns when the calls under way are answered.
///
/// A caller has 30 seconds and 1 MiB, and there are 64 at most: more wait in the socket's queue.
pub fn serve(listener: &UnixListener, driver: &dyn VolumeDriver, stop: &AtomicBool) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let busy = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        while !stop.load(Ordering::Relaxed) {
            let tenth = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
            match poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&tenth)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
            if busy.load(Ordering::Acquire) >= MOST {
                std::thread::sleep(Duration::from_millis(10));
                continue;
            }
            match listener.accept() {
                Ok((stream, _)) => {
                    busy.fetch_add(1, Ordering::AcqRel);
                    let busy = &busy;
                    scope.spawn(move || {
                        // a caller that went away is its own affair
                        let _ = answer(stream, driver);
                        busy.fetch_sub(1, Ordering::AcqRel);
                    });
                }
                Err(e)
                    if matches!(
                        e.kind(),
                        io::ErrorKind::WouldBlock
                            | io::ErrorKind::Interrupted
                            | io::ErrorKind::ConnectionAborted
                    ) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    })
}

#[derive(Default, Deserialize)]
struct Question {
    #[serde(rename = "Name", default)]
    name: String,
    #[serde(rename = "ID", default)]
    id: String,
    #[serde(rename = "Opts", default)]
    options: Option<BTreeMap<String, String>>,
}

fn answer(stream: UnixStream, driver: &dyn VolumeDriver) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    let mut stream = Timed::new(Stream::Unix(stream), Instant::now() + LIMIT);
    let (status, body) = match http::read(&mut stream, false) {
        Ok(message) => {
            let mut words = message.first.split_ascii_whitespace();
            let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let question = if message.body.is_empty() {
                Ok(Question::default())
            } else {
                serde_json::from_slice::<Question>(&message.body)
            };
            match (method, question) {
                ("POST", Ok(question)) => reply(path, &question, driver),
                ("POST", Err(_)) => (400, json!({ "Err": "the question is not the protocol's JSON" })),
                _ => (405, json!({ "Err": "every call is a POST" })),
            }
        }
        Err(Fault::Wrong(reason)) => (400, json!({ "Err": format!("the question: {reason}") })),
        Err(Fault::Io(e)) => return Err(e),
    };
    let body = body.to_string();
    let reason = match status {
        200 => "OK",
        404 => "Not Found",
        500 => "Internal Server Error",
        _ => "Bad Request",
    };
    let head = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: application/vnd.docker.plugins.v1.2+json\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}

fn reply(path: &str, question: &Question, driver: &dyn VolumeDriver) -> (u16, Value) {
    let told = |volume: DriverVolume| json!({ "Name": volume.name, "Mountpoint": volume.mountpoint.unwrap_or_default(), "Status": volume.status });
    let name = question.name.as_str();
    let done = match path {
        "/Plugin.Activate" => Ok(json!({ "Implements": ["VolumeDriver"] })),
        "/VolumeDriver.Create" => driver
            .create(name, question.options.as_ref().unwrap_or(&BTreeMap::new()))
            .map(|()| json!({ "Err": "" })),
        "/VolumeDriver.Remove" => driver.remove(name).map(|()| json!({ "Err": "" })),
        "/VolumeDriver.Mount" => {
            driver.mount(name, &question.id).map(|path| json!({ "Mountpoint": path, "Err": "" }))
        }
        "/VolumeDriver.Unmount" => driver.unmount(name, &question.id).map(|()| json!({ "Err": "" })),
        "/VolumeDriver.Path" => driver
            .volume(name)
            .map(|volume| json!({ "Mountpoint": volume.mountpoint.unwrap_or_default(), "Err": "" })),
        "/VolumeDriver.Get" => driver.volume(name).map(|volume| json!({ "Volume": told(volume), "Err": "" })),
        "/VolumeDriver.List" => driver.volumes().map(
            |volumes| json!({ "Volumes": volumes.into_iter().map(told).collect::<Vec<_>>(), "Err": "" }),
        ),
        "/VolumeDriver.Capabilities" => {
            let scope = if driver.scope() == Scope::Global { "global" } else { "local" };
            Ok(json!({ "Capabilities": { "Scope": scope } }))
        }
        _ => return (404, json!({ "Err": "there is no such call" })),
    };
    match done {
        Ok(value) => (200, value),
        Err(refusal) => (500, json!({ "Err": refusal.0 })),
    }
}
