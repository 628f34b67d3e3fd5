use std::fmt;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::file;

/// A resource controller, or a named hierarchy of version 1 that has none.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Controller {
    /// Processor time.
    Cpu,
    /// Accounting of processor time; version 1 only.
    Cpuacct,
    /// Processors and memory nodes.
    Cpuset,
    /// Memory.
    Memory,
    /// Block devices: `blkio` in version 1, `io` in version 2.
    Io,
    /// Number of processes.
    Pids,
    /// Device nodes; version 1 only.
    Devices,
    /// Freezing; version 1 only, a property of every group in version 2.
    Freezer,
    /// Huge pages.
    Hugetlb,
    /// RDMA adapters.
    Rdma,
    /// Network class; version 1 only.
    NetCls,
    /// Network priority; version 1 only.
    NetPrio,
    /// A controller without limits of its own here: `perf_event`, `misc`, `dmem`, or one of a later kernel.
    Other(String),
}

impl Controller {
    fn named(name: &str) -> Self {
        match name {
            "cpu" => Self::Cpu,
            "cpuacct" => Self::Cpuacct,
            "cpuset" => Self::Cpuset,
            "memory" => Self::Memory,
            "io" | "blkio" => Self::Io,
            "pids" => Self::Pids,
            "devices" => Self::Devices,
            "freezer" => Self::Freezer,
            "hugetlb" => Self::Hugetlb,
            "rdma" => Self::Rdma,
            "net_cls" => Self::NetCls,
            "net_prio" => Self::NetPrio,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for Controller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "cpu",
            Self::Cpuacct => "cpuacct",
            Self::Cpuset => "cpuset",
            Self::Memory => "memory",
            Self::Io => "io",
            Self::Pids => "pids",
            Self::Devices => "devices",
            Self::Freezer => "freezer",
            Self::Hugetlb => "hugetlb",
            Self::Rdma => "rdma",
            Self::NetCls => "net_cls",
            Self::NetPrio => "net_prio",
            Self::Other(name) => name,
        })
    }
}

/// The version of the interface that a mounted hierarchy speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// One hierarchy a controller, `Documentation/admin-guide/cgroup-v1`.
    V1,
    /// The unified hierarchy, `Documentation/admin-guide/cgroup-v2.rst`.
    V2,
}

/// How the hierarchies of a host are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// Only the unified hierarchy.
    Unified,
    /// Only hierarchies of version 1.
    Legacy,
    /// Controllers in version 1, and a unified hierarchy beside them.
    Hybrid,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) version: Version,
    pub(crate) point: PathBuf,
    pub(crate) controllers: Vec<Controller>,
}

impl Mount {
    pub(crate) fn holds(&self, controller: &Controller) -> bool {
        self.controllers.contains(controller)
    }
}

/// The cgroup hierarchies that are mounted, and which controller lives where.
///
/// A snapshot: mounts made later are not seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    pub(crate) mounts: Vec<Mount>,
}

