//! Conversion of OCI configurations.
#![cfg(feature = "oci")]

mod rootfs;

use std::path::Path;

use container_ns::{Filter, MountKind, Namespace, Root, Sandbox};
use oci_spec::runtime::Spec;
use rootfs::{Rootfs, able, output};
use serde_json::{Value, json};

fn config() -> Value {
    json!({
        "ociVersion": "1.2.0",
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "spec",
        "process": {
            "terminal": false,
            "user": { "uid": 3, "gid": 4, "additionalGids": [5], "umask": 7 },
            "args": ["/bin/sh", "-c", "id -u; id -g; hostname; umask; cat /proc/sys/net/ipv4/ip_forward; grep -E 'CapBnd|NoNew|Seccomp:' /proc/self/status; touch /x 2>&1; stat -c %a /dev/fuse"],
            "env": ["PATH=/bin"],
            "cwd": "/etc",
            "capabilities": { "bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"] },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "soft": 50, "hard": 60 }],
            "noNewPrivileges": true,
            "oomScoreAdj": 10
        },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"] },
            { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid", "noexec", "nodev", "relatime", "ro"] }
        ],
        "linux": {
            "namespaces": [{ "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" }, { "type": "cgroup" }],
            "devices": [{ "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640, "uid": 0, "gid": 0 }],
            "sysctl": { "net.ipv4.ip_forward": "1" },
            "maskedPaths": ["/proc/kcore"],
            "readonlyPaths": ["/proc/sys"],
            "seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW",
                "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
                "syscalls": [{ "names": ["mkdir", "a_call_of_the_future"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5 }]
            }
        }
    })
}

fn sandbox(config: Value, bundle: &Path) -> Result<Sandbox, container_ns::Error> {
    let spec: Spec = serde_json::from_value(config).unwrap();
    Sandbox::from_oci(&spec, bundle)
}

#[test]
fn a_configuration_becomes_a_container() {
    if !able() {
        return;
    }
    let root = Rootfs::new();
    let mut config = config();
    config["root"]["path"] = json!(root.path());
    let text = output(sandbox(config, Path::new("/bundle")).unwrap());
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..5], ["3", "4", "spec", "0007", "1"], "{text}");
    assert_eq!(lines[5..8], ["CapBnd:\t0000000000000020", "NoNewPrivs:\t1", "Seccomp:\t2"], "{text}");
    assert_eq!(lines[8..], ["touch: /x: Read-only file system", "640"], "{text}");
}

#[test]
fn relative_paths_are_those_of_the_bundle() {
    let mut config = config();
    config["mounts"]
        .as_array_mut()
        .unwrap()
        .push(json!({ "destination": "/v", "source": "vol", "options": ["rbind", "ro"] }));
    let sandbox = sandbox(config, Path::new("/bundle")).unwrap();
    assert!(matches!(&sandbox.root, Root::Path(path) if path == Path::new("/bundle/rootfs")));
    let explained = format!("{:?}", sandbox.mounts.last());
    assert!(explained.contains("\"/bundle/vol\"") && explained.contains("recursive: true"), "{explained}");
    assert!(sandbox.read_only_root && sandbox.loopback && sandbox.new_session);
    assert!(sandbox.namespaces.net.is_new() && matches!(sandbox.namespaces.user, Namespace::Inherit));
    assert_eq!(sandbox.devices.len(), 7);
    assert!(matches!(sandbox.mounts[4].kind, MountKind::Cgroup));
}

#[test]
fn a_mount_at_the_root_is_the_root() {
    let mut config = config();
    let overlay =
        json!({ "destination": "/", "type": "overlay", "source": "overlay", "options": ["lowerdir=/a:/b"] });
    config["mounts"].as_array_mut().unwrap().insert(0, overlay);
    let sandbox = sandbox(config, Path::new("/bundle")).unwrap();
    assert!(matches!(&sandbox.root, Root::Filesystem(fs) if fs.kind == "overlay"));
    assert_eq!(sandbox.mounts.len(), 5);
}

#[test]
fn errors_name_the_place_and_the_value() {
    let cases: [(&str, Value, &str); 12] = [
        ("/process/args", json!([]), "process.args: is empty"),
        ("/process/env", json!(["A=1", "B"]), "process.env[1]: is not NAME=value: \"B\""),
        ("/process/cwd", json!("etc"), "process.cwd: is not an absolute path: \"etc\""),
        ("/mounts/1/destination", json!("dev"), "mounts[1].destination: is not an absolute path: \"dev\""),
        ("/mounts/2", json!({ "destination": "/x" }), "mounts[2].type: is missing"),
        (
            "/mounts/2",
            json!({ "destination": "/x", "type": "bind", "options": [] }),
            "mounts[2].source: is missing",
        ),
        (
            "/mounts/2/options",
            json!(["bind", "gid=5"]),
            "mounts[2].options[1]: is an option of a file system",
        ),
        ("/linux/rootfsPropagation", json!("loud"), "linux.rootfsPropagation: is no propagation: \"loud\""),
        ("/linux/devices/0/type", json!("a"), "linux.devices[0].type"),
        ("/linux/namespaces/1", json!({ "type": "pid" }), "linux.namespaces[1].type: comes twice"),
        (
            "/linux/namespaces/1",
            json!({ "type": "network", "path": "/no/ns" }),
            "linux.namespaces[1].path: cannot open /no/ns",
        ),
        (
            "/linux/seccomp/syscalls/0/args",
            json!([{ "index": 9, "value": 1, "op": "SCMP_CMP_EQ" }]),
            "linux.seccomp.syscalls[0].args[0].index",
        ),
    ];
    for (pointer, value, wanted) in cases {
        let mut config = config();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = config.pointer_mut(parent).unwrap();
        if let Ok(index) = key.parse::<usize>() {
            parent[index] = value;
        } else {
            parent[key] = value;
        }
        let error = sandbox(config, Path::new("/bundle")).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}\n{wanted}");
    }
}

#[test]
fn several_conditions_on_one_argument_are_alternatives() {
    let filter: oci_spec::runtime::LinuxSeccomp = serde_json::from_value(json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{ "names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [
            { "index": 0, "value": 0, "op": "SCMP_CMP_EQ" }, { "index": 0, "value": 8, "op": "SCMP_CMP_EQ" }
        ] }]
    }))
    .unwrap();
    let filter = Filter::from_oci(&filter).unwrap();
    assert_eq!(filter.rules.len(), 2);
    filter.compile().unwrap();
}
