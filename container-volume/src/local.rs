use std::{collections::BTreeMap, path::PathBuf};

use rustix::mount::MountFlags;

use crate::{Error, Result};

/// What the options of the `local` driver ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Local {
    /// A directory of the store, with a limit of its size in bytes if there is one.
    Plain { size: Option<u64> },
    /// A directory of the host.
    Bind { device: PathBuf, recursive: bool, flags: MountFlags },
    /// A file system of its own.
    FileSystem { kind: String, device: String, flags: MountFlags, data: String },
}

/// The kernel takes a page of options at most.
const LONGEST: usize = 4000;

impl Local {
    /// Reads the options `type`, `device`, `o` and `size`. What only the kernel can judge, it judges at the mount.
    pub(crate) fn of(name: &str, options: &BTreeMap<String, String>) -> Result<Self> {
        let refuse = |option: &str, value: &str, reason| {
            let value = value.chars().take(200).collect();
            Err(Error::DriverOption { name: name.into(), option: option.into(), value, reason })
        };
        for (option, value) in options {
            if !matches!(option.as_str(), "type" | "device" | "o" | "size") {
                let option: String = option.chars().take(200).collect();
                return refuse(&option, value, "the local driver has no such option");
            }
            if value.contains('\0') {
                return refuse(option, value, "it has a zero byte in it");
            }
            if value.len() > LONGEST {
                return refuse(option, value, "it is longer than the kernel takes");
            }
        }
        let text = |key: &str| options.get(key).map_or("", String::as_str);
        let (kind, device, o) = (text("type"), text("device"), text("o"));
        let size = match options.get("size") {
            Some(size) => match crate::flags::bytes(size) {
                Some(bytes) if bytes > 0 => Some(bytes),
                _ => return refuse("size", size, "a number of bytes is needed, with k, m, g or t behind it"),
            },
            None => None,
        };
        if kind.is_empty() && device.is_empty() && o.is_empty() {
            return Ok(Self::Plain { size });
        }
        // Docker takes the limit in `o` too
        if kind.is_empty()
            && device.is_empty()
            && let Some(limit) = o.strip_prefix("size=")
        {
            return match crate::flags::bytes(limit) {
                Some(bytes) if bytes > 0 => Ok(Self::Plain { size: Some(bytes) }),
                _ => refuse("o", o, "a number of bytes is needed, with k, m, g or t behind it"),
            };
        }
        if size.is_some() {
            return refuse("size", text("size"), "it is for volumes without `type`, `device` and `o`");
        }
        let (mut flags, mut bind, mut data) = (MountFlags::empty(), None, Vec::new());
        for word in o.split(',').filter(|word| !word.is_empty()) {
            match word {
                "bind" => bind = Some(false),
                "rbind" => bind = Some(true),
                "remount" | "move" | "shared" | "rshared" | "slave" | "rslave" | "private" | "rprivate"
                | "unbindable" | "runbindable" => {
                    return refuse("o", o, "it is no option of a new mount");
                }
                // for mount(8) alone
                "defaults" | "auto" | "noauto" | "_netdev" | "nofail" => {}
                _ => match flag(word) {
                    Some((bit, true)) => flags |= bit,
                    Some((bit, false)) => flags -= bit,
                    None => data.push(word),
                },
            }
        }
        if let Some(recursive) = bind.or((kind == "bind").then_some(false)) {
            return match kind {
                "" | "none" | "bind" if !data.is_empty() => {
                    refuse("o", o, "a bind mount has only ro, nosuid, nodev, noexec, noatime and the like")
                }
                "" | "none" | "bind" if device.is_empty() => refuse("o", o, "it needs a `device`"),
                "" | "none" | "bind" if !device.starts_with('/') => {
                    refuse("device", device, "a bind mount needs an absolute path")
                }
                "" | "none" | "bind" => Ok(Self::Bind { device: device.into(), recursive, flags }),
                _ => refuse("type", kind, "with `o=bind` it is none"),
            };
        }
        match kind {
            "" if device.is_empty() => refuse("o", o, "it needs a `device`"),
            "" | "none" => refuse("device", device, "it needs a `type`, or `o=bind`"),
            // what would show the host's own kernel or processes is nobody's volume
            "proc" | "sysfs" | "cgroup" | "cgroup2" | "debugfs" | "tracefs" | "securityfs" | "devtmpfs"
            | "bpf" | "pstore" | "overlay" => refuse("type", kind, "it holds no files of anybody's"),
            _ if kind.starts_with("nfs") && !device.contains(":/") => {
                refuse("device", device, "nfs needs `SERVER:/PATH`, or `:/PATH` with `o=addr=SERVER`")
            }
            _ => Ok(Self::FileSystem {
                kind: kind.into(),
                device: if device.is_empty() { kind.into() } else { device.into() },
                flags,
                data: nfs_address(kind, device, &data),
            }),
        }
    }
}

