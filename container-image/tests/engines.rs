//! podman and docker take our archives, and find the same digests in them.

mod archive;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use archive::archive;
use container_image::{Commit, Diff, Image, Import, Store};

struct Saved {
    directory: tempfile::TempDir,
    image: Image,
}

/// An image of two layers, the upper one packed by gzip, as an archive.
fn saved() -> Saved {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path().join("images")).unwrap();
    let bytes = archive().directory("bin").file("bin/tool", b"#!").hard_link("bin/again", "bin/tool").end();
    let base = store.import(bytes.as_slice(), Import::default()).unwrap();
    let upper = directory.path().join("upper");
    fs::create_dir(&upper).unwrap();
    fs::write(upper.join("added"), "more").unwrap();
    let diff = Diff::of_upper(&upper, &[] as &[&Path]).unwrap();
    let image = store.commit(Some(&base), &diff, Commit::default()).unwrap();
    store.tag(&"dnt.example/web:1".parse().unwrap(), &image.descriptor).unwrap();
    let named = store.find("dnt.example/web:1").unwrap();
    store.save(&[named], fs::File::create(directory.path().join("web.tar")).unwrap()).unwrap();
    Saved { directory, image }
}

/// Runs a script in namespaces of its own, with which everything ends that it started; none without the program or the right.
fn told(saved: &Saved, program: &str, script: &str) -> Option<String> {
    let has =
        Command::new("sh").args(["-c", &format!("command -v {program}")]).stdout(Stdio::null()).status();
    if !has.is_ok_and(|status| status.success()) {
        eprintln!("skipped: {program} is not installed");
        return None;
    }
    let output = Command::new("timeout")
        .args([
            "-k",
            "1",
            "60",
            "unshare",
            "--mount",
            "--net",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ])
        .args(["--propagation", "private", "sh", "-c", &format!("mount -t tmpfs run /run && {script}")])
        .current_dir(saved.directory.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("unshare failed") {
        eprintln!("skipped: no right to make namespaces");
        return None;
    }
    assert!(output.status.success(), "{said}");
    Some(String::from_utf8(output.stdout).unwrap())
}

fn same(saved: &Saved, found: &str) {
    let words: Vec<&str> = found.split_whitespace().collect();
    let (id, layers) = words.split_first().unwrap();
    assert_eq!(id.trim_start_matches("sha256:"), saved.image.id.hex());
    let ids: Vec<&str> =
        saved.image.config.rootfs.diff_ids.iter().map(container_image::Digest::as_str).collect();
    assert_eq!(layers, ids);
}

const FORMAT: &str = "{{.Id}}{{range .RootFS.Layers}} {{.}}{{end}}";

#[test]
fn podman_loads_our_archive_with_the_same_digests() {
    let saved = saved();
    let podman = "podman --root root --runroot run --storage-driver vfs";
    let script = format!(
        "umount /sys/fs/cgroup/unified 2> /dev/null; {podman} load -q -i web.tar >&2 && \
         {podman} image inspect --format '{FORMAT}' dnt.example/web:1"
    );
    if let Some(found) = told(&saved, "podman", &script) {
        same(&saved, &found);
    }
}

#[test]
fn docker_loads_our_archive_with_the_same_digests() {
    let saved = saved();
    let here = saved.directory.path().display();
    let docker = format!("docker -H unix://{here}/docker.sock");
    let script = format!(
        "dockerd --data-root {here}/docker --exec-root {here}/exec --pidfile {here}/pid -H unix://{here}/docker.sock \
         --storage-driver vfs --exec-opt native.cgroupdriver=cgroupfs --iptables=false --bridge=none \
         > {here}/log 2>&1 < /dev/null & \
         for i in $(seq 400); do {docker} version > /dev/null 2>&1 && break; sleep 0.05; done; \
         {docker} load -q -i web.tar >&2 && {docker} image inspect --format '{FORMAT}' dnt.example/web:1; \
         code=$?; test $code = 0 || tail -5 {here}/log >&2; exit $code"
    );
    if let Some(found) = told(&saved, "dockerd", &script) {
        same(&saved, &found);
    }
}
