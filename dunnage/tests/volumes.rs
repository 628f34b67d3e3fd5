//! Volumes with drivers and options, parts of volumes, secrets, archives: with real containers.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use container_volume::{DriverVolume, Refusal, VolumeDriver, serve};
use support::{Host, until};

fn mounted(host: &Host, what: &str) -> bool {
    let below = host.path("");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts.lines().any(|line| line.contains(below.to_str().unwrap()) && line.contains(what))
}

#[test]
fn a_part_of_a_volume_is_mounted_and_links_in_it_lead_nowhere() {
    let Some(host) = Host::with_image() else { return };
    host.ok(&[
        "run",
        "--rm",
        "-v",
        "data:/d",
        "bb",
        "sh",
        "-c",
        "mkdir -p /d/a/b && echo inside >/d/a/b/f && ln -s / /d/root && ln -s /etc /d/out",
    ]);
    let run = |subpath: &str, command: &str| {
        let mount = format!("type=volume,source=data,target=/m,volume-subpath={subpath}");
        host.output(&["run", "--rm", "--mount", &mount, "bb", "sh", "-c", command])
    };
    assert_eq!(run("a/b", "cat /m/f").stdout, b"inside\n");
    assert_eq!(run("a/b/f", "cat /m").stdout, b"inside\n");
    // the link leads to the volume's own top
    assert_eq!(run("root", "cat /m/a/b/f").stdout, b"inside\n");
    for gone in ["out", "none", "root/etc"] {
        let output = run(gone, "true");
        assert_eq!(output.status.code(), Some(125), "{gone}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(gone), "{output:?}");
    }
    until("the mounts on the host end", || (!mounted(&host, "/run/mounts/")).then_some(()));
    host.leaves_nothing();
}

#[test]
fn a_volume_with_options_is_mounted_while_containers_run_with_it() {
    let Some(host) = Host::with_image() else { return };
    host.ok(&["volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=2m", "mem"]);
    host.ok(&["run", "-d", "--name", "one", "-v", "mem:/m", "bb", "sleep", "1000"]);
    host.ok(&["exec", "one", "sh", "-c", "echo shared >/m/f"]);
    assert_eq!(host.ok(&["run", "--rm", "-v", "mem:/m", "bb", "cat", "/m/f"]), "shared\n");
    assert!(mounted(&host, "mem/_data"));
    assert!(host.fails(&["volume", "rm", "mem"]).1.contains("in use"));
    assert!(host.fails(&["exec", "one", "dd", "if=/dev/zero", "of=/m/big", "bs=1M", "count=4"]).0 != 0);
    host.ok(&["stop", "-t", "0", "one"]);
    until("the volume is unmounted", || (!mounted(&host, "mem/_data")).then_some(()));
    host.ok(&["start", "one"]);
    host.ok(&["exec", "one", "sh", "-c", "test ! -e /m/f"]);
    host.ok(&["rm", "-f", "one"]);
    assert!(!mounted(&host, "mem/_data"));
    // what the kernel refuses is told in its words
    host.ok(&[
        "volume",
        "create",
        "-o",
        "type=nfs",
        "-o",
        "device=127.0.0.1:/x",
        "-o",
        "o=vers=4,soft,timeo=1,retrans=0",
        "far",
    ]);
    let (code, error) = host.fails(&["run", "--rm", "-v", "far:/m", "bb", "true"]);
    assert!(code == 125 && error.contains("type=nfs"), "{error}");
    host.ok(&["volume", "rm", "mem", "far"]);
    host.leaves_nothing();
}

#[test]
fn a_bind_volume_and_a_bind_mount_show_the_hosts_directory() {
    let Some(host) = Host::with_image() else { return };
    let shared = host.path("shared");
    fs::create_dir(&shared).unwrap();
    fs::write(shared.join("f"), "host").unwrap();
    let device = format!("device={}", shared.display());
    host.ok(&["volume", "create", "-o", "type=none", "-o", "o=bind,ro", "-o", &device, "bound"]);
    assert_eq!(host.ok(&["run", "--rm", "-v", "bound:/m", "bb", "cat", "/m/f"]), "host");
    assert_ne!(
        host.output(&["run", "--rm", "-v", "bound:/m", "bb", "touch", "/m/new"]).status.code(),
        Some(0)
    );
    let bind = format!("{}:/m", shared.display());
    host.ok(&["run", "--rm", "-v", &bind, "bb", "touch", "/m/new"]);
    assert!(shared.join("new").exists());
    let (_, error) = host.fails(&["run", "--rm", "-v", &format!("{bind}:z"), "bb", "true"]);
    if !std::path::Path::new("/sys/fs/selinux/enforce").exists() {
        assert!(error.contains("no SELinux"), "{error}");
    }
    host.ok(&["volume", "rm", "bound"]);
    assert!(shared.join("f").exists());
    host.leaves_nothing();
}

#[test]
fn a_secret_is_in_memory_read_only_and_gone_with_the_container() {
    let Some(host) = Host::with_image() else { return };
    let file = host.path("password");
    fs::write(&file, "hunter2-dnt").unwrap();
    let secret = format!("source={},target=db,uid=33,gid=44,mode=0400", file.display());
    host.ok(&["run", "-d", "--name", "one", "--secret", &secret, "bb", "sleep", "1000"]);
    assert_eq!(host.ok(&["exec", "-u", "33", "one", "cat", "/run/secrets/db"]), "hunter2-dnt");
    assert_eq!(host.ok(&["exec", "one", "stat", "-c", "%u %g %a", "/run/secrets/db"]), "33 44 400\n");
    assert!(host.ok(&["exec", "one", "stat", "-f", "-c", "%T", "/run/secrets/db"]).contains("tmpfs"));
    assert_ne!(host.output(&["exec", "one", "sh", "-c", "echo x >/run/secrets/db"]).status.code(), Some(0));
    host.ok(&["stop", "-t", "0", "one"]);
    host.ok(&["start", "one"]);
    assert_eq!(host.ok(&["exec", "one", "cat", "/run/secrets/db"]), "hunter2-dnt");
    fs::remove_file(&file).unwrap();
    // on no disk: neither in records nor in layers
    let found = std::process::Command::new("grep")
        .args(["-rlaF", "hunter2-dnt", "--exclude-dir=secrets", host.path("").to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "", "the secret is on a disk");
    assert!(!host.ok(&["inspect", "one"]).contains("hunter2"));
    host.ok(&["rm", "-f", "one"]);
    assert!(!mounted(&host, "secrets"));
    host.leaves_nothing();
}

#[test]
fn a_volume_goes_through_an_archive_and_is_cloned_and_measured() {
    let Some(host) = Host::with_image() else { return };
    host.ok(&[
        "run",
        "--rm",
        "-v",
        "data:/d",
        "bb",
        "sh",
        "-c",
        "echo kept >/d/f && ln /d/f /d/g && chmod 640 /d/f",
    ]);
    let archive = host.path("data.tar");
    host.ok(&["volume", "backup", "-o", archive.to_str().unwrap(), "data"]);
    host.ok(&["volume", "create", "again"]);
    assert!(host.ok(&["volume", "restore", "-i", archive.to_str().unwrap(), "again"]).contains("3 entries"));
    host.ok(&["volume", "clone", "data", "copy"]);
    for name in ["again", "copy"] {
        let volume = format!("{name}:/d");
        let seen = host.ok(&["run", "--rm", "-v", &volume, "bb", "sh", "-c", "cat /d/g; stat -c %a-%h /d/f"]);
        assert_eq!(seen, "kept\n640-2\n", "{name}");
    }
    assert!(
        host.fails(&["volume", "restore", "-i", archive.to_str().unwrap(), "again"]).1.contains("not empty")
    );
    let df = host.ok(&["volume", "df"]);
    assert!(df.lines().count() == 4 && df.contains("copy"), "{df}");
    host.ok(&["volume", "rm", "data", "again", "copy"]);
    host.leaves_nothing();
}

struct Directories(PathBuf, Mutex<Vec<String>>);

impl VolumeDriver for Directories {
    fn create(&self, name: &str, _: &BTreeMap<String, String>) -> Result<(), Refusal> {
        Ok(fs::create_dir_all(self.0.join(name))?)
    }
    fn remove(&self, name: &str) -> Result<(), Refusal> {
        Ok(fs::remove_dir_all(self.0.join(name))?)
    }
    fn mount(&self, name: &str, id: &str) -> Result<PathBuf, Refusal> {
        self.1.lock().unwrap().push(format!("mount {name} {}", &id[..12]));
        Ok(self.0.join(name))
    }
    fn unmount(&self, name: &str, id: &str) -> Result<(), Refusal> {
        self.1.lock().unwrap().push(format!("unmount {name} {}", &id[..12]));
        Ok(())
    }
    fn volume(&self, name: &str) -> Result<DriverVolume, Refusal> {
        Ok(DriverVolume { name: name.into(), ..DriverVolume::default() })
    }
    fn volumes(&self) -> Result<Vec<DriverVolume>, Refusal> {
        Ok(Vec::new())
    }
}

#[test]
fn a_volume_of_a_plugin_is_mounted_for_a_container_and_unmounted_after_it() {
    let Some(host) = Host::with_image() else { return };
    let (plugins, base) = (host.run_root().join("plugins"), host.path("driver"));
    fs::create_dir_all(&plugins).unwrap();
    fs::create_dir(&base).unwrap();
    let listener = UnixListener::bind(plugins.join("dirs.sock")).unwrap();
    let driver = Arc::new(Directories(base.clone(), Mutex::default()));
    let stop = Arc::new(AtomicBool::new(false));
    let thread = std::thread::spawn({
        let (driver, stop) = (driver.clone(), stop.clone());
        move || serve(&listener, &*driver, &stop).unwrap()
    });
    host.ok(&["volume", "create", "-d", "dirs", "far"]);
    assert!(host.ok(&["volume", "ls"]).contains("dirs"));
    host.ok(&["run", "-d", "--name", "one", "-v", "far:/m", "bb", "sh", "-c", "echo x >/m/f; sleep 1000"]);
    until("the container has written", || base.join("far/f").exists().then_some(()));
    host.ok(&["rm", "-f", "one"]);
    let calls = driver.1.lock().unwrap().clone();
    assert!(
        calls.len() == 2 && calls[0].starts_with("mount far") && calls[1].starts_with("unmount far"),
        "{calls:?}"
    );
    host.ok(&["run", "--rm", "--volume-driver", "dirs", "-v", "made:/m", "bb", "touch", "/m/g"]);
    assert!(base.join("made/g").exists());
    host.ok(&["volume", "rm", "far"]);
    assert!(!base.join("far").exists());
    // a driver that is gone: a clear error, and what runs or stays can still be removed
    host.ok(&["run", "-d", "--name", "two", "-v", "made:/m", "bb", "sleep", "1000"]);
    stop.store(true, Ordering::Relaxed);
    thread.join().unwrap();
    host.ok(&["rm", "-f", "two"]);
    let (code, error) = host.fails(&["run", "--rm", "-v", "made:/m", "bb", "true"]);
    assert!(code == 125 && error.contains("volume driver dirs"), "{error}");
    let (_, error) = host.fails(&["volume", "create", "-d", "none-such", "x1"]);
    assert!(error.contains("there is no volume driver none-such"), "{error}");
    host.leaves_nothing();
}
