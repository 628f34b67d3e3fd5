//! Mounts of an OCI configuration: every option of the specification's list.

use std::path::Path;

use oci_spec::runtime as spec;

use crate::mount::FsOption;
use crate::oci::{bad, filesystem, id_map, propagation};
use crate::{BindSource, Error, Filesystem, Mount, MountFlags, MountIdMap, MountKind, Root, sys};

/// An option that sets or clears an attribute: flag, whether it sets, whether it is recursive.
fn attribute(word: &str) -> Option<(MountFlags, bool, bool)> {
    // `relatime`, `ro`, `rw` begin with an r that is no prefix
    let plain = |word: &str| {
        Some(match word {
            "ro" => (MountFlags::READ_ONLY, true),
            "rw" => (MountFlags::READ_ONLY, false),
            "nosuid" => (MountFlags::NO_SUID, true),
            "suid" => (MountFlags::NO_SUID, false),
            "nodev" => (MountFlags::NO_DEV, true),
            "dev" => (MountFlags::NO_DEV, false),
            "noexec" => (MountFlags::NO_EXEC, true),
            "exec" => (MountFlags::NO_EXEC, false),
            "noatime" => (MountFlags::NO_ATIME, true),
            "atime" => (MountFlags::NO_ATIME, false),
            "nodiratime" => (MountFlags::NO_DIR_ATIME, true),
            "diratime" => (MountFlags::NO_DIR_ATIME, false),
            "relatime" => (MountFlags::RELATIME, true),
            "norelatime" => (MountFlags::RELATIME, false),
            "strictatime" => (MountFlags::STRICT_ATIME, true),
            "nostrictatime" => (MountFlags::STRICT_ATIME, false),
            "nosymfollow" => (MountFlags::NO_SYMLINK_FOLLOW, true),
            "symfollow" => (MountFlags::NO_SYMLINK_FOLLOW, false),
            _ => return None,
        })
    };
    if let Some((flag, set)) = plain(word) {
        return Some((flag, set, false));
    }
    let (flag, set) = plain(word.strip_prefix('r')?)?;
    Some((flag, set, true))
}

