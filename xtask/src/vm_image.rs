//! What the emulated machine starts from: busybox, test programs, the libraries and modules they need.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::Failure;
use crate::process::{Show, run};
use crate::vm::Kernel;
use crate::workspace::{Built, Workspace};

const MINUTE: Duration = Duration::from_secs(60);

/// Modules that are loaded at boot; what they depend on comes along.
const MODULES: [&str; 32] = [
    "virtio_pci",
    "virtio_blk",
    "ext4",
    "overlay",
    "loop",
    "fuse",
    "dummy",
    "veth",
    "bridge",
    "br_netfilter",
    "tun",
    "macvlan",
    "ipvlan",
    "vxlan",
    "nf_conntrack",
    "nf_tables",
    "nft_chain_nat",
    "nft_nat",
    "nft_masq",
    "nft_redir",
    "nft_ct",
    "nft_fib_inet",
    "nft_fib_ipv4",
    "nft_fib_ipv6",
    "nft_reject_inet",
    "nft_limit",
    "nft_log",
    "nft_numgen",
    "nft_meta_bridge",
    "nft_reject_bridge",
    "nf_conntrack_bridge",
    "vsock",
];

/// Programs of this host that tests call, and busybox lacks; those that are not here are called in vain.
const PROGRAMS: [&str; 2] = ["/usr/bin/flock", "/usr/bin/strace"];

/// A test program to be run, with its arguments.
pub(crate) struct Suite<'a> {
    pub(crate) name: String,
    pub(crate) program: &'a Built,
    pub(crate) seconds: u64,
    pub(crate) arguments: String,
}

/// What the machine is given.
pub(crate) struct Image {
    /// What its memory holds at the start.
    pub(crate) archive: PathBuf,
    /// An empty file system.
    pub(crate) disk: PathBuf,
}

/// Makes the archive; what was there before is replaced.
pub(crate) fn make(
    workspace: &Workspace,
    kernel: &Kernel,
    suites: &[Suite<'_>],
    programs: &[&Built],
) -> Result<Image, Failure> {
    let root = workspace.target.join("vm/root");
    let _ = fs::remove_dir_all(&root);
    for folder in [
        "bin", "sbin", "usr/bin", "usr/sbin", "proc", "sys", "dev", "run", "tmp", "etc", "root", "vm",
        "var/tmp",
    ] {
        fs::create_dir_all(root.join(folder))?;
    }
    fs::create_dir_all(within(&root, &workspace.target.join("tmp")))?;
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    fs::copy(busybox.ok_or("no busybox (the package busybox-static)")?, root.join("bin/busybox"))?;
    write(&root.join("init"), include_str!("../vm/init"), 0o755)?;
    write(&root.join("vm/second"), include_str!("../vm/second"), 0o755)?;
    write(
        &root.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
        0o644,
    )?;
    write(&root.join("etc/group"), "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n", 0o644)?;
    write(&root.join("etc/hosts"), "127.0.0.1 localhost\n::1 localhost\n", 0o644)?;

    let mut list = String::new();
    for suite in suites {
        let Suite { name, program, seconds, arguments } = suite;
        let (folder, path) = (program.folder.display(), program.path.display());
        writeln!(list, "{name} {folder} {path} {seconds} {arguments}")?;
        fs::create_dir_all(within(&root, &program.folder))?;
    }
    write(&root.join("vm/suites"), &list, 0o644)?;
    let mut libraries = BTreeSet::new();
    let built = suites.iter().map(|suite| suite.program).chain(programs.iter().copied());
    let built = built.map(|program| program.path.as_path());
    let host = PROGRAMS.iter().map(Path::new).filter(|program| program.exists());
    for program in built.chain(host) {
        // tests find programs by the path they were built at
        let to = within(&root, program);
        fs::create_dir_all(to.parent().ok_or("a program without a folder")?)?;
        let mut strip = Command::new("strip");
        strip.arg("-o").arg(&to).arg(program);
        checked(workspace, strip, "strip")?;
        let mut ldd = Command::new("ldd");
        ldd.arg(program);
        let words = checked(workspace, ldd, "ldd")?;
        libraries.extend(words.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from));
    }
    for library in libraries {
        let to = within(&root, &library);
        fs::create_dir_all(to.parent().ok_or("a library without a folder")?)?;
        fs::copy(&library, to)?;
    }
    modules(workspace, kernel, &root)?;
    // the disk that everything moves to
    let disk = workspace.target.join("vm/disk");
    fs::File::create(&disk)?.set_len(1 << 30)?;
    let mut format = Command::new("mkfs.ext4");
    format.args(["-q", "-F"]).arg(&disk).env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin");
    checked(workspace, format, "mkfs")?;
    let archive = workspace.target.join("vm/initramfs");
    let mut pack = Command::new("sh");
    pack.args(["-c", "find . -print0 | cpio --quiet --null -o -H newc > \"$0\""])
        .arg(&archive)
        .current_dir(&root);
    checked(workspace, pack, "cpio")?;
    fs::remove_dir_all(&root)?;
    Ok(Image { archive, disk })
}

