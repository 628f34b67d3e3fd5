//! Docker's plugin protocol, version 1, from the side that asks.

use std::{
    collections::BTreeMap,
    fs, io,
    io::{Read, Write},
    net::{TcpStream, ToSocketAddrs},
    os::unix::{fs::FileTypeExt, net::UnixStream},
    path::{Component, Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Error, Result,
    http::{self, Fault, Stream, Timed},
    volume::check_name,
};

/// Where Docker looks for drivers: sockets in the first, spec files in all.
pub const PLUGIN_DIRECTORIES: [&str; 3] =
    ["/run/docker/plugins", "/etc/docker/plugins", "/usr/lib/docker/plugins"];

/// How far a driver's volumes reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// Each machine has volumes of its own.
    #[default]
    Local,
    /// A volume is the same on every machine.
    Global,
}

/// A volume as its driver tells of it.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginVolume {
    /// Its name.
    pub name: String,
    /// Where its files are, if it is mounted.
    pub mountpoint: Option<PathBuf>,
    /// Whatever else the driver says of it.
    pub status: serde_json::Map<String, Value>,
}

/// A volume driver: another program, reached by a socket. Each call is one connection, and is over within the time limit.
///
/// Nothing that it answers is believed further than it can be checked: names must be those asked for, paths absolute and plain, its
/// words are shortened and printable, its answers at most 1 MiB.
#[derive(Clone, Debug)]
pub struct Plugin {
    name: String,
    place: Place,
    limit: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Unix(PathBuf),
    Tcp(String),
}

