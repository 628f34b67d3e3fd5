//! Drivers that work, that lie, that hang and that die (attack 29).

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::TcpListener,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use container_volume::{DriverVolume, Error, Plugin, Refusal, Scope, VolumeDriver, serve};

#[derive(Default)]
struct Memory(Mutex<BTreeMap<String, usize>>);

impl VolumeDriver for Memory {
    fn create(&self, name: &str, options: &BTreeMap<String, String>) -> Result<(), Refusal> {
        if let Some(option) = options.keys().next() {
            return Err(Refusal(format!("no option {option}\u{1b}[31m\nsecond line")));
        }
        self.0.lock().unwrap().entry(name.into()).or_default();
        Ok(())
    }
    fn remove(&self, name: &str) -> Result<(), Refusal> {
        self.0.lock().unwrap().remove(name).map(drop).ok_or_else(|| Refusal("none".into()))
    }
    fn mount(&self, name: &str, _id: &str) -> Result<PathBuf, Refusal> {
        *self.0.lock().unwrap().get_mut(name).ok_or_else(|| Refusal("none".into()))? += 1;
        Ok(Path::new("/mnt").join(name))
    }
    fn unmount(&self, name: &str, _id: &str) -> Result<(), Refusal> {
        *self.0.lock().unwrap().get_mut(name).ok_or_else(|| Refusal("none".into()))? -= 1;
        Ok(())
    }
    fn volume(&self, name: &str) -> Result<DriverVolume, Refusal> {
        let mounts = *self.0.lock().unwrap().get(name).ok_or_else(|| Refusal("none".into()))?;
        let mountpoint = (mounts > 0).then(|| Path::new("/mnt").join(name));
        Ok(DriverVolume { name: name.into(), mountpoint, ..DriverVolume::default() })
    }
    fn volumes(&self) -> Result<Vec<DriverVolume>, Refusal> {
        let names: Vec<String> = self.0.lock().unwrap().keys().cloned().collect();
        names.iter().map(|name| self.volume(name)).collect()
    }
    fn scope(&self) -> Scope {
        Scope::Global
    }
}

#[test]
fn a_driver_made_with_the_library_answers_every_call() {
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join("mem.sock")).unwrap();
    let (stop, driver) = (AtomicBool::new(false), Memory::default());
    std::thread::scope(|scope| {
        scope.spawn(|| serve(&listener, &driver, &stop).unwrap());
        let asked = std::panic::catch_unwind(|| {
            let plugin = Plugin::find("mem", &[dir.path()]).unwrap();
            plugin.activate().unwrap();
            assert_eq!(plugin.capabilities().unwrap(), Scope::Global);
            plugin.create("data", &BTreeMap::new()).unwrap();
            assert_eq!(plugin.path("data").unwrap(), None);
            assert_eq!(plugin.mount("data", "c1").unwrap(), Path::new("/mnt/data"));
            assert_eq!(plugin.volume("data").unwrap().mountpoint.unwrap(), Path::new("/mnt/data"));
            plugin.unmount("data", "c1").unwrap();
            assert_eq!(plugin.volumes().unwrap().len(), 1);
            let refused =
                plugin.create("other", &BTreeMap::from([("x".into(), "y".into())])).unwrap_err().to_string();
            assert_eq!(
                refused,
                "volume driver mem refused VolumeDriver.Create: no option x [31m second line"
            );
            plugin.remove("data").unwrap();
            assert!(matches!(plugin.remove("data"), Err(Error::Driver { .. })));
            // several at once
            std::thread::scope(|scope| {
                for n in 0..100 {
                    let plugin = &plugin;
                    scope.spawn(move || plugin.create(&format!("many{n}"), &BTreeMap::new()).unwrap());
                }
            });
            assert_eq!(plugin.volumes().unwrap().len(), 100);
        });
        stop.store(true, Ordering::Relaxed);
        asked.unwrap();
    });
}