/// Copies the modules with what they depend on, by `modules.dep`, and makes an index of those alone.
fn modules(workspace: &Workspace, kernel: &Kernel, root: &Path) -> Result<(), Failure> {
    let index = kernel.modules.join("modules.dep");
    if !index.exists() {
        let base = kernel.modules.ancestors().nth(3).ok_or("a kernel without a folder")?;
        let mut depmod = Command::new("depmod");
        depmod.arg("-b").arg(base).arg(&kernel.version).env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin");
        checked(workspace, depmod, "depmod")?;
    }
    let index = fs::read_to_string(index)?;
    let to = root.join("lib/modules").join(&kernel.version);
    fs::create_dir_all(&to)?;
    let (mut kept, mut there) = (String::new(), String::new());
    let mut wanted: Vec<String> = MODULES.map(str::to_owned).to_vec();
    let mut names = BTreeSet::new();
    while let Some(name) = wanted.pop() {
        let of = |path: &str| {
            path.rsplit('/')
                .next()
                .and_then(|file| file.split(".ko").next())
                .map(|name| name.replace('-', "_"))
        };
        let line = index.lines().find(|line| line.split(':').next().and_then(of).as_deref() == Some(&name));
        let Some((path, needs)) = line.and_then(|line| line.split_once(':')) else { continue };
        if MODULES.contains(&name.as_str()) {
            writeln!(there, "{name}")?;
        }
        if names.insert(name) {
            let file = to.join(path);
            fs::create_dir_all(file.parent().ok_or("a module without a folder")?)?;
            fs::copy(kernel.modules.join(path), file)?;
            writeln!(kept, "{path}:{needs}")?;
            wanted.extend(needs.split_whitespace().filter_map(of));
        }
    }
    write(&to.join("modules.dep"), &kept, 0o644)?;
    // by which names the kernel asks for what is there; a short list is quickly searched
    let alias = fs::read_to_string(kernel.modules.join("modules.alias"))?;
    let known = |line: &&str| line.rsplit(' ').next().is_some_and(|name| names.contains(name));
    let alias: Vec<&str> = alias.lines().filter(known).collect();
    write(&to.join("modules.alias"), &alias.join("\n"), 0o644)?;
    fs::copy(kernel.modules.join("modules.builtin"), to.join("modules.builtin"))?;
    write(&root.join("vm/modules"), &there, 0o644)
}

fn within(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(())
}

fn checked(workspace: &Workspace, command: Command, name: &str) -> Result<String, Failure> {
    let ended = run(command, MINUTE, &workspace.log(&format!("vm-{name}")), Show::Nothing)?;
    if ended.success() {
        Ok(ended.text)
    } else {
        Err(format!("{name}: {}: {}", ended.reason(), ended.last(5)).into())
    }
}
