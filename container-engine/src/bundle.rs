use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use container_image::ContainerConfig;
use container_ns::CapSet;
use serde_json::{Value, json};

use crate::options::{ContainerOptions, DeviceSpec, Resources, Seccomp};
use crate::user::Identity;
use crate::{Error, short_id};

/// The annotation by which `container-runtime` is asked for its built-in seccomp profile.
const SECCOMP_PROFILE: &str = container_runtime::SECCOMP_PROFILE_ANNOTATION;
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const DEFAULT_SHM: u64 = 64 << 20;
const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What a bundle's `config.json` is made of.
pub(crate) struct Bundle<'a> {
    pub(crate) id: &'a str,
    pub(crate) options: &'a ContainerOptions,
    pub(crate) image: &'a ContainerConfig,
    pub(crate) identity: &'a Identity,
    /// The control group above the containers' own, without slashes.
    pub(crate) cgroup_parent: &'a str,
    /// Unpacked layers, the lowest first.
    pub(crate) layers: &'a [std::path::PathBuf],
    pub(crate) upper: &'a Path,
    pub(crate) work: &'a Path,
    /// Mounts of volumes and of the files the engine gives.
    pub(crate) mounts: Vec<Value>,
    /// The network namespace: a new one, the host's, or a path.
    pub(crate) network: NetworkNamespace,
}

/// Where a container's network namespace comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NetworkNamespace {
    New,
    Host,
    Path(String),
}