#[test]
fn a_driver_is_found_by_socket_spec_and_json() {
    let dir = tempfile::tempdir().unwrap();
    let missing = Plugin::find("none", &[dir.path()]).unwrap_err();
    assert!(matches!(missing, Error::DriverMissing { .. }));
    for bad in ["../x", "/etc/x", "", "a/b"] {
        assert!(matches!(Plugin::find(bad, &[dir.path()]), Err(Error::Name { .. })), "{bad}");
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    fs::write(dir.path().join("tcp.spec"), format!("tcp://{address}\n")).unwrap();
    fs::write(dir.path().join("json.json"), format!(r#"{{"Name":"json","Addr":"http://{address}"}}"#))
        .unwrap();
    let thread = std::thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let length = stream.read(&mut request).unwrap();
            assert!(request[..length].starts_with(b"POST /Plugin.Activate HTTP/1.1\r\n"));
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n{\"Implements\":[\"VolumeDriver\"]}").unwrap();
        }
    });
    for name in ["tcp", "json"] {
        Plugin::find(name, &[dir.path()]).unwrap().activate().unwrap();
    }
    thread.join().unwrap();
    for (name, text) in [
        ("a1.spec", "https://x"),
        ("a2.spec", "unix://relative"),
        ("a3.json", "{"),
        ("a4.json", r#"{"Addr":"tcp://x:1","TLSConfig":{}}"#),
    ] {
        fs::write(dir.path().join(name), text).unwrap();
        let found = Plugin::find(&name[..2], &[dir.path()]);
        assert!(matches!(found, Err(Error::DriverSpec { .. })), "{name}: {found:?}");
    }
}

/// What one raw answer makes of a call to Mount.
fn answered(answer: &[u8]) -> Error {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("x.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let answer = answer.to_vec();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        let _ = stream.read(&mut request);
        let _ = stream.write_all(&answer);
    });
    let plugin = Plugin::at("xx", &socket).unwrap().with_limit(Duration::from_secs(5));
    let error = plugin.mount("data", "c1").unwrap_err();
    thread.join().unwrap();
    error
}

#[test]
fn attack_29_lies_and_garbage_are_clear_errors() {
    let body =
        |text: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()).into_bytes();
    for lie in [
        "{\"Mountpoint\":\"../etc\"}",
        "{\"Mountpoint\":\"/a/../etc\"}",
        "{\"Mountpoint\":\"/\"}",
        "{}",
        "{\"Mountpoint\":7}",
        "[",
        "{\"Mountpoint\":\"/a\\u0000b\"}",
        "{\"Mountpoint\":\"\"}",
    ] {
        let error = answered(&body(lie));
        assert!(matches!(error, Error::DriverAnswer { .. }), "{lie}: {error}");
    }
    let nested = "[".repeat(200_000);
    assert!(matches!(answered(&body(&nested)), Error::DriverAnswer { .. }));
    assert!(matches!(
        answered(b"\x00\xff\xfe garbage"),
        Error::DriverAnswer { .. } | Error::DriverGone { .. }
    ));
    assert!(matches!(answered(b"SSH-2.0-x\r\n\r\n"), Error::DriverAnswer { .. }));
    assert!(matches!(
        answered(b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n"),
        Error::DriverAnswer { .. }
    ));
    assert!(matches!(answered(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"), Error::DriverGone { .. }));
    assert!(matches!(answered(b""), Error::DriverGone { .. }), "it died");
    let refused = answered(format!("HTTP/1.1 500 X\r\n\r\n{}", "\u{1b}]0;x\u{7}".repeat(10_000)).as_bytes());
    let text = refused.to_string();
    assert!(text.len() < 700 && !text.chars().any(char::is_control), "{text}");
}

#[test]
fn attack_29_a_driver_that_hangs_drips_or_never_accepts_is_over_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let limit = Duration::from_millis(200);
    let bounded = |socket: &Path| {
        let begun = Instant::now();
        let error = Plugin::at("xx", socket).unwrap().with_limit(limit).mount("data", "c1").unwrap_err();
        assert!(matches!(error, Error::DriverTimeout { .. }), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    };
    // never accepts: the first connections wait in the queue, then there is no room in it
    let never = dir.path().join("never.sock");
    let address = rustix::net::SocketAddrUnix::new(&never).unwrap();
    let socket =
        rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &address).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    let _one = std::os::unix::net::UnixStream::connect(&never).unwrap();
    bounded(&never);
    bounded(&never);
    // drips a byte at a time, for ever
    let drips = dir.path().join("drips.sock");
    let listener = UnixListener::bind(&drips).unwrap();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        while stream.write_all(b"H").is_ok() {
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    bounded(&drips);
    thread.join().unwrap();
    let gone = Plugin::at("xx", dir.path().join("none.sock")).unwrap().mount("data", "c1").unwrap_err();
    assert!(matches!(gone, Error::DriverGone { .. }));
}