/// One mount. `label` is `linux.mountLabel`; `linux` has the id maps that an `idmap` without maps of its own takes, those of a new
/// user namespace.
pub(crate) fn convert(
    mount: &spec::Mount,
    bundle: &Path,
    pointer: &str,
    label: Option<&str>,
    linux: Option<&spec::Linux>,
) -> Result<Mount, Error> {
    let destination = mount.destination();
    if !destination.is_absolute() {
        let text = destination.to_string_lossy();
        return Err(bad(&format!("{pointer}.destination"), &text, "is not an absolute path"));
    }
    let mut out = Mount::new(destination, MountKind::Remount(Vec::new()), MountFlags::empty());
    let kind = mount.typ().as_deref().unwrap_or_default();
    let mut bind = (kind == "bind").then_some(false);
    let mut remount = false;
    let mut copy_up = false;
    let mut idmap = None;
    let mut options: Vec<(usize, FsOption)> = Vec::new();
    for (index, word) in mount.options().iter().flatten().enumerate() {
        if let Some((flag, set, recursive)) = attribute(word) {
            let (on, off) = if recursive {
                (&mut out.attributes.set_recursive, &mut out.attributes.clear_recursive)
            } else {
                (&mut out.attributes.set, &mut out.attributes.clear)
            };
            let atime = MountFlags::NO_ATIME | MountFlags::STRICT_ATIME | MountFlags::RELATIME;
            if set && atime.contains(flag) {
                on.remove(atime);
            }
            on.set(flag, set);
            // a recursive clearing is done; a plain one only takes an earlier option back
            off.set(flag, !set && recursive && flag != MountFlags::RELATIME);
            continue;
        }
        if let Some(kind) = propagation(word) {
            out.propagation.push(kind);
            continue;
        }
        match word.as_str() {
            "bind" => bind = Some(bind.unwrap_or(false)),
            "rbind" => bind = Some(true),
            "remount" => remount = true,
            "tmpcopyup" => copy_up = true,
            "idmap" => idmap = Some(false),
            "ridmap" => idmap = Some(true),
            // the kernel's defaults, and words for mount(8)
            "defaults" | "async" | "nomand" | "loud" | "nolazytime" | "noiversion" | "auto" | "noauto"
            | "user" | "nouser" | "users" | "_netdev" | "nofail" => {}
            "sync" | "dirsync" | "lazytime" | "mand" | "silent" | "iversion" | "acl" | "noacl" => {
                options.push((index, FsOption::Flag(word.clone())));
            }
            _ => options.push((
                index,
                match word.split_once('=') {
                    Some((key, value)) => FsOption::Value(key.to_owned(), value.to_owned()),
                    None => FsOption::Flag(word.clone()),
                },
            )),
        }
    }
    let has_maps = mount.uid_mappings().is_some() || mount.gid_mappings().is_some();
    if has_maps || idmap.is_some() {
        let (users, groups) = if has_maps {
            (mount.uid_mappings(), mount.gid_mappings())
        } else if let Some(linux) = linux {
            (linux.uid_mappings(), linux.gid_mappings())
        } else {
            let reason = "needs uidMappings and gidMappings, or a new user namespace with some";
            return Err(bad(&format!("{pointer}.options"), "idmap", reason));
        };
        let users = users.iter().flatten().map(id_map).collect();
        let groups = groups.iter().flatten().map(id_map).collect();
        out.idmap = Some((MountIdMap::Maps { users, groups }, idmap.unwrap_or(false)));
    }
    if remount {
        out.kind = MountKind::Remount(options.into_iter().map(|(_, option)| option).collect());
        return Ok(out);
    }
    if let Some(recursive) = bind {
        if let Some((index, option)) = options.first() {
            let word = match option {
                FsOption::Flag(key) | FsOption::Value(key, _) | FsOption::Descriptor(key, _) => key,
            };
            let pointer = format!("{pointer}.options[{index}]");
            return Err(bad(&pointer, word, "is an option of a file system, not of a bind"));
        }
        let Some(source) = mount.source() else {
            return Err(bad(&format!("{pointer}.source"), "", "is missing, and needed for a bind"));
        };
        out.kind = MountKind::Bind { source: BindSource::Path(bundle.join(source)), recursive };
        return Ok(out);
    }
    if kind.is_empty() {
        return Err(bad(&format!("{pointer}.type"), "", "is missing, and it is no bind"));
    }
    if kind == "cgroup" {
        out.kind = MountKind::Cgroup;
        return Ok(out);
    }
    let mut fs = filesystem(kind, mount.source().as_deref());
    for (_, option) in options {
        match option {
            FsOption::Value(key, value) if kind == "overlay" && key == "lowerdir" => layers(&mut fs, value),
            other => fs.options.push(other),
        }
    }
    if let Some(label) = label
        && !matches!(kind, "proc" | "sysfs" | "cgroup2")
    {
        fs = fs.option("context", label);
    }
    out.kind = if copy_up {
        if kind != "tmpfs" {
            return Err(bad(
                &format!("{pointer}.type"),
                kind,
                "cannot be a copy of what is there, only tmpfs can",
            ));
        }
        MountKind::TmpCopyUp(fs)
    } else {
        MountKind::Filesystem(fs)
    };
    Ok(out)
}

/// `lowerdir=a:b` as one option a layer where the kernel has that, so that its length does not matter.
fn layers(fs: &mut Filesystem, value: String) {
    if !sys::kernel_at_least(6, 7) || value.contains("::") {
        fs.options.push(FsOption::Value("lowerdir".to_owned(), value));
        return;
    }
    let mut layer = String::new();
    let mut escaped = false;
    for letter in value.chars() {
        match letter {
            _ if escaped => {
                escaped = false;
                layer.push(letter);
            }
            '\\' => escaped = true,
            ':' => fs.options.push(FsOption::Value("lowerdir+".to_owned(), std::mem::take(&mut layer))),
            _ => layer.push(letter),
        }
    }
    fs.options.push(FsOption::Value("lowerdir+".to_owned(), layer));
}