impl Hierarchy {
    /// The hierarchies this thread sees, from `/proc/thread-self/mountinfo`.
    pub fn of_host() -> Result<Self, Error> {
        let path = Path::new("/proc/thread-self/mountinfo");
        let text = file::read_bytes(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
        Self::from_mountinfo(&text, Path::new(""))
    }

    /// The hierarchies that a `mountinfo` text names (`proc_pid_mountinfo(5)`), their mount points below `root`.
    ///
    /// Of several mounts of one controller the first counts, except that a later mount at the same point hides the earlier.
    pub fn from_mountinfo(text: &[u8], root: &Path) -> Result<Self, Error> {
        let mut mounts: Vec<Mount> = Vec::new();
        for line in text.split(|&b| b == b'\n') {
            let Some(found) = parse_line(line, root) else { continue };
            mounts.retain(|mount| mount.point != found.point);
            let seen = match found.version {
                Version::V2 => mounts.iter().any(|mount| mount.version == Version::V2),
                Version::V1 => mounts.iter().any(|mount| {
                    mount.version == Version::V1 && found.controllers.iter().any(|c| mount.holds(c))
                }),
            };
            if !seen {
                mounts.push(found);
            }
        }
        for mount in mounts.iter_mut().filter(|mount| mount.version == Version::V2) {
            let text = file::read(&mount.point.join("cgroup.controllers"))?;
            mount.controllers = text.split_whitespace().map(Controller::named).collect();
        }
        if mounts.is_empty() { Err(Error::NoHierarchy) } else { Ok(Self { mounts }) }
    }

    /// How the hierarchies are laid out.
    pub fn layout(&self) -> Layout {
        let has = |version| self.mounts.iter().any(|mount| mount.version == version);
        match (has(Version::V1), has(Version::V2)) {
            (false, _) => Layout::Unified,
            (true, false) => Layout::Legacy,
            (true, true) => Layout::Hybrid,
        }
    }

    /// The version through which a controller is reached; none if no hierarchy holds it.
    pub fn version_of(&self, controller: &Controller) -> Option<Version> {
        self.holder(controller).map(|mount| mount.version)
    }

    /// The mount point of the unified hierarchy.
    pub fn unified(&self) -> Option<&Path> {
        self.unified_mount().map(|mount| mount.point.as_path())
    }

    pub(crate) fn unified_mount(&self) -> Option<&Mount> {
        self.mounts.iter().find(|mount| mount.version == Version::V2)
    }

    pub(crate) fn holder(&self, controller: &Controller) -> Option<&Mount> {
        self.mounts.iter().find(|mount| mount.holds(controller))
    }
}

fn parse_line(line: &[u8], root: &Path) -> Option<Mount> {
    use std::os::unix::ffi::OsStrExt as _;

    // ID PARENT MAJ:MIN ROOT POINT OPTIONS [TAG...] - TYPE SOURCE SUPER-OPTIONS
    let mut words = line.split(|&b| b == b' ');
    let point = words.by_ref().nth(4)?;
    let mut tail = words.skip_while(|word| *word != b"-").skip(1);
    let version = match tail.next()? {
        b"cgroup" => Version::V1,
        b"cgroup2" => Version::V2,
        _ => return None,
    };
    let point = unescape(point);
    let point = Path::new(std::ffi::OsStr::from_bytes(&point));
    let point =
        if root.as_os_str().is_empty() { point.to_owned() } else { root.join(point.strip_prefix("/").ok()?) };
    let options = std::str::from_utf8(tail.nth(1)?).ok()?;
    let controllers = match version {
        Version::V2 => Vec::new(),
        Version::V1 => options
            .split(',')
            .filter(|word| !IGNORED.contains(word) && !word.starts_with("release_agent="))
            .map(Controller::named)
            .collect(),
    };
    Some(Mount { version, point, controllers })
}

/// Options of the super block that are not controllers; `name=systemd` stays, as a hierarchy of its own.
const IGNORED: [&str; 9] = [
    "rw",
    "ro",
    "xattr",
    "noprefix",
    "clone_children",
    "cpuset_v2_mode",
    "favordynmods",
    "nofavordynmods",
    "none",
];

/// Undoes the octal escapes of space, tab, newline and backslash.
fn unescape(word: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|d| first == b'\\' && d.iter().all(|b| (b'0'..=b'7').contains(b)));
        if let Some(digits) = digits {
            plain.push(digits.iter().fold(0_u8, |value, b| value.wrapping_mul(8).wrapping_add(b - b'0')));
            rest = &after[3..];
        } else {
            plain.push(first);
            rest = after;
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(controllers: &str, unified: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a temporary directory");
        let dir = root.path().join(unified);
        std::fs::create_dir_all(&dir).expect("a made-up tree");
        std::fs::write(dir.join("cgroup.controllers"), controllers).expect("a made-up file");
        root
    }

    #[test]
    fn a_unified_host_is_known_by_its_one_mount() {
        let root = tree("cpuset cpu io memory hugetlb pids rdma misc\n", "sys/fs/cgroup");
        let text = b"31 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        let found = Hierarchy::from_mountinfo(text, root.path()).expect("a hierarchy");
        assert_eq!(found.layout(), Layout::Unified);
        assert_eq!(found.version_of(&Controller::Memory), Some(Version::V2));
        assert_eq!(found.version_of(&Controller::Io), Some(Version::V2));
        assert_eq!(found.version_of(&Controller::Devices), None);
        assert_eq!(found.unified(), Some(root.path().join("sys/fs/cgroup").as_path()));
    }

    #[test]
    fn a_hybrid_host_has_joint_and_named_mounts_beside_the_unified_one() {
        let root = tree("hugetlb\n", "sys/fs/cgroup/unified");
        let text = b"\
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 master:2 - cgroup cgroup rw,cpu,cpuacct
33 31 0:30 / /sys/fs/cgroup/with\\040space rw - cgroup none rw,memory
34 31 0:31 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/x,name=systemd
35 31 0:32 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
36 31 0:29 / /elsewhere rw - cgroup cgroup rw,cpu,cpuacct
";
        let found = Hierarchy::from_mountinfo(text, root.path()).expect("a hierarchy");
        assert_eq!(found.layout(), Layout::Hybrid);
        assert_eq!(found.mounts.len(), 4);
        let cpu = found.holder(&Controller::Cpuacct).expect("cpuacct");
        assert!(cpu.point.ends_with("sys/fs/cgroup/cpu,cpuacct"));
        let memory = found.holder(&Controller::Memory).expect("memory");
        assert!(memory.point.ends_with("sys/fs/cgroup/with space"));
        assert_eq!(found.version_of(&Controller::Hugetlb), Some(Version::V2));
        assert!(found.mounts.iter().any(|m| m.controllers == [Controller::Other("name=systemd".to_owned())]));
    }

    #[test]
    fn a_host_without_cgroups_is_an_error_and_garbage_is_passed_over() {
        for text in
            [&b""[..], b"\n\n", b"1 2 3", b"a b c d e f - cgroup", b"1 1 0:1 / /p rw - proc proc rw\n"]
        {
            let found = Hierarchy::from_mountinfo(text, Path::new(""));
            assert!(matches!(found, Err(Error::NoHierarchy)), "{found:?}");
        }
    }

    #[test]
    fn a_legacy_host_has_no_unified_mount() {
        let text = b"32 31 0:29 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";
        let found = Hierarchy::from_mountinfo(text, Path::new("")).expect("a hierarchy");
        assert_eq!((found.layout(), found.unified()), (Layout::Legacy, None));
    }
}