impl Plugin {
    /// Finds a driver by name: `NAME.sock` or `NAME/NAME.sock` in the first directory that has it, else `NAME.spec` (a line with
    /// `unix:///path` or `tcp://host:port`) or `NAME.json` (`{"Addr": …}`). Asks nothing yet; each call has 30 seconds.
    ///
    /// # Errors
    ///
    /// [`Error::DriverMissing`], and [`Error::DriverSpec`] for a file that is none or asks for TLS.
    pub fn find(name: &str, directories: &[impl AsRef<Path>]) -> Result<Self> {
        check_name(name)?;
        let found = |place| Ok(Self { name: name.into(), place, limit: Duration::from_secs(30) });
        for directory in directories {
            let directory = directory.as_ref();
            for socket in
                [directory.join(format!("{name}.sock")), directory.join(name).join(format!("{name}.sock"))]
            {
                if fs::metadata(&socket).is_ok_and(|meta| meta.file_type().is_socket()) {
                    return found(Place::Unix(socket));
                }
            }
        }
        for directory in directories {
            for extension in ["spec", "json"] {
                let path = directory.as_ref().join(format!("{name}.{extension}"));
                let text = match fs::File::open(&path) {
                    Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                        continue;
                    }
                    other => {
                        let mut text = String::new();
                        other
                            .and_then(|file| file.take(64 << 10).read_to_string(&mut text))
                            .map_err(|e| Error::file("read", &path, e))?;
                        text
                    }
                };
                let wrong = |reason| Error::DriverSpec { driver: name.into(), path: path.clone(), reason };
                return found(spec(&text, extension == "json").map_err(wrong)?);
            }
        }
        Err(Error::DriverMissing { driver: name.into() })
    }

    /// A driver at a socket.
    pub fn at(name: &str, socket: impl Into<PathBuf>) -> Result<Self> {
        check_name(name)?;
        Ok(Self { name: name.into(), place: Place::Unix(socket.into()), limit: Duration::from_secs(30) })
    }

    /// Gives each call this much time.
    #[must_use]
    pub fn with_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Greets the driver, and makes sure that it is one of volumes. Idempotent.
    pub fn activate(&self) -> Result<()> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(rename = "Implements", default)]
            implements: Vec<String>,
        }
        let call = "Plugin.Activate";
        let answer: Answer = self.call(call, None)?;
        if answer.implements.iter().any(|kind| kind == "VolumeDriver") {
            return Ok(());
        }
        Err(self.wrong(call, "it is no volume driver"))
    }

    /// How far its volumes reach; a driver that does not know the question has local ones.
    pub fn capabilities(&self) -> Result<Scope> {
        #[derive(Default, Deserialize)]
        struct Inner {
            #[serde(rename = "Scope", default)]
            scope: String,
        }
        #[derive(Deserialize)]
        struct Answer {
            #[serde(rename = "Capabilities", default)]
            capabilities: Inner,
        }
        match self.call::<Answer>("VolumeDriver.Capabilities", Some(json!({}))) {
            Ok(answer) if answer.capabilities.scope.eq_ignore_ascii_case("global") => Ok(Scope::Global),
            Ok(_) | Err(Error::Driver { .. }) => Ok(Scope::Local),
            Err(e) => Err(e),
        }
    }

    /// Makes a volume.
    pub fn create(&self, name: &str, options: &BTreeMap<String, String>) -> Result<()> {
        check_name(name)?;
        self.call::<Value>("VolumeDriver.Create", Some(json!({ "Name": name, "Opts": options }))).map(drop)
    }

    /// Removes a volume.
    pub fn remove(&self, name: &str) -> Result<()> {
        check_name(name)?;
        self.call::<Value>("VolumeDriver.Remove", Some(json!({ "Name": name }))).map(drop)
    }

    /// Mounts a volume for a caller, and returns where its files are.
    pub fn mount(&self, name: &str, id: &str) -> Result<PathBuf> {
        let call = "VolumeDriver.Mount";
        check_name(name)?;
        let answer: Mountpoint = self.call(call, Some(json!({ "Name": name, "ID": id })))?;
        self.path_of(call, answer.mountpoint)?.ok_or_else(|| self.wrong(call, "it gives no mount point"))
    }

    /// Says that a caller needs a volume no more.
    pub fn unmount(&self, name: &str, id: &str) -> Result<()> {
        check_name(name)?;
        self.call::<Value>("VolumeDriver.Unmount", Some(json!({ "Name": name, "ID": id }))).map(drop)
    }

    /// Where a volume's files are, if it is mounted.
    pub fn path(&self, name: &str) -> Result<Option<PathBuf>> {
        let call = "VolumeDriver.Path";
        check_name(name)?;
        let answer: Mountpoint = self.call(call, Some(json!({ "Name": name })))?;
        self.path_of(call, answer.mountpoint)
    }

    /// What the driver knows of a volume.
    pub fn volume(&self, name: &str) -> Result<PluginVolume> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(rename = "Volume")]
            volume: Option<Told>,
        }
        let call = "VolumeDriver.Get";
        check_name(name)?;
        let answer: Answer = self.call(call, Some(json!({ "Name": name })))?;
        let told = answer.volume.ok_or_else(|| self.wrong(call, "it tells of no volume"))?;
        if told.name != name {
            return Err(self.wrong(call, "it tells of another volume"));
        }
        self.told(call, told)
    }

    /// All volumes of the driver.
    pub fn volumes(&self) -> Result<Vec<PluginVolume>> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(rename = "Volumes", default)]
            volumes: Option<Vec<Told>>,
        }
        let call = "VolumeDriver.List";
        let answer: Answer = self.call(call, Some(json!({})))?;
        answer.volumes.unwrap_or_default().into_iter().map(|told| self.told(call, told)).collect()
    }

    fn told(&self, call: &'static str, told: Told) -> Result<PluginVolume> {
        if check_name(&told.name).is_err() {
            return Err(self.wrong(call, "a volume has a name that is none"));
        }
        let mountpoint = self.path_of(call, told.mountpoint)?;
        Ok(PluginVolume { name: told.name, mountpoint, status: told.status.unwrap_or_default() })
    }

    fn path_of(&self, call: &'static str, path: Option<String>) -> Result<Option<PathBuf>> {
        let Some(path) = path.filter(|path| !path.is_empty()) else { return Ok(None) };
        let path = PathBuf::from(path);
        let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
        if !path.is_absolute() || !plain || path == Path::new("/") || path.as_os_str().len() > 4000 {
            return Err(self.wrong(call, "its mount point is no absolute path without `..`"));
        }
        if path.as_os_str().as_encoded_bytes().contains(&0) {
            return Err(self.wrong(call, "its mount point has a zero byte in it"));
        }
        Ok(Some(path))
    }

    fn wrong(&self, call: &'static str, reason: &'static str) -> Error {
        Error::DriverAnswer { driver: self.name.clone(), call, reason }
    }

    /// One question and its answer.
    fn call<T: for<'de> Deserialize<'de>>(&self, call: &'static str, body: Option<Value>) -> Result<T> {
        let until = Instant::now() + self.limit;
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::TimedOut => {
                Error::DriverTimeout { driver: self.name.clone(), call, limit: self.limit }
            }
            _ => Error::DriverGone { driver: self.name.clone(), call, source },
        };
        let stream = self.connect(until).map_err(failed)?;
        let body = body.map_or(Vec::new(), |body| body.to_string().into_bytes());
        let mut request = format!(
            "POST /{call} HTTP/1.1\r\nHost: plugin.{}\r\nUser-Agent: dunnage\r\nConnection: close\r\n\
             Accept: application/vnd.docker.plugins.v1.2+json\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            self.name,
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(&body);
        let mut stream = Timed::new(stream, until);
        // a driver may answer, and close, before it has read everything
        let sent = stream.write_all(&request);
        let answer = match http::read(&mut stream, true) {
            Ok(answer) => answer,
            Err(Fault::Wrong(reason)) => return Err(self.wrong(call, reason)),
            Err(Fault::Io(e)) => return Err(failed(sent.err().unwrap_or(e))),
        };
        let mut words = answer.first.split_ascii_whitespace();
        let (Some("HTTP/1.1" | "HTTP/1.0"), Some(status)) =
            (words.next(), words.next().and_then(|word| word.parse::<u16>().ok()))
        else {
            return Err(self.wrong(call, "it does not speak HTTP"));
        };
        let refused = serde_json::from_slice::<Refused>(&answer.body).unwrap_or_default().err;
        match (status, refused.filter(|err| !err.is_empty())) {
            (_, Some(message)) => {
                Err(Error::Driver { driver: self.name.clone(), call, message: printable(&message) })
            }
            (200, None) => serde_json::from_slice(&answer.body)
                .map_err(|_| self.wrong(call, "it is not the JSON that the protocol has")),
            (404, None) => Err(Error::Driver {
                driver: self.name.clone(),
                call,
                message: "it does not know the call".into(),
            }),
            (_, None) => {
                let text = String::from_utf8_lossy(&answer.body);
                let message = printable(&format!("HTTP status {status}: {text}"));
                Err(Error::Driver { driver: self.name.clone(), call, message })
            }
        }
    }

    fn connect(&self, until: Instant) -> io::Result<Stream> {
        let left = || match until.checked_duration_since(Instant::now()) {
            Some(left) if !left.is_zero() => Ok(left),
            _ => Err(io::Error::from(io::ErrorKind::TimedOut)),
        };
        match &self.place {
            Place::Unix(path) => {
                let address = SocketAddrUnix::new(path)?;
                let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
                loop {
                    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
                    match connect(&socket, &address) {
                        Ok(()) => {
                            let stream = UnixStream::from(socket);
                            stream.set_nonblocking(false)?;
                            return Ok(Stream::Unix(stream));
                        }
                        // nobody accepts, and the queue is full: the kernel tells nobody when there is room
                        Err(Errno::AGAIN) => std::thread::sleep(left()?.min(Duration::from_millis(5))),
                        Err(Errno::INTR) => {}
                        Err(e) => return Err(e.into()),
                    }
                }
            }
            Place::Tcp(address) => {
                let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
                for address in address.to_socket_addrs()? {
                    match TcpStream::connect_timeout(&address, left()?) {
                        Ok(stream) => return Ok(Stream::Tcp(stream)),
                        Err(e) => last = e,
                    }
                }
                Err(last)
            }
        }
    }
}