impl Bundle<'_> {
    /// The whole `config.json` (OCI runtime specification 1.2).
    pub(crate) fn config(&self) -> Result<Value, Error> {
        let options = self.options;
        let command = command(options, self.image)?;
        let capabilities: Vec<String> = capabilities(options)?.names().collect();
        let mut annotations = BTreeMap::new();
        let seccomp = match (&options.seccomp, options.privileged) {
            (_, true) | (Seccomp::Unconfined, _) => Value::Null,
            (Seccomp::Profile(profile), _) => profile.clone(),
            (Seccomp::Default, false) => {
                annotations.insert(SECCOMP_PROFILE, "docker-default");
                Value::Null
            }
        };
        let mut process = json!({
            "terminal": options.tty,
            "user": { "uid": self.identity.uid, "gid": self.identity.gid, "additionalGids": self.identity.groups },
            "args": command,
            "env": self.environment(),
            "cwd": self.working_dir(),
            "capabilities": {
                "bounding": capabilities, "permitted": if self.identity.uid == 0 { json!(capabilities) } else { json!([]) },
                "effective": if self.identity.uid == 0 { json!(capabilities) } else { json!([]) },
            },
            "noNewPrivileges": options.no_new_privileges,
            "rlimits": options.ulimits.iter().map(|limit| json!({
                "type": format!("RLIMIT_{}", limit.name.to_uppercase()), "soft": limit.soft, "hard": limit.hard,
            })).collect::<Vec<_>>(),
        });
        if let Some((columns, rows)) = options.console_size.filter(|_| options.tty) {
            process["consoleSize"] = json!({ "height": rows, "width": columns });
        }
        if let Some(score) = options.resources.oom_score_adj {
            process["oomScoreAdj"] = json!(score);
        }
        let mut config = json!({
            "ociVersion": "1.2.0",
            "process": process,
            "root": { "path": "rootfs", "readonly": options.read_only },
            "mounts": self.mounts()?,
            "annotations": annotations,
            "linux": {
                "namespaces": self.namespaces(),
                "cgroupsPath": format!("/{}/{}", self.cgroup_parent, self.id),
                "resources": self.resources()?,
                "devices": self.devices()?,
                "sysctl": options.sysctls,
            },
        });
        if !options.host_uts {
            config["hostname"] = json!(options.hostname.as_deref().unwrap_or_else(|| short_id(self.id)));
            if let Some(name) = &options.domainname {
                config["domainname"] = json!(name);
            }
        }
        if !seccomp.is_null() {
            config["linux"]["seccomp"] = seccomp;
        }
        if !options.privileged {
            config["linux"]["maskedPaths"] = json!(MASKED);
            config["linux"]["readonlyPaths"] = json!(READ_ONLY);
        }
        Ok(config)
    }

    fn environment(&self) -> Vec<String> {
        let mut env: Vec<String> = vec![DEFAULT_PATH.to_owned()];
        let mut set = |variable: &str| {
            let name = variable.split('=').next().unwrap_or_default().to_owned();
            env.retain(|known| known.split('=').next() != Some(&name));
            // a bare name takes the variable away
            if variable.contains('=') {
                env.push(variable.to_owned());
            }
        };
        set(&format!("HOSTNAME={}", hostname(self.options, self.id)));
        if self.options.tty {
            set("TERM=xterm");
        }
        set(&format!("HOME={}", self.identity.home));
        for variable in self.image.env.iter().chain(&self.options.env) {
            set(variable);
        }
        env
    }

    fn working_dir(&self) -> &str {
        match self.options.working_dir.as_deref() {
            Some(path) if !path.is_empty() => path,
            _ if self.image.working_dir.is_empty() => "/",
            _ => &self.image.working_dir,
        }
    }

    fn namespaces(&self) -> Vec<Value> {
        let mut namespaces = vec![json!({ "type": "mount" })];
        if !self.options.host_uts {
            namespaces.push(json!({ "type": "uts" }));
        }
        if !self.options.host_pid {
            namespaces.push(json!({ "type": "pid" }));
        }
        if !self.options.host_ipc {
            namespaces.push(json!({ "type": "ipc" }));
        }
        if !self.options.privileged && !self.options.host_cgroup {
            namespaces.push(json!({ "type": "cgroup" }));
        }
        match &self.network {
            NetworkNamespace::New => namespaces.push(json!({ "type": "network" })),
            NetworkNamespace::Path(path) => namespaces.push(json!({ "type": "network", "path": path })),
            NetworkNamespace::Host => {}
        }
        namespaces
    }

    fn mounts(&self) -> Result<Vec<Value>, Error> {
        let privileged = self.options.privileged;
        let read_only = |options: &[&str]| -> Vec<String> {
            let mut options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
            if !privileged {
                options.push("ro".to_owned());
            }
            options
        };
        let shm = self.options.shm_size.map_or(DEFAULT_SHM, |size| size.0);
        let sys = if self.network == NetworkNamespace::Host {
            // a sysfs belongs to a network namespace: the host's can only be bound
            let mut options = read_only(&["nosuid", "noexec", "nodev"]);
            options.push("rbind".to_owned());
            json!({ "destination": "/sys", "type": "none", "source": "/sys", "options": options })
        } else {
            json!({ "destination": "/sys", "type": "sysfs", "source": "sysfs",
                "options": read_only(&["nosuid", "noexec", "nodev"]) })
        };
        let mut mounts = vec![
            self.root_mount()?,
            json!({ "destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"] }),
            json!({ "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] }),
            json!({ "destination": "/dev/pts", "type": "devpts", "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] }),
            sys,
            json!({ "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                "options": read_only(&["nosuid", "noexec", "nodev", "relatime"]) }),
            json!({ "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
                "options": ["nosuid", "noexec", "nodev"] }),
            json!({ "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                "options": ["nosuid", "noexec", "nodev", "mode=1777", format!("size={shm}")] }),
        ];
        if self.options.host_ipc {
            mounts
                .retain(|mount| mount["destination"] != "/dev/mqueue" && mount["destination"] != "/dev/shm");
            for path in ["/dev/shm", "/dev/mqueue"] {
                mounts.push(json!({ "destination": path, "type": "none", "source": path,
                    "options": ["rbind", "nosuid", "noexec", "nodev"] }));
            }
        }
        mounts.extend(self.mounts.iter().cloned());
        Ok(mounts)
    }

    /// The root itself: an overlay that exists in the container's mount namespace alone.
    fn root_mount(&self) -> Result<Value, Error> {
        let text = |path: &Path| {
            let text = path.to_str().filter(|text| !text.contains([':', ',', '\\']));
            text.map(str::to_owned).ok_or_else(|| {
                Error::setting(
                    "state directory",
                    path.display().to_string(),
                    "overlayfs takes no : , or \\ in a path",
                )
            })
        };
        let lower = self.layers.iter().rev().map(|path| text(path)).collect::<Result<Vec<_>, _>>()?.join(":");
        Ok(json!({ "destination": "/", "type": "overlay", "source": "overlay", "options": [
            format!("lowerdir={lower}"), format!("upperdir={}", text(self.upper)?), format!("workdir={}", text(self.work)?),
        ] }))
    }

    fn resources(&self) -> Result<Value, Error> {
        let mut value = limits(&self.options.resources);
        value["devices"] = json!(self.device_rules()?);
        Ok(value)
    }

    fn device_rules(&self) -> Result<Vec<Value>, Error> {
        if self.options.privileged {
            return Ok(vec![json!({ "allow": true, "access": "rwm" })]);
        }
        let rule = |kind: &str, major: i64, minor: Option<i64>, access: &str| {
            let mut rule = json!({ "allow": true, "type": kind, "major": major, "access": access });
            if let Some(minor) = minor {
                rule["minor"] = json!(minor);
            }
            rule
        };
        let mut rules = vec![
            json!({ "allow": false, "access": "rwm" }),
            json!({ "allow": true, "type": "c", "access": "m" }),
            json!({ "allow": true, "type": "b", "access": "m" }),
        ];
        // null, zero, full, random, urandom, tty, console, ptmx
        for (major, minor) in [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)] {
            rules.push(rule("c", major, Some(minor), "rwm"));
        }
        rules.push(rule("c", 136, None, "rwm"));
        for device in &self.options.devices {
            let (kind, major, minor, _) = look(device)?;
            rules.push(rule(kind, major, Some(minor), &device.access));
        }
        Ok(rules)
    }

    fn devices(&self) -> Result<Vec<Value>, Error> {
        let mut devices = Vec::new();
        for device in &self.options.devices {
            let (kind, major, minor, mode) = look(device)?;
            devices.push(
                json!({ "path": device.target, "type": kind, "major": major, "minor": minor, "fileMode": mode,
                "uid": 0, "gid": 0 }),
            );
        }
        Ok(devices)
    }
}

/// Limits as `linux.resources` has them, without devices.
pub(crate) fn limits(resources: &Resources) -> Value {
    let mut value = json!({});
    if let Some(memory) = resources.memory {
        // Docker doubles the memory where swap is not given
        let swap = resources.memory_swap.map_or(memory.0.saturating_mul(2), |swap| swap.0);
        value["memory"] = json!({ "limit": memory.0, "swap": swap });
    }
    if let Some(reservation) = resources.memory_reservation {
        value["memory"]["reservation"] = json!(reservation.0);
    }
    if let Some(cpus) = resources.cpus {
        value["cpu"] = json!({ "period": 100_000, "quota": u64::from(cpus.0) * 100 });
    }
    if let Some(shares) = resources.cpu_shares {
        value["cpu"]["shares"] = json!(shares);
    }
    if let Some(cpus) = &resources.cpuset_cpus {
        value["cpu"]["cpus"] = json!(cpus);
    }
    if let Some(mems) = &resources.cpuset_mems {
        value["cpu"]["mems"] = json!(mems);
    }
    if let Some(pids) = resources.pids {
        value["pids"] = json!({ "limit": pids });
    }
    value
}

/// Kind, numbers and mode of a device of the host.
fn look(device: &DeviceSpec) -> Result<(&'static str, i64, i64, u32), Error> {
    let metadata = std::fs::metadata(&device.source).map_err(Error::io("use the device", &device.source))?;
    let kind = match metadata.file_type() {
        kind if kind.is_char_device() => "c",
        kind if kind.is_block_device() => "b",
        _ => return Err(Error::setting("device", &device.source, "it is not a device")),
    };
    let number = metadata.rdev();
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    Ok((kind, major.into(), minor.into(), metadata.mode() & 0o777))
}

/// What is run: the entrypoint and the command, each the caller's or the image's.
pub(crate) fn command(options: &ContainerOptions, image: &ContainerConfig) -> Result<Vec<String>, Error> {
    let (entrypoint, replaced) = match &options.entrypoint {
        Some(entrypoint) => (entrypoint.iter().filter(|word| !word.is_empty()).cloned().collect(), true),
        None => (image.entrypoint.clone().unwrap_or_default(), false),
    };
    let mut words: Vec<String> = entrypoint;
    if !options.command.is_empty() {
        words.extend(options.command.iter().cloned());
    } else if !replaced {
        // an entrypoint of the caller's drops the image's command
        words.extend(image.cmd.iter().flatten().cloned());
    }
    if words.is_empty() { Err(Error::NoCommand(options.image.clone())) } else { Ok(words) }
}

fn capabilities(options: &ContainerOptions) -> Result<CapSet, Error> {
    let parse = |names: &[String]| {
        names.iter().try_fold(CapSet::EMPTY, |set, name| match name.parse::<CapSet>() {
            Ok(more) if !name.trim().is_empty() => Ok(set.union(more)),
            _ => Err(Error::setting("capability", name, "there is none of this name")),
        })
    };
    let base = if options.privileged { CapSet::all() } else { CapSet::DOCKER_DEFAULT };
    let (add, drop) = (parse(&options.cap_add)?, parse(&options.cap_drop)?);
    let named = |names: &[String]| names.iter().any(|name| name.eq_ignore_ascii_case("all"));
    // with both, what is named wins over ALL
    Ok(match (named(&options.cap_add), named(&options.cap_drop)) {
        (false, true) => add,
        _ => base.union(add).difference(drop),
    })
}

/// The name of a container's host: its own, or the host's where it shares that.
pub(crate) fn hostname(options: &ContainerOptions, id: &str) -> String {
    if options.host_uts {
        return rustix::system::uname().nodename().to_string_lossy().into_owned();
    }
    options.hostname.clone().unwrap_or_else(|| short_id(id).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(entrypoint: Option<&[&str]>, command: &[&str]) -> ContainerOptions {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        ContainerOptions {
            entrypoint: entrypoint.map(words),
            command: words(command),
            ..ContainerOptions::default()
        }
    }

    #[test]
    fn the_command_is_dropped_by_the_callers_and_the_entrypoint_is_not() {
        let image = ContainerConfig {
            entrypoint: Some(vec!["entry".to_owned()]),
            cmd: Some(vec!["default".to_owned()]),
            ..ContainerConfig::default()
        };
        assert_eq!(command(&options(None, &[]), &image).unwrap(), ["entry", "default"]);
        assert_eq!(command(&options(None, &["mine"]), &image).unwrap(), ["entry", "mine"]);
        assert_eq!(command(&options(Some(&["own"]), &[]), &image).unwrap(), ["own"]);
        assert_eq!(command(&options(Some(&[""]), &["mine"]), &image).unwrap(), ["mine"]);
        assert!(command(&options(Some(&[""]), &[]), &image).is_err());
    }

    #[test]
    fn capabilities_are_added_and_dropped_by_name() {
        let with = |add: &[&str], drop: &[&str]| {
            let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
            capabilities(&ContainerOptions {
                cap_add: words(add),
                cap_drop: words(drop),
                ..ContainerOptions::default()
            })
        };
        assert_eq!(with(&[], &[]).unwrap(), CapSet::DOCKER_DEFAULT);
        assert_eq!(with(&["net_admin"], &["ALL"]).unwrap(), CapSet::NET_ADMIN);
        assert!(!with(&["ALL"], &["CAP_SYS_ADMIN"]).unwrap().contains(CapSet::SYS_ADMIN));
        assert!(with(&["NOT_ONE"], &[]).is_err());
        assert!(with(&[""], &[]).is_err());
    }
}
