//! What the process itself gets.

use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};
use std::sync::Arc;

use super::Compiler;
use super::text::{absolute, cstring, display, strings};
use crate::step::{HookRun, Step, StepKind};
use crate::{CapSet, Capabilities, Error, Hook, Label, MemoryPolicy, Stdio, sys};

impl Compiler {
    pub(super) fn sysctl(&mut self, name: &str, value: &str) -> Result<(), Error> {
        self.procfs()?;
        // both spellings: net.ipv4.conf.eth0.x, and net/ipv4/conf/eth0.1/x where a component has a dot
        let path = if name.contains('/') { name.to_owned() } else { name.replace('.', "/") };
        if Path::new(&path).components().any(|part| !matches!(part, Component::Normal(_))) {
            return Err(Error::Needs {
                setting: format!("sysctl {name}"),
                needs: "a name without dots in a row",
            });
        }
        let path = cstring("sysctl", OsStr::new(&format!("sys/{path}")))?;
        let object = format!("{name} = {value}");
        self.push(StepKind::Sysctl, object, Step::Sysctl { path, value: value.as_bytes().to_vec() });
        Ok(())
    }

    pub(super) fn hook(&mut self, hook: Hook, when: &str) -> Result<(), Error> {
        absolute("hook", &hook.path)?;
        let input = if let Some(input) = self.hook_input {
            input
        } else {
            let fd = sys::memfd(c"hook input", libc::MFD_CLOEXEC).map_err(|errno| Error::Prepare {
                what: "the hooks' stdin".into(),
                source: sys::error(errno),
            })?;
            let fd = self.keep(fd)?;
            self.hook_input = Some(fd);
            fd
        };
        let argv = if hook.argv.is_empty() { vec![hook.path.clone().into_os_string()] } else { hook.argv };
        let run = HookRun {
            path: cstring("hook", hook.path.as_os_str())?,
            argv: strings("hook argument", argv)?,
            env: strings("hook environment", hook.env)?,
            milliseconds: hook.timeout.map_or(-1, |time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX)),
            input,
        };
        self.push(StepKind::Hook, format!("{when} {}", display(&hook.path)), Step::Hook(run));
        Ok(())
    }

    pub(super) fn affinity(&mut self, cpus: &[u32]) -> Result<(), Error> {
        let mut mask = vec![0u64; 16];
        for &cpu in cpus {
            match mask.get_mut(cpu as usize / 64) {
                Some(word) => *word |= 1 << (cpu % 64),
                None => {
                    return Err(Error::Needs { setting: format!("cpu {cpu}"), needs: "a number below 1024" });
                }
            }
        }
        self.push(StepKind::CpuAffinity, format!("{cpus:?}"), Step::CpuAffinity(mask));
        Ok(())
    }

    pub(super) fn memory_policy(&mut self, policy: &MemoryPolicy) -> Result<(), Error> {
        let mut nodes = vec![0u64; if policy.nodes.is_empty() { 0 } else { 16 }];
        for &node in &policy.nodes {
            let Some(word) = nodes.get_mut(node as usize / 64) else {
                let setting = format!("memory node {node}");
                return Err(Error::Needs { setting, needs: "a number below 1024" });
            };
            *word |= 1 << (node % 64);
        }
        let object = format!("mode {} flags {:#x} nodes {:?}", policy.mode, policy.flags, policy.nodes);
        self.push(
            StepKind::MemoryPolicy,
            object,
            Step::MemoryPolicy { mode: policy.mode | policy.flags, nodes },
        );
        Ok(())
    }

    pub(super) fn stdio(&mut self, to: RawFd, stdio: Stdio) -> Result<(), Error> {
        let name = ["stdin", "stdout", "stderr"].get(to as usize).copied().unwrap_or_default();
        let (object, from) = match stdio {
            Stdio::Inherit => return Ok(()),
            Stdio::Null => {
                let prepare =
                    |errno| Error::Prepare { what: "/dev/null for stdio".into(), source: sys::error(errno) };
                let null = sys::openat(libc::AT_FDCWD, c"/dev/null", libc::O_RDWR | libc::O_NOFOLLOW, 0)
                    .map(sys::own)
                    .map_err(prepare)?;
                if !sys::stat(null.as_raw_fd()).map_err(prepare)?.is_device(libc::S_IFCHR, 1, 3) {
                    return Err(prepare(libc::ENODEV));
                }
                ("null", self.keep(null)?)
            }
            Stdio::Descriptor(fd) => ("a descriptor", self.keep(fd)?),
        };
        self.push(StepKind::Stdio, format!("{name} is {object}"), Step::Stdio { from, to });
        Ok(())
    }

    pub(super) fn bounding(&mut self, sets: Capabilities) {
        // all others, also those that the caller's set lacks: in a new user namespace it is full again, and to ask costs as
        // much as to drop
        let drop = CapSet::all().difference(sets.bounding);
        self.push(
            StepKind::BoundingSet,
            format!("{} (drops {drop})", sets.bounding),
            Step::Bounding(drop.bits()),
        );
    }

    pub(super) fn label(&mut self, label: &Label) -> Result<(), Error> {
        self.procfs()?;
        let (path, value) = match label {
            Label::AppArmor(profile) => (c"self/attr/apparmor/exec", format!("exec {profile}")),
            Label::SeLinux(context) => (c"self/attr/exec", context.clone()),
        };
        let step = Step::Label { path: path.to_owned(), value: value.clone().into_bytes() };
        self.push(StepKind::Label, value, step);
        Ok(())
    }

    pub(super) fn preserve(&mut self, fds: Vec<OwnedFd>) -> Result<(), Error> {
        let count = fds.len() as u32;
        let mut pairs = Vec::with_capacity(fds.len());
        for (to, fd) in (3..).zip(fds) {
            pairs.push((self.keep(fd)?, to));
        }
        if count > 0 {
            let object = format!("3 to {}", 2 + count);
            self.push(StepKind::PreserveDescriptors, object, Step::Preserve(pairs));
        }
        let object = format!("{} and up, at execve", 3 + count);
        self.push(StepKind::CloseDescriptors, object, Step::CloseOnExec(3 + count));
        Ok(())
    }

    pub(super) fn program(
        &mut self,
        argv: Vec<std::ffi::OsString>,
        env: Vec<std::ffi::OsString>,
        candidates: Arc<Vec<CString>>,
    ) -> Result<(), Error> {
        let object = argv.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        let step =
            Step::Execute { candidates, argv: strings("argv", argv)?, env: strings("environment", env)? };
        self.push(StepKind::Execute, object, step);
        Ok(())
    }
}

