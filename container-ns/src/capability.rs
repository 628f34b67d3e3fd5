//! Capabilities as a set, and the five sets of a process.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use crate::Error;
use crate::sys;

/// Names by number, `capability.h` up to Linux 5.9.
const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// A set of Linux capabilities (`capabilities(7)`): bit *n* is capability number *n*.
///
/// ```
/// use container_ns::CapSet;
/// let set: CapSet = "CAP_CHOWN, net_raw".parse()?;
/// assert!(set.contains(CapSet::NET_RAW));
/// assert_eq!(set.to_string(), "CAP_CHOWN,CAP_NET_RAW");
/// # Ok::<(), container_ns::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CapSet(u64);

macro_rules! named {
    ($($(#[$meta:meta])* $name:ident = $bit:expr;)*) => {
        impl CapSet {
            $($(#[$meta])* pub const $name: Self = Self(1 << $bit);)*
        }
    };
}

named! {
    /// `CAP_CHOWN`
    CHOWN = 0;
    /// `CAP_DAC_OVERRIDE`
    DAC_OVERRIDE = 1;
    /// `CAP_DAC_READ_SEARCH`
    DAC_READ_SEARCH = 2;
    /// `CAP_FOWNER`
    FOWNER = 3;
    /// `CAP_FSETID`
    FSETID = 4;
    /// `CAP_KILL`
    KILL = 5;
    /// `CAP_SETGID`
    SETGID = 6;
    /// `CAP_SETUID`
    SETUID = 7;
    /// `CAP_SETPCAP`
    SETPCAP = 8;
    /// `CAP_NET_BIND_SERVICE`
    NET_BIND_SERVICE = 10;
    /// `CAP_NET_ADMIN`
    NET_ADMIN = 12;
    /// `CAP_NET_RAW`
    NET_RAW = 13;
    /// `CAP_SYS_MODULE`
    SYS_MODULE = 16;
    /// `CAP_SYS_RAWIO`
    SYS_RAWIO = 17;
    /// `CAP_SYS_CHROOT`
    SYS_CHROOT = 18;
    /// `CAP_SYS_PTRACE`
    SYS_PTRACE = 19;
    /// `CAP_SYS_PACCT`
    SYS_PACCT = 20;
    /// `CAP_SYS_ADMIN`
    SYS_ADMIN = 21;
    /// `CAP_SYS_BOOT`
    SYS_BOOT = 22;
    /// `CAP_SYS_NICE`
    SYS_NICE = 23;
    /// `CAP_SYS_RESOURCE`
    SYS_RESOURCE = 24;
    /// `CAP_SYS_TIME`
    SYS_TIME = 25;
    /// `CAP_SYS_TTY_CONFIG`
    SYS_TTY_CONFIG = 26;
    /// `CAP_MKNOD`
    MKNOD = 27;
    /// `CAP_AUDIT_WRITE`
    AUDIT_WRITE = 29;
    /// `CAP_SETFCAP`
    SETFCAP = 31;
    /// `CAP_SYSLOG`
    SYSLOG = 34;
    /// `CAP_PERFMON`
    PERFMON = 38;
    /// `CAP_BPF`
    BPF = 39;
    /// `CAP_CHECKPOINT_RESTORE`
    CHECKPOINT_RESTORE = 40;
}

impl CapSet {
    /// No capability.
    pub const EMPTY: Self = Self(0);

    /// What Docker gives a container: 14 capabilities.
    pub const DOCKER_DEFAULT: Self = Self(
        Self::CHOWN.0
            | Self::DAC_OVERRIDE.0
            | Self::FSETID.0
            | Self::FOWNER.0
            | Self::MKNOD.0
            | Self::NET_RAW.0
            | Self::SETGID.0
            | Self::SETUID.0
            | Self::SETFCAP.0
            | Self::SETPCAP.0
            | Self::NET_BIND_SERVICE.0
            | Self::SYS_CHROOT.0
            | Self::KILL.0
            | Self::AUDIT_WRITE.0,
    );

    /// Every capability that the running kernel knows. The kernel is asked once a process.
    pub fn all() -> Self {
        let last = last_capability();
        Self(if last >= 63 { u64::MAX } else { (1 << (last + 1)) - 1 })
    }

    /// The calling thread's bounding set: no child can have more without a new user namespace.
    pub fn available() -> Self {
        Self::all().within_bounding()
    }

    /// The members that the calling thread's bounding set has; the kernel is asked for these alone.
    pub(crate) fn within_bounding(self) -> Self {
        let held = (0..64).filter(|&cap| self.0 >> cap & 1 == 1 && sys::bounding_has(cap));
        Self(held.fold(0, |set, cap| set | 1 << cap))
    }

    /// A set from its bit mask, as in `CapEff` of `/proc/PID/status`.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bit mask.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether every capability of `other` is in `self`.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether there is none in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What both sets have.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// `self` without what `other` has.
    #[must_use]
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Names in the order of their numbers; a number without a name is `CAP_41` and so on.
    pub fn names(self) -> impl Iterator<Item = String> {
        (0..64u32).filter(move |bit| self.0 >> bit & 1 == 1).map(|bit| {
            NAMES.get(bit as usize).map_or_else(|| format!("CAP_{bit}"), |name| (*name).to_owned())
        })
    }
}

impl fmt::Display for CapSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        for (index, name) in self.names().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            f.write_str(&name)?;
        }
        Ok(())
    }
}

/// Names divided by commas or blanks, with or without `CAP_`, any case; `ALL` is every capability of this kernel.
impl FromStr for CapSet {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut set = Self::EMPTY;
        for word in text.split([',', ' ', '\t', '\n']).filter(|word| !word.is_empty()) {
            let upper = word.to_ascii_uppercase();
            if upper == "ALL" || upper == "CAP_ALL" {
                set = set.union(Self::all());
                continue;
            }
            let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
            match NAMES.iter().position(|name| &name[4..] == short) {
                Some(bit) => set.0 |= 1 << bit,
                None => return Err(Error::UnknownCapability { name: word.to_owned() }),
            }
        }
        Ok(set)
    }
}

