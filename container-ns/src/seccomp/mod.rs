//! System call filters: description, compilation to BPF, Docker's default.

mod bpf;
mod docker;
pub(crate) mod table;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::{CapSet, Error};

/// An architecture by its audit number, with the system call numbers that belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Arch {
    /// 64-bit x86.
    X86_64,
    /// i386, also as run by a 64-bit kernel (`int 0x80`).
    X86,
    /// x86-64 with 32-bit pointers; shares the audit number of x86-64 and differs by a bit in the call's number.
    X32,
    /// 64-bit ARM.
    Aarch64,
    /// 32-bit ARM, EABI.
    Arm,
    /// 64-bit RISC-V.
    Riscv64,
}

impl Arch {
    /// The architecture this crate is built for, and those whose programs its kernel also runs.
    pub fn native() -> Vec<Self> {
        if cfg!(target_arch = "x86_64") {
            vec![Self::X86_64, Self::X86, Self::X32]
        } else if cfg!(target_arch = "aarch64") {
            vec![Self::Aarch64, Self::Arm]
        } else {
            vec![Self::Riscv64]
        }
    }

    /// `AUDIT_ARCH_*`.
    pub const fn audit(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
            Self::Riscv64 => 0xc000_00f3,
        }
    }

    const fn column(self) -> usize {
        match self {
            Self::X86_64 => 0,
            Self::X86 => 1,
            Self::X32 => 2,
            Self::Aarch64 => 3,
            Self::Arm => 4,
            Self::Riscv64 => 5,
        }
    }

    /// The number of a system call as the filter sees it; x32 with its bit. `None` if this architecture has no such call.
    pub fn number(self, name: &str) -> Option<u32> {
        let at = table::TABLE.binary_search_by(|(key, _)| (*key).cmp(name)).ok()?;
        self.in_row(&table::TABLE.get(at)?.1)
    }

    fn in_row(self, row: &[i32; 6]) -> Option<u32> {
        let number = u32::try_from(*row.get(self.column())?).ok()?;
        Some(if self == Self::X32 { number | X32_BIT } else { number })
    }
}

/// What tells x32 from x86-64.
pub(crate) const X32_BIT: u32 = 0x4000_0000;

/// What happens to a call, `seccomp(2)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The process is killed by `SIGSYS`.
    KillProcess,
    /// The thread is killed by `SIGSYS`.
    KillThread,
    /// The thread gets `SIGSYS`.
    Trap,
    /// The call fails with this errno, 0 to 4095.
    Errno(u16),
    /// A tracer is asked, with this message.
    Trace(u16),
    /// The call is made and logged.
    Log,
    /// The call is made.
    Allow,
    /// The holder of the listener decides, see [`Child::take_listener`](crate::Child::take_listener).
    Notify,
}

impl Action {
    /// `SECCOMP_RET_*` with its data.
    pub const fn value(self) -> u32 {
        match self {
            Self::KillProcess => 0x8000_0000,
            Self::KillThread => 0,
            Self::Trap => 0x0003_0000,
            Self::Errno(errno) => 0x0005_0000 | errno as u32,
            Self::Trace(message) => 0x7ff0_0000 | message as u32,
            Self::Log => 0x7ffc_0000,
            Self::Allow => 0x7fff_0000,
            Self::Notify => 0x7fc0_0000,
        }
    }
}

/// How an argument is compared, unsigned in 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// Equal.
    Equal,
    /// Not equal.
    NotEqual,
    /// Less.
    Less,
    /// Less or equal.
    LessOrEqual,
    /// Greater.
    Greater,
    /// Greater or equal.
    GreaterOrEqual,
    /// `argument & mask == value`.
    Masked(u64),
}

/// A condition on an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Condition {
    /// Which argument, 0 to 5.
    pub argument: u8,
    /// How it is compared.
    pub comparison: Comparison,
    /// With what.
    pub value: u64,
}

/// What to do with some calls, if all conditions hold.
///
/// Of several rules for a call those with conditions are tried first, in their order, then the last one without. If none
/// applies, the filter's default does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Names of calls. One that an architecture does not have is passed over there; one unknown to the whole table is ignored
    /// as libseccomp-based runtimes do, for profiles name calls of the future.
    pub names: Vec<Cow<'static, str>>,
    /// All must hold.
    pub conditions: Vec<Condition>,
    /// Then this.
    pub action: Action,
}

bitflags::bitflags! {
    /// Flags of `seccomp(2)`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct FilterFlags: u32 {
        /// All threads; the new process has one.
        const TSYNC = 1;
        /// Log every action but allow.
        const LOG = 2;
        /// Leave speculative store bypass as it is.
        const SPEC_ALLOW = 4;
        /// Only fatal signals interrupt a call that waits for the listener.
        const WAIT_KILLABLE = 32;
    }
}