/// Where the program may be.
pub(super) fn candidates(argv: &[OsString], env: &[OsString]) -> Result<Vec<CString>, Error> {
    let program = argv.first().cloned().unwrap_or_default();
    let bytes = program.as_bytes();
    let mut candidates = Vec::new();
    if bytes.contains(&b'/') {
        candidates.push(cstring("argv", &program)?);
    } else if !bytes.is_empty() {
        let path = env
            .iter()
            .find_map(|word| word.as_bytes().strip_prefix(b"PATH="))
            .unwrap_or(b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        for dir in path.split(|&byte| byte == b':') {
            // an empty entry would be the working directory, which the image decides
            if dir.first() == Some(&b'/') {
                let full: Vec<u8> = [dir, b"/", bytes].concat();
                candidates.push(cstring("argv", OsStr::from_bytes(&full))?);
            }
        }
    }
    Ok(candidates)
}

pub(super) fn capability_step(sets: Capabilities, more: CapSet) -> (String, Step) {
    let object = if sets.effective == sets.permitted && sets.inheritable.is_empty() {
        sets.effective.to_string()
    } else {
        format!(
            "effective {}; permitted {}; inheritable {}",
            sets.effective, sets.permitted, sets.inheritable
        )
    };
    let step = Step::Capabilities {
        effective: sets.effective.union(more).bits(),
        permitted: sets.permitted.union(more).bits(),
        inheritable: sets.inheritable.bits(),
    };
    (object, step)
}