impl FromIterator<CapSet> for CapSet {
    fn from_iter<I: IntoIterator<Item = CapSet>>(sets: I) -> Self {
        sets.into_iter().fold(Self::EMPTY, Self::union)
    }
}

/// The five capability sets that the process has after `execve`'s own rules are prepared for.
///
/// The kernel requires `effective` and `ambient` to lie in `permitted`, and `ambient` in `inheritable`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// What any later `execve` may gain.
    pub bounding: CapSet,
    /// What counts in permission checks.
    pub effective: CapSet,
    /// What files with inheritable capabilities may keep. Leave it empty (CVE-2022-29162).
    pub inheritable: CapSet,
    /// What may be made effective.
    pub permitted: CapSet,
    /// What a program without file capabilities keeps over `execve` although it is not root.
    pub ambient: CapSet,
}

impl Capabilities {
    /// `set` as bounding, effective and permitted set; nothing inheritable or ambient. This is Docker's rule.
    pub const fn bounded(set: CapSet) -> Self {
        Self {
            bounding: set,
            effective: set,
            inheritable: CapSet::EMPTY,
            permitted: set,
            ambient: CapSet::EMPTY,
        }
    }

    /// Everything that is in any of the sets.
    #[cfg(feature = "oci")]
    pub(crate) const fn anywhere(self) -> CapSet {
        let inherited = self.inheritable.union(self.ambient);
        self.bounding.union(self.effective).union(self.permitted).union(inherited)
    }

    /// Every set cut down to what `available` has.
    #[must_use]
    pub const fn within(self, available: CapSet) -> Self {
        Self {
            bounding: self.bounding.intersection(available),
            effective: self.effective.intersection(available),
            inheritable: self.inheritable.intersection(available),
            permitted: self.permitted.intersection(available),
            ambient: self.ambient.intersection(available),
        }
    }
}

/// Number of the kernel's last capability; asked once, without `/proc`.
pub(crate) fn last_capability() -> u32 {
    static LAST: OnceLock<u32> = OnceLock::new();
    *LAST.get_or_init(|| {
        // the last one named here is the last one of most kernels: two questions tell
        let named = NAMES.len() as u32 - 1;
        if sys::bounding_knows(named) {
            (named..64).take_while(|&cap| sys::bounding_knows(cap)).last().unwrap_or(named)
        } else {
            (0..named).rev().find(|&cap| sys::bounding_knows(cap)).unwrap_or(named)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written_in_order() {
        let set: CapSet = "sys_admin CAP_CHOWN".parse().unwrap();
        assert_eq!(set, CapSet::SYS_ADMIN.union(CapSet::CHOWN));
        assert_eq!(set.to_string(), "CAP_CHOWN,CAP_SYS_ADMIN");
        assert!("CAP_FLY".parse::<CapSet>().is_err());
        assert_eq!(CapSet::EMPTY.to_string(), "none");
    }

    #[test]
    fn dockers_default_has_fourteen() {
        assert_eq!(CapSet::DOCKER_DEFAULT.names().count(), 14);
        assert!(!CapSet::DOCKER_DEFAULT.contains(CapSet::SYS_ADMIN));
    }
}
