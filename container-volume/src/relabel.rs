use std::path::Path;

use crate::{Error, Mount, MountSpec, Relabel, Result};

/// Refuses `:z` and `:Z` of bind mounts, with the reason that holds on this machine: there is no SELinux, or its labels are not
/// set by this crate. What would be ignored silently elsewhere is a mount that someone believes to be labelled.
pub fn check_relabel(spec: &MountSpec) -> Result<()> {
    let Mount::Bind { source, relabel: Some(relabel), .. } = &spec.mount else { return Ok(()) };
    // selinuxfs is mounted by whoever loads a policy
    let reason = if Path::new("/sys/fs/selinux/enforce").exists() {
        "labels are not set here: label it by chcon(1), and leave the option out"
    } else {
        "this machine has no SELinux: leave the option out"
    };
    let option = match relabel {
        Relabel::Shared => "z",
        Relabel::Private => "Z",
    };
    Err(Error::Spec {
        spec: format!("{}:{}", source.display(), spec.target.display()).chars().take(200).collect(),
        option: "option",
        value: option.into(),
        reason,
    })
}