/// A system call filter.
///
/// A call on an architecture that is not listed kills the process. With [`Filter::unknown_is_enosys`] a call that is newer
/// than every call the rules name fails with `ENOSYS`, so that libraries fall back as on an older kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// What happens when no rule applies.
    pub default: Action,
    /// Architectures whose calls are filtered; others are refused altogether.
    pub architectures: Vec<Arch>,
    /// Rules.
    pub rules: Vec<Rule>,
    /// Flags.
    pub flags: FilterFlags,
    /// Calls with numbers above all named ones fail with `ENOSYS`; without effect if the default allows.
    pub unknown_is_enosys: bool,
}

impl Filter {
    /// Docker's default profile for a container with `capabilities`: about 360 calls are allowed, all others fail with `EPERM`; `clone`
    /// only without namespace flags and `clone3` not at all unless `CAP_SYS_ADMIN` is there; no `AF_VSOCK` or `AF_ALG` sockets.
    pub fn docker_default(capabilities: CapSet) -> Self {
        const NAMESPACES: u64 = 0x7e02_0000;
        let one = |name: &'static str, conditions: Vec<Condition>, action| Rule {
            names: vec![Cow::Borrowed(name)],
            conditions,
            action,
        };
        let first = |comparison, value| Condition { argument: 0, comparison, value };
        let words = |text: &'static str| text.split_ascii_whitespace().map(Cow::Borrowed);
        let mut names: Vec<Cow<'static, str>> = words(docker::ALWAYS).chain(words(docker::NATIVE)).collect();
        for (capability, more) in &docker::BY_CAPABILITY {
            if capabilities.contains(*capability) {
                names.extend(words(more));
            }
        }
        let mut rules = vec![
            Rule { names, conditions: Vec::new(), action: Action::Allow },
            one(
                "socket",
                vec![
                    first(Comparison::NotEqual, libc::AF_VSOCK as u64),
                    first(Comparison::NotEqual, libc::AF_ALG as u64),
                ],
                Action::Allow,
            ),
        ];
        for value in [0, 0x0008, 0x2_0000, 0x2_0008, 0xffff_ffff] {
            rules.push(one("personality", vec![first(Comparison::Equal, value)], Action::Allow));
        }
        if !capabilities.contains(CapSet::SYS_ADMIN) {
            rules.push(one("clone", vec![first(Comparison::Masked(NAMESPACES), 0)], Action::Allow));
            rules.push(one("clone3", Vec::new(), Action::Errno(libc::ENOSYS as u16)));
        }
        Self {
            default: Action::Errno(libc::EPERM as u16),
            architectures: Arch::native(),
            rules,
            flags: FilterFlags::empty(),
            unknown_is_enosys: true,
        }
    }

    /// Compiles to BPF: a binary search over ranges of numbers for each architecture, then the conditions.
    ///
    /// # Errors
    /// [`Error::Filter`] if there is no architecture, an argument is not 0 to 5, an errno above 4095, the notify action is the default,
    /// or the program would be longer than the kernel's 4096 instructions.
    pub fn compile(&self) -> Result<Program, Error> {
        bpf::compile(self)
    }
}

/// One instruction of classic BPF, `struct sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Operation.
    pub code: u16,
    /// Jump if true.
    pub jt: u8,
    /// Jump if false.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// A compiled filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    pub(crate) instructions: Vec<Instruction>,
    pub(crate) flags: FilterFlags,
    pub(crate) notify: bool,
    pub(crate) summary: String,
}

impl Program {
    /// The instructions.
    pub fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }

    /// Whether some rule asks a listener.
    pub const fn notifies(&self) -> bool {
        self.notify
    }
}

/// A filter for a sandbox, compiled once and shared by many.
#[derive(Clone)]
pub struct Seccomp(pub(crate) Arc<Program>);

impl Seccomp {
    /// [`Filter::docker_default`], compiled once a capability set and process.
    pub fn docker_default(capabilities: CapSet) -> Self {
        static CACHE: Mutex<Vec<(CapSet, Arc<Program>)>> = Mutex::new(Vec::new());
        let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, program)) = cache.iter().find(|(key, _)| *key == capabilities) {
            return Self(Arc::clone(program));
        }
        // the profile is a constant of this crate, and the tests compile it for every capability: it cannot fail
        let program =
            bpf::compile(&Filter::docker_default(capabilities)).unwrap_or_else(|_| bpf::refuse_all());
        let program = Arc::new(program);
        cache.push((capabilities, Arc::clone(&program)));
        Self(program)
    }

    /// A filter of one's own.
    pub fn new(filter: &Filter) -> Result<Self, Error> {
        Ok(Self(Arc::new(filter.compile()?)))
    }

    /// The program.
    pub fn program(&self) -> &Program {
        &self.0
    }
}

impl From<Program> for Seccomp {
    fn from(program: Program) -> Self {
        Self(Arc::new(program))
    }
}

impl fmt::Debug for Seccomp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seccomp({})", self.0.summary)
    }
}
