use arbitrary::{Arbitrary, Result, Unstructured};
use serde_json::{Value, json};

/// A `config.json` of the OCI runtime specification made from a fuzzer's bytes: a whole and right one, in which up to six places are then
/// taken away, doubled, or get a value of another kind or size.
#[derive(Debug, Clone, PartialEq)]
pub struct Bundle(pub Value);

/// A configuration that has most of what the specification knows.
fn whole() -> Value {
    json!({
        "ociVersion": "1.3.0",
        "hostname": "fuzz", "domainname": "example",
        "root": { "path": "rootfs", "readonly": true },
        "process": {
            "terminal": false, "user": { "uid": 1, "gid": 2, "umask": 18, "additionalGids": [3, 4] },
            "args": ["/bin/true", "x"], "env": ["PATH=/bin", "A=b"], "cwd": "/",
            "capabilities": {
                "bounding": ["CAP_KILL", "CAP_CHOWN"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"],
                "inheritable": [], "ambient": [],
            },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "soft": 64, "hard": 128 }],
            "noNewPrivileges": true, "oomScoreAdj": 100,
            "scheduler": { "policy": "SCHED_OTHER", "nice": 3 }, "ioPriority": { "class": "IOPRIO_CLASS_BE", "priority": 4 },
        },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"] },
            { "destination": "/data", "type": "bind", "source": "/", "options": ["rbind", "ro", "nosuid"] },
        ],
        "hooks": { "createRuntime": [{ "path": "/bin/true", "args": ["true"], "env": [], "timeout": 3 }] },
        "annotations": { "a.b": "c" },
        "linux": {
            "namespaces": [{ "type": "pid" }, { "type": "mount" }, { "type": "ipc" }, { "type": "uts" }, { "type": "network" },
                { "type": "cgroup" }, { "type": "user" }, { "type": "time" }],
            "uidMappings": [{ "containerID": 0, "hostID": 100_000, "size": 65_536 }],
            "gidMappings": [{ "containerID": 0, "hostID": 100_000, "size": 65_536 }],
            "timeOffsets": { "monotonic": { "secs": 5, "nanosecs": 1 } },
            "devices": [{ "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 438, "uid": 0, "gid": 0 }],
            "cgroupsPath": "/fuzz",
            "resources": {
                "devices": [{ "allow": false, "access": "rwm" }, { "allow": true, "type": "c", "major": 1, "minor": 3, "access": "rw" }],
                "memory": { "limit": 67_108_864, "swap": 134_217_728, "reservation": 1024 },
                "cpu": { "shares": 512, "quota": 50_000, "period": 100_000, "cpus": "0-1" },
                "pids": { "limit": 32 }, "blockIO": { "weight": 100 }, "unified": { "memory.high": "1000000" },
            },
            "seccomp": {
                "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
                "syscalls": [
                    { "names": ["read", "write", "exit_group"], "action": "SCMP_ACT_ALLOW" },
                    { "names": ["clone"], "action": "SCMP_ACT_ALLOW",
                      "args": [{ "index": 0, "value": 2_114_060_288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" }] },
                ],
            },
            "maskedPaths": ["/proc/kcore"], "readonlyPaths": ["/proc/sys"], "sysctl": { "net.ipv4.ip_forward": "1" },
            "rootfsPropagation": "private", "mountLabel": "", "personality": { "domain": "LINUX" },
        },
    })
}

impl<'a> Arbitrary<'a> for Bundle {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Self> {
        let mut config = whole();
        for _ in 0..bytes.int_in_range(0..=6)? {
            change(bytes, &mut config)?;
        }
        Ok(Self(config))
    }
}

/// Walks down at random and changes where it stops.
fn change(bytes: &mut Unstructured<'_>, value: &mut Value) -> Result<()> {
    if bytes.ratio(3, 4)? {
        match value {
            Value::Object(map) if !map.is_empty() => {
                let at = bytes.choose_index(map.len())?;
                if let Some(inner) = map.values_mut().nth(at) {
                    return change(bytes, inner);
                }
            }
            Value::Array(items) if !items.is_empty() => {
                let at = bytes.choose_index(items.len())?;
                return change(bytes, &mut items[at]);
            }
            _ => {}
        }
    }
    let other = match bytes.int_in_range(0..=9)? {
        0 => Value::Null,
        1 => json!(bytes.arbitrary::<bool>()?),
        2 => json!(bytes.arbitrary::<i64>()?),
        3 => json!(bytes.arbitrary::<u64>()?),
        4 => json!(bytes.arbitrary::<String>()?),
        5 => json!(*bytes.choose(&[
            "",
            "/",
            "..",
            "../..",
            "/proc/self/fd/7",
            "a\nb",
            "a\0b",
            "user",
            "SCMP_ACT_NOTIFY",
            "all"
        ])?),
        6 => json!([]),
        7 => json!({}),
        8 => json!([value.clone(), value.clone()]),
        _ => json!(*bytes.choose(&[-1_i64, 0, 1, 4095, 4096, 65_535, 65_536, i64::MAX])?),
    };
    *value = other;
    Ok(())
}
