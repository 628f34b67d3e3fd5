//! An emulated machine: Debian's own kernel under QEMU, without acceleration.
//!
//! `-accel kvm` hangs on machines that are themselves virtual, so that it is never asked for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::Failure;
use crate::apt::apt;
use crate::process::{Ended, Show, run};
use crate::vm_image::Image;
use crate::workspace::Workspace;

const KERNEL: &str = "linux-image-cloud-amd64";
const MINUTE: Duration = Duration::from_secs(60);

/// A kernel with its modules, unpacked.
pub(crate) struct Kernel {
    pub(crate) image: PathBuf,
    /// The folder `lib/modules/VERSION`.
    pub(crate) modules: PathBuf,
    pub(crate) version: String,
}

impl Kernel {
    /// Takes the kernel of this Debian, or the one that was taken before.
    pub(crate) fn fetch(workspace: &Workspace) -> Result<Self, Failure> {
        let cache = workspace.target.join("vm");
        fs::create_dir_all(&cache)?;
        let mut query = Command::new("apt-cache");
        query.args(["depends", KERNEL]);
        let ended = run(query, MINUTE, &workspace.log("apt-cache"), Show::Nothing)?;
        let package =
            ended.text.lines().find_map(|line| line.trim().strip_prefix("Depends: ")).map(str::to_owned);
        if let Some(package) = package.as_deref().filter(|package| package.starts_with("linux-image-")) {
            let folder = cache.join(package);
            if !folder.exists() {
                download(workspace, &cache, package, &folder)?;
            }
            return Self::open(&folder);
        }
        let kept = fs::read_dir(&cache)?.filter_map(Result::ok).map(|entry| entry.path());
        let kept = kept.filter(|path| path.to_string_lossy().contains("/linux-image-")).max();
        Self::open(&kept.ok_or_else(|| format!("apt knows no package {KERNEL}: {}", ended.last(3)))?)
    }

    fn open(folder: &Path) -> Result<Self, Failure> {
        let modules =
            fs::read_dir(folder.join("lib/modules"))?.next().ok_or("a kernel without modules")??;
        let version = modules.file_name().to_string_lossy().into_owned();
        Ok(Self {
            image: folder.join("boot").join(format!("vmlinuz-{version}")),
            modules: modules.path(),
            version,
        })
    }
}

/// Unpacks into a temporary folder, which gets its name when it is whole.
fn download(workspace: &Workspace, cache: &Path, package: &str, folder: &Path) -> Result<(), Failure> {
    println!("taking {package}");
    let half = cache.join("half");
    let _ = fs::remove_dir_all(&half);
    fs::create_dir_all(&half)?;
    let mut fetch = apt(&["download", package]);
    fetch.current_dir(&half);
    let mut ended = run(fetch, MINUTE * 5, &workspace.log("vm-kernel"), Show::Nothing)?;
    if !ended.success() {
        // the list may name a version that the mirror has replaced
        run(apt(&["update"]), MINUTE * 5, &workspace.log("apt-update"), Show::Nothing)?;
        let mut fetch = apt(&["download", package]);
        fetch.current_dir(&half);
        ended = run(fetch, MINUTE * 5, &workspace.log("vm-kernel"), Show::Nothing)?;
    }
    if !ended.success() {
        return Err(format!("apt-get download {package}: {}\n{}", ended.reason(), ended.last(10)).into());
    }
    let archive = fs::read_dir(&half)?.next().ok_or("apt-get download left nothing")??.path();
    let mut unpack = Command::new("dpkg-deb");
    unpack.arg("-x").arg(&archive).arg(half.join("root"));
    let ended = run(unpack, MINUTE * 3, &workspace.log("vm-kernel"), Show::Nothing)?;
    if !ended.success() {
        return Err(format!("dpkg-deb -x: {}\n{}", ended.reason(), ended.last(10)).into());
    }
    fs::rename(half.join("root"), folder)?;
    fs::remove_dir_all(&half)?;
    Ok(())
}

/// Boots and waits until the machine is off; everything its console said is in the text.
pub(crate) fn boot(
    workspace: &Workspace,
    kernel: &Kernel,
    image: &Image,
    limit: Duration,
) -> Result<Ended, Failure> {
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "2G"]);
    qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-monitor", "none", "-serial", "stdio"]);
    qemu.args(["-no-reboot", "-kernel"]).arg(&kernel.image).arg("-initrd").arg(&image.archive);
    qemu.arg("-drive").arg(format!("file={},format=raw,if=virtio,cache=unsafe", image.disk.display()));
    qemu.args([
        "-append",
        "console=ttyS0 quiet loglevel=1 panic=-1 psi=1 cgroup_no_v1=all mitigations=off tsc=reliable",
    ]);
    run(qemu, limit, &workspace.log("vm"), Show::Nothing)
}
