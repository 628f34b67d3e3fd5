//! `config.json`: reading it, and what this crate itself takes from it.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use container_cgroup::GroupPath;
use oci_spec::runtime::{Mount, Spec};

use crate::{ContainerId, Error};

/// The largest `config.json` that is read, bytes.
const LARGEST: u64 = 16 << 20;

/// Reads a bundle's `config.json`; its bytes come along, to be kept.
pub(crate) fn load(bundle: &Path) -> Result<(Spec, Vec<u8>), Error> {
    read(&bundle.join("config.json"))
}

/// Reads the configuration that was kept at `create`.
pub(crate) fn load_kept(directory: &Path) -> Result<Spec, Error> {
    read(&directory.join("config.json")).map(|(spec, _)| spec)
}

fn read(path: &Path) -> Result<(Spec, Vec<u8>), Error> {
    let file = File::open(path).map_err(Error::file("open", path))?;
    let mut bytes = Vec::with_capacity(16 << 10);
    let read = file.take(LARGEST + 1).read_to_end(&mut bytes);
    read.map_err(Error::file("read", path))?;
    if bytes.len() as u64 > LARGEST {
        return Err(Error::file("read", path)(std::io::ErrorKind::FileTooLarge.into()));
    }
    let spec = parse(&bytes).map_err(|source| Error::Json {
        kind: "configuration",
        path: path.to_owned(),
        source,
    })?;
    Ok((spec, bytes))
}

fn parse(bytes: &[u8]) -> serde_json::Result<Spec> {
    // two flags of `process.scheduler` that `oci-spec` knows by other names than the specification
    let renamed = [
        ("\"SCHED_FLAG_RESET_ON_FORK\"", "\"SCHED_RESET_ON_FORK\""),
        ("\"SCHED_FLAG_DL_OVERRUN\"", "\"SCHED_FLAG_D_L_OVERRUN\""),
    ];
    match std::str::from_utf8(bytes) {
        Ok(text) if text.contains("\"scheduler\"") => {
            let text = renamed.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
            serde_json::from_str(&text)
        }
        _ => serde_json::from_slice(bytes),
    }
}

fn wrong(pointer: &str, value: impl Into<String>, reason: &'static str) -> Error {
    Error::Config { pointer: pointer.to_owned(), value: value.into(), reason }
}

/// What must hold of a configuration before anything is made.
pub(crate) fn verify(spec: &Spec) -> Result<(), Error> {
    let version = spec.version();
    let numbers: Vec<&str> = version.split(['.', '-', '+']).take(3).collect();
    if numbers.len() < 3 || numbers.iter().any(|n| n.parse::<u32>().is_err()) || !version.starts_with("1.") {
        return Err(wrong("/ociVersion", version, "is not a version 1.x.y"));
    }
    if spec.linux().is_none() {
        return Err(wrong("/linux", "", "is missing"));
    }
    if spec.process().is_none() {
        return Err(wrong("/process", "", "is missing"));
    }
    Ok(())
}

/// The control group of a container: `linux.cgroupsPath` if absolute, below `/dunnage` if relative, `/dunnage/<id>` if absent.
pub(crate) fn cgroup(spec: &Spec, id: &ContainerId) -> Result<GroupPath, Error> {
    let pointer = "/linux/cgroupsPath";
    let given = spec.linux().as_ref().and_then(|linux| linux.cgroups_path().clone());
    let path = match given.as_deref().map(Path::to_str) {
        None | Some(Some("")) => format!("/dunnage/{id}"),
        Some(None) => return Err(wrong(pointer, "", "is not UTF-8")),
        Some(Some(path)) if path.starts_with('/') => path.to_owned(),
        Some(Some(path)) if path.matches(':').count() == 2 => {
            return Err(wrong(
                pointer,
                path,
                "is in systemd's form slice:prefix:name, which is not supported",
            ));
        }
        Some(Some(path)) => format!("/dunnage/{path}"),
    };
    Ok(GroupPath::new(path)?)
}

/// Puts the mount at `/` before all others: the extension by which the root file system is made in the container's mount
/// namespace only. Gives whether it is to be read-only; none if there is no such mount.
pub(crate) fn root_mount_first(spec: &mut Spec) -> Result<Option<bool>, Error> {
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    let at_root = |mount: &Mount| mount.destination() == Path::new("/");
    let Some(index) = mounts.iter().position(at_root) else { return Ok(None) };
    if mounts.iter().filter(|mount| at_root(mount)).count() > 1 {
        return Err(wrong("/mounts", "/", "has two mounts at `/`"));
    }
    let mount = mounts.remove(index);
    let read_only = mount.options().iter().flatten().any(|option| option == "ro");
    mounts.insert(0, mount);
    spec.set_mounts(Some(mounts));
    Ok(Some(read_only))
}

/// Takes out of the ambient set what the kernel would refuse (`capabilities(7)`: it must be permitted and inheritable), as configurations made for
/// other runtimes, which pass such failures over, have it.
pub(crate) fn possible_ambient(sandbox: &mut container_ns::Sandbox) {
    if let Some(sets) = &mut sandbox.capabilities {
        sets.ambient = sets.ambient.intersection(sets.permitted).intersection(sets.inheritable);
    }
}

/// Follows [`SECCOMP_PROFILE_ANNOTATION`](crate::SECCOMP_PROFILE_ANNOTATION) where the configuration has no filter of its own.
pub(crate) fn built_in_seccomp(spec: &Spec, sandbox: &mut container_ns::Sandbox) -> Result<(), Error> {
    let annotations = spec.annotations().as_ref();
    let Some(profile) = annotations.and_then(|all| all.get(crate::SECCOMP_PROFILE_ANNOTATION)) else {
        return Ok(());
    };
    if profile != "docker-default" {
        return Err(Error::Config {
            pointer: format!("/annotations/{}", crate::SECCOMP_PROFILE_ANNOTATION),
            value: profile.clone(),
            reason: "there is no such profile; docker-default is one",
        });
    }
    if sandbox.seccomp.is_none() {
        let bounding =
            sandbox.capabilities.as_ref().map_or(container_ns::CapSet::EMPTY, |sets| sets.bounding);
        sandbox.seccomp = Some(container_ns::Seccomp::docker_default(bounding));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_the_scheduler_have_the_names_of_the_specification() {
        let text = r#"{"ociVersion": "1.3.0", "process": {"args": ["x"], "cwd": "/", "user": {"uid": 0, "gid": 0}, "scheduler":
            {"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_RECLAIM"]}}}"#;
        let spec = parse(text.as_bytes()).expect("a configuration");
        let scheduler = spec.process().as_ref().and_then(|process| process.scheduler().clone());
        assert_eq!(scheduler.and_then(|one| one.flags().clone()).map(|flags| flags.len()), Some(3));
    }

    #[test]
    fn a_group_in_systemds_form_is_refused_and_a_missing_one_follows_from_the_id() {
        let id = ContainerId::new("x").expect("an id");
        let mut spec = Spec::default();
        let mut set = |path: &str| {
            let mut linux = spec.linux().clone().unwrap_or_default();
            linux.set_cgroups_path(Some(path.into()));
            spec.set_linux(Some(linux));
            cgroup(&spec, &id)
        };
        assert_eq!(set("").expect("a path").as_str(), "/dunnage/x");
        assert_eq!(set("a/b").expect("a path").as_str(), "/dunnage/a/b");
        assert_eq!(set("/a/b").expect("a path").as_str(), "/a/b");
        for bad in ["system.slice:crio:x", "../x", "/a/../../x"] {
            assert!(set(bad).is_err(), "{bad}");
        }
    }
}