#[derive(Default, Deserialize)]
struct Refused {
    #[serde(rename = "Err", default)]
    err: Option<String>,
}

#[derive(Deserialize)]
struct Mountpoint {
    #[serde(rename = "Mountpoint", default)]
    mountpoint: Option<String>,
}

#[derive(Deserialize)]
struct Told {
    #[serde(rename = "Name", default)]
    name: String,
    #[serde(rename = "Mountpoint", default)]
    mountpoint: Option<String>,
    #[serde(rename = "Status", default)]
    status: Option<serde_json::Map<String, Value>>,
}

/// Words of another program on one line, without control characters.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect::<String>().trim().to_owned()
}

fn spec(text: &str, json: bool) -> std::result::Result<Place, &'static str> {
    let address = if json {
        let value: Value = serde_json::from_str(text).map_err(|_| "it is no JSON")?;
        if value.get("TLSConfig").is_some_and(|tls| !tls.is_null()) {
            return Err("it asks for TLS, which is not spoken here");
        }
        value.get("Addr").and_then(Value::as_str).ok_or("it has no Addr")?.to_owned()
    } else {
        text.trim().to_owned()
    };
    if let Some(path) = address.strip_prefix("unix://") {
        return if path.starts_with('/') && !path.contains('\0') {
            Ok(Place::Unix(path.into()))
        } else {
            Err("the path of its socket is not absolute")
        };
    }
    match address.strip_prefix("tcp://").or_else(|| address.strip_prefix("http://")) {
        Some(host) => Ok(Place::Tcp(host.trim_end_matches('/').to_owned())),
        None if address.starts_with("https://") => Err("it asks for TLS, which is not spoken here"),
        None => Err("its address is none of unix:///PATH and tcp://HOST:PORT"),
    }
}