/// The mount with destination `/`.
pub(crate) fn as_root(mount: Mount, pointer: &str) -> Result<Root, Error> {
    match mount.kind {
        MountKind::Filesystem(fs) => Ok(Root::Filesystem(fs)),
        MountKind::Bind { source: BindSource::Path(path), .. } => Ok(Root::Path(path)),
        _ => Err(bad(&format!("{pointer}.type"), "", "cannot be the root file system")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(kind: &str, options: &[&str]) -> Result<Mount, Error> {
        let mount = spec::MountBuilder::default()
            .destination("/x")
            .typ(kind)
            .source("src")
            .options(options.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
            .build()
            .unwrap();
        convert(&mount, Path::new("/bundle"), "mounts[2]", None, None)
    }

    #[test]
    fn the_last_of_two_opposite_options_wins() {
        let mount = mount("bind", &["ro", "rw", "nosuid", "suid", "nosuid"]).unwrap();
        assert_eq!(mount.attributes.set, MountFlags::NO_SUID);
        assert_eq!(mount.attributes.clear, MountFlags::empty());
    }

    #[test]
    fn recursive_options_are_told_from_those_that_begin_with_r() {
        let mount = mount("bind", &["rbind", "rro", "rnosuid", "rexec", "relatime", "rslave"]).unwrap();
        assert_eq!(mount.attributes.set_recursive, MountFlags::READ_ONLY | MountFlags::NO_SUID);
        assert_eq!(mount.attributes.clear_recursive, MountFlags::NO_EXEC);
        assert_eq!(mount.attributes.set, MountFlags::RELATIME);
        assert_eq!(mount.propagation, [(crate::Propagation::Slave, true)]);
        assert!(matches!(mount.kind, MountKind::Bind { recursive: true, .. }));
    }

    #[test]
    fn an_option_that_a_bind_cannot_have_is_named_with_its_place() {
        let error = mount("bind", &["ro", "size=1m"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "mounts[2].options[1]: is an option of a file system, not of a bind: \"size\""
        );
    }

    #[test]
    fn layers_of_an_overlay_are_taken_apart() {
        let mount = mount("overlay", &["lowerdir=/a:/b\\:c", "upperdir=/u"]).unwrap();
        let MountKind::Filesystem(fs) = mount.kind else { panic!() };
        let texts: Vec<String> = fs.options.iter().map(|option| format!("{option:?}")).collect();
        if sys::kernel_at_least(6, 7) {
            assert_eq!(
                texts,
                [
                    "Value(\"lowerdir+\", \"/a\")",
                    "Value(\"lowerdir+\", \"/b:c\")",
                    "Value(\"upperdir\", \"/u\")"
                ]
            );
        }
    }

    #[test]
    fn every_option_of_the_specification_is_known() {
        for word in [
            "async",
            "atime",
            "defaults",
            "dev",
            "diratime",
            "dirsync",
            "exec",
            "iversion",
            "lazytime",
            "loud",
            "mand",
            "noatime",
            "nodev",
            "nodiratime",
            "noexec",
            "noiversion",
            "nolazytime",
            "nomand",
            "norelatime",
            "nostrictatime",
            "nosuid",
            "nosymfollow",
            "private",
            "ratime",
            "rdev",
            "rdiratime",
            "relatime",
            "rexec",
            "rnoatime",
            "rnodiratime",
            "rnoexec",
            "rnorelatime",
            "rnostrictatime",
            "rnosuid",
            "rnosymfollow",
            "ro",
            "rprivate",
            "rrelatime",
            "rro",
            "rrw",
            "rshared",
            "rslave",
            "rstrictatime",
            "rsuid",
            "rsymfollow",
            "runbindable",
            "rw",
            "shared",
            "silent",
            "slave",
            "strictatime",
            "suid",
            "symfollow",
            "sync",
            "tmpcopyup",
            "unbindable",
        ] {
            let mount = mount("tmpfs", &[word]).unwrap();
            let flags = ["dirsync", "iversion", "lazytime", "mand", "silent", "sync"];
            let (MountKind::Filesystem(fs) | MountKind::TmpCopyUp(fs)) = mount.kind else { panic!("{word}") };
            assert_eq!(fs.options.len(), usize::from(flags.contains(&word)), "{word}");
        }
    }
}