/// The kernel takes an NFS server as an address in `addr`, which mount.nfs writes for people.
fn nfs_address(kind: &str, device: &str, data: &[&str]) -> String {
    let mut data: Vec<String> = data.iter().map(|&word| word.to_owned()).collect();
    if kind.starts_with("nfs") && !data.iter().any(|word| word.starts_with("addr=")) {
        let server = device.split_once(":/").map_or("", |(server, _)| server).trim_matches(['[', ']']);
        if server.parse::<std::net::IpAddr>().is_ok() {
            data.push(format!("addr={server}"));
        }
    }
    data.join(",")
}

fn flag(word: &str) -> Option<(MountFlags, bool)> {
    Some(match word {
        "ro" => (MountFlags::RDONLY, true),
        "rw" => (MountFlags::RDONLY, false),
        "nosuid" => (MountFlags::NOSUID, true),
        "suid" => (MountFlags::NOSUID, false),
        "nodev" => (MountFlags::NODEV, true),
        "dev" => (MountFlags::NODEV, false),
        "noexec" => (MountFlags::NOEXEC, true),
        "exec" => (MountFlags::NOEXEC, false),
        "sync" => (MountFlags::SYNCHRONOUS, true),
        "async" => (MountFlags::SYNCHRONOUS, false),
        "dirsync" => (MountFlags::DIRSYNC, true),
        "noatime" => (MountFlags::NOATIME, true),
        "atime" => (MountFlags::NOATIME, false),
        "nodiratime" => (MountFlags::NODIRATIME, true),
        "diratime" => (MountFlags::NODIRATIME, false),
        "relatime" => (MountFlags::RELATIME, true),
        "norelatime" => (MountFlags::RELATIME, false),
        "strictatime" => (MountFlags::STRICTATIME, true),
        "lazytime" => (MountFlags::LAZYTIME, true),
        "nolazytime" => (MountFlags::LAZYTIME, false),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(pairs: &[(&str, &str)]) -> Result<Local> {
        Local::of("vv", &pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn options_become_flags_and_the_rest_is_the_file_systems() {
        let found =
            local(&[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m,ro,uid=7,nodev")]).unwrap();
        let Local::FileSystem { kind, flags, data, .. } = found else { panic!("{found:?}") };
        assert_eq!((kind.as_str(), data.as_str()), ("tmpfs", "size=1m,uid=7"));
        assert_eq!(flags, MountFlags::RDONLY | MountFlags::NODEV);
        let found = local(&[("type", "nfs4"), ("device", "10.0.0.1:/x"), ("o", "soft")]).unwrap();
        assert!(
            matches!(&found, Local::FileSystem { data, .. } if data == "soft,addr=10.0.0.1"),
            "{found:?}"
        );
        assert_eq!(local(&[("o", "size=2g")]).unwrap(), Local::Plain { size: Some(2 << 30) });
        assert_eq!(local(&[("size", "2g")]).unwrap(), Local::Plain { size: Some(2 << 30) });
        let found = local(&[("o", "rbind,ro"), ("device", "/x")]).unwrap();
        assert_eq!(found, Local::Bind { device: "/x".into(), recursive: true, flags: MountFlags::RDONLY });
    }

    #[test]
    fn options_that_are_none_are_refused() {
        for bad in [
            &[("o", "remount,ro"), ("type", "tmpfs")][..],
            &[("type", "sysfs")],
            &[("type", "nfs"), ("device", "/x")],
            &[("type", "tmpfs"), ("size", "1g")],
            &[("o", "bind,size=1"), ("device", "/x")],
            &[("size", "0")],
            &[("o", "size=x")],
            &[("type", "tmpfs"), ("o", "a\0b")],
        ] {
            assert!(local(bad).is_err(), "{bad:?}");
        }
        assert!(local(&[("type", "tmpfs"), ("o", &"x".repeat(5000))]).is_err());
    }
}
