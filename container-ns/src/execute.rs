//! Everything that runs between `clone3` and `execve`.
//!
//! The process is a copy-on-write image of the caller, with one thread. `CLONE_VM | CLONE_VFORK` would spare the copy of the
//! page tables, but the caller must go on while this process waits at its gates, and with shared memory every
//! change of credentials here would take the caller's dumpable flag away. So the memory is a copy; still, another thread of the
//! caller may have held any lock at the instant of the clone. Therefore: system calls of `sys` only, no allocation,
//! no lock, nothing that can panic (no indexing, no arithmetic that may overflow), and every buffer on this stack.

use std::ffi::CStr;
use std::os::fd::RawFd;

use crate::report::{Message, TEXT, kind};
use crate::step::{
    BindFrom, DeviceNode, Entry, Fs, FsValue, HookRun, RootFrom, Settings, Step, Target, Turn,
};
use crate::sys::{
    self, Call, EMPTY_PATH, IN_ROOT, MountAttr, NO_MAGICLINKS, NO_SYMLINKS, NO_XDEV, RECURSIVE, TREE_CLONE,
};

/// How the process waits before its program.
#[derive(Clone, Copy, Debug)]
pub(crate) enum GateWait {
    /// Not at all.
    Open,
    /// For the caller's word.
    Parent,
    /// For a connection to this listening socket, or the caller's word.
    Listener(RawFd),
}

/// What the walk needs beside the steps.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) entries: &'a [Entry],
    /// Our end of the socket pair.
    pub(crate) control: RawFd,
    /// Whether it stops at [`Step::Meet`].
    pub(crate) meeting: bool,
    pub(crate) gate: GateWait,
    /// Signals that the caller may be ignoring, bit 0 for signal 1.
    pub(crate) ignored: u64,
    /// Ranges of descriptors to close.
    pub(crate) gaps: &'a [(u32, u32)],
    /// The host's procfs, verified; −1 if no step needs it.
    pub(crate) proc: RawFd,
}

macro_rules! calls {
    ($($name:ident = $text:literal,)*) => {
        /// What failed: index into [`NAMES`].
        #[derive(Clone, Copy, Debug)]
        #[repr(u32)]
        pub(crate) enum Did { $($name,)* }
        /// Their names.
        pub(crate) const NAMES: &[&str] = &[$($text,)*];
    };
}

calls! {
    Write = "write", Read = "read", Open = "openat", OpenIn = "openat2", Stat = "statx", Statfs = "fstatfs",
    Mkdir = "mkdirat", Mknod = "mknodat", Link = "symlinkat", Chown = "fchownat", Chmod = "fchmod", Copy = "copy of a file",
    Setns = "setns", Unshare = "unshare", Clone = "clone3", OpenTree = "open_tree", Move = "move_mount",
    SetAttr = "mount_setattr", Fsopen = "fsopen", Fsconfig = "fsconfig", FsCreate = "fsconfig(create)",
    FsReconfigure = "fsconfig(reconfigure)", Fsmount = "fsmount", Fspick = "fspick", Pivot = "pivot_root", Chroot = "chroot", Mempolicy = "set_mempolicy", Umount = "umount2",
    Chdir = "fchdir", Cwd = "check that the working directory is inside the root", Prctl = "prctl", Keyctl = "keyctl",
    Setgroups = "setgroups", Setgid = "setresgid", Setuid = "setresuid", Capset = "capset", Limit = "prlimit64",
    Dup = "dup3", CloseRange = "close_range", Setsid = "setsid", Ioctl = "ioctl", Loopback = "ioctl(SIOCSIFFLAGS)",
    Hostname = "sethostname", Domainname = "setdomainname", Seccomp = "seccomp", Sched = "sched_setattr",
    Affinity = "sched_setaffinity", Ioprio = "ioprio_set", Personality = "personality", Exec = "execve", Wait = "waitid",
    Poll = "ppoll", Accept = "accept4", NotNull = "check of /dev/null", NotDevice = "check of the host's device",
    NotSame = "check of the node that exists", NotPts = "check that /dev/pts is a devpts", NotPlain = "check that /dev/console is no link",
    HookStatus = "exit status of the hook", HookTime = "time limit of the hook", Depth = "depth of the directory",
}

/// A failure inside a step. `detail` is the number of the option or setting, from 1, if there are several.
struct Fail {
    errno: i32,
    did: Did,
    detail: u32,
}

type Done<T = ()> = Result<T, Fail>;

trait Named<T> {
    /// Names the call of a result.
    fn did(self, did: Did) -> Done<T>;
}

impl<T> Named<T> for Call<T> {
    fn did(self, did: Did) -> Done<T> {
        self.map_err(|errno| Fail { errno, did, detail: 0 })
    }
}

const fn fail<T>(errno: i32, did: Did) -> Done<T> {
    Err(Fail { errno, did, detail: 0 })
}

struct State {
    root: RawFd,
    dir: RawFd,
    null: RawFd,
    empty: RawFd,
    slave: RawFd,
    starter: RawFd,
    /// Namespaces that could not be joined at the first try, a bit a slot.
    pending: u32,
    /// The working directory could not be entered as root.
    later: bool,
    umask: u32,
    text: [u8; TEXT],
    length: usize,
}

/// Walks the plan. Ends in the program, or returns the status to end with.
pub(crate) fn child(context: &Context<'_>) -> i32 {
    let state = State {
        root: -1,
        dir: -1,
        null: -1,
        empty: -1,
        slave: -1,
        starter: -1,
        pending: 0,
        later: false,
        umask: sys::umask(0),
        text: [0; TEXT],
        length: 0,
    };
    walk(context, state, 0)
}

fn walk(context: &Context<'_>, mut state: State, from: u32) -> i32 {
    let mut number = 0u32;
    for entry in context.entries {
        if number >= from
            && let Err(problem) = act(context, &mut state, &entry.step, number)
        {
            let mut message = Message::new(kind::FAILED, number);
            message.errno = problem.errno;
            message.call = problem.did as u32;
            message.detail = problem.detail;
            message.length = state.length as u32;
            message.text = state.text;
            let bytes = message.to_bytes();
            let _ = sys::send(context.control, &bytes, &[]);
            if state.starter >= 0 {
                let _ = sys::send(state.starter, &bytes, &[]);
            }
            return 1;
        }
        number = number.wrapping_add(1);
    }
    // a plan ends with its program
    1
}

/// Waits for the caller's word; if the caller is gone, so is this process.
fn await_word(control: RawFd) -> Done {
    let mut byte = [0u8; 1];
    loop {
        match sys::read(control, &mut byte) {
            Ok(0) => sys::exit(1),
            Ok(_) => return Ok(()),
            Err(libc::EINTR) => {}
            Err(errno) => return fail(errno, Did::Read),
        }
    }
}

fn act(context: &Context<'_>, state: &mut State, step: &Step, number: u32) -> Done {
    match step {
        Step::ResetSignals => {
            // clone3 has reset what was handled; what was ignored is inherited and reset here
            for signal in 1..65 {
                if context.ignored >> (signal - 1) & 1 == 1 {
                    sys::signal_default(signal);
                }
            }
        }
        Step::CloseOthers => {
            // whatever is opened from here on must not become stdin, stdout or stderr by chance
            loop {
                let fd = sys::openat(libc::AT_FDCWD, c"/dev/null", libc::O_RDWR, 0).did(Did::Open)?;
                if fd > 2 {
                    let _ = sys::close(fd);
                    break;
                }
            }
            for &(first, last) in context.gaps {
                sys::close_range(first, last, false).did(Did::CloseRange)?;
            }
        }
        Step::CloseLeft => close_left(context, state)?,
        Step::JoinTasks(fd) => {
            sys::write(*fd, b"0").did(Did::Write)?;
        }
        Step::JoinTasksAt(path) => {
            let tasks =
                sys::openat(libc::AT_FDCWD, path, libc::O_WRONLY | libc::O_CLOEXEC, 0).did(Did::Open)?;
            sys::write(tasks as RawFd, b"0").did(Did::Write)?;
            release(tasks as RawFd);
        }
        Step::NotDumpable => {
            sys::prctl(libc::PR_SET_DUMPABLE, 0, 0).did(Did::Prctl)?;
        }
        Step::Keyring => match sys::join_session_keyring() {
            Ok(_) | Err(libc::ENOSYS) => {}
            Err(errno) => return fail(errno, Did::Keyctl),
        },
        Step::Enter { fd, flag, patient, slot } => match sys::setns(*fd, *flag) {
            Ok(_) => {}
            Err(libc::EPERM) if *patient => state.pending |= 1 << (slot & 31),
            Err(errno) => return fail(errno, Did::Setns),
        },
        Step::EnterAgain { fd, flag, slot } => {
            if state.pending & 1 << (slot & 31) != 0 {
                sys::setns(*fd, *flag).did(Did::Setns)?;
            }
        }
        Step::Unshare(flags) => {
            sys::unshare(*flags).did(Did::Unshare)?;
        }
        Step::SecondClone(flags) => second_clone(context, state, *flags, number)?,
        Step::AwaitMaps | Step::AwaitGroups => await_word(context.control)?,
        Step::NewTime(offsets) => new_time(context, offsets)?,
        Step::BecomeRoot { drop_groups } => {
            if *drop_groups {
                sys::setgroups(&[]).did(Did::Setgroups)?;
            }
            sys::setresgid(0).did(Did::Setgid)?;
            sys::setresuid(0).did(Did::Setuid)?;
        }
        Step::OomScore(value) => write_proc(context, c"self/oom_score_adj", 0, value)?,
        Step::Loopback => {
            sys::loopback_up().did(Did::Loopback)?;
        }
        Step::Hostname(name) => {
            sys::sethostname(name).did(Did::Hostname)?;
        }
        Step::Domainname(name) => {
            sys::setdomainname(name).did(Did::Domainname)?;
        }
        Step::Meet => {
            if context.meeting {
                let _ = sys::send(context.control, &Message::new(kind::MEETING, number).to_bytes(), &[]);
                await_word(context.control)?;
            }
        }
        Step::HostPropagation(settings) => {
            for (attr, flags) in settings {
                sys::mount_setattr(libc::AT_FDCWD, c"/", *flags, attr).did(Did::SetAttr)?;
            }
        }
        Step::Root { from, settings } => root(state, from, settings)?,
        Step::MountFs { target, fs, settings } => {
            let mount = make(state, fs)?;
            set(mount, settings)?;
            let to = open_target(state.root, target, Want::Directory)?;
            attach(mount, to)?;
        }
        Step::MountIn { name, fs } => {
            let mount = make(state, fs)?;
            attach_in(state, mount, name)?;
        }
        Step::BindIn { name, from, settings } => {
            let tree = sys::open_tree(libc::AT_FDCWD, from, TREE_CLONE).did(Did::OpenTree)?;
            set(tree, settings)?;
            attach_in(state, tree, name)?;
        }
        Step::TmpCopyUp { target, fs, settings } => {
            let mount = make(state, fs)?;
            let to = open_target(state.root, target, Want::Directory)?;
            let from = sys::openat(to, c".", libc::O_RDONLY | libc::O_DIRECTORY, 0).did(Did::Open)?;
            copy_directory(from, mount, 0)?;
            let _ = sys::close(from);
            set(mount, settings)?;
            attach(mount, to)?;
        }
        Step::Bind { target, from, recursive, settings } => {
            let tree = match from {
                BindFrom::Path(path) => {
                    let flags = TREE_CLONE | if *recursive { RECURSIVE } else { 0 };
                    sys::open_tree(libc::AT_FDCWD, path, flags).did(Did::OpenTree)?
                }
                BindFrom::Tree(fd) => *fd,
            };
            set(tree, settings)?;
            let to = open_target(state.root, target, Want::Like(tree))?;
            attach(tree, to)?;
        }
        Step::Remount { target, options, settings } => {
            let at = open_target(state.root, target, Want::Existing)?;
            if !options.is_empty() {
                let fs = sys::fspick(at).did(Did::Fspick)?;
                configure(state, fs, options)?;
                sys::fsconfig_reconfigure(fs)
                    .did(Did::FsReconfigure)
                    .inspect_err(|_| kernel_text(state, fs))?;
                release(fs);
            }
            set(at, settings)?;
            release(at);
        }
        Step::OpenDir(target) => {
            if state.dir >= 0 {
                release(state.dir);
            }
            state.dir = open_target(state.root, target, Want::Directory)?;
        }
        Step::Device(node) => device(state, node)?,
        Step::Symlink { name, target } => match sys::symlinkat(target, state.dir, name) {
            Ok(_) | Err(libc::EEXIST) => {}
            Err(errno) => return fail(errno, Did::Link),
        },
        Step::NewTerminal { columns, rows, owner } => {
            new_terminal(context, state, (*columns, *rows), *owner)?;
        }
        Step::Console => console(state)?,
        Step::Mask(path) => mask(state, path)?,
        Step::ReadOnlyPath(path) => {
            let Some(at) = existing(state.root, path)? else { return Ok(()) };
            let tree = sys::open_tree(at, c"", TREE_CLONE | EMPTY_PATH | RECURSIVE).did(Did::OpenTree)?;
            let attr = MountAttr { set: 1, ..MountAttr::default() };
            sys::mount_setattr(tree, c"", EMPTY_PATH | RECURSIVE, &attr).did(Did::SetAttr)?;
            attach(tree, at)?;
        }
        Step::ReadOnlyRoot => {
            let attr = MountAttr { set: 1, ..MountAttr::default() };
            sys::mount_setattr(state.root, c"", EMPTY_PATH, &attr).did(Did::SetAttr)?;
        }
        Step::Hook(hook) => run_hook(state, hook)?,
        Step::Pivot => {
            sys::fchdir(state.root).did(Did::Chdir)?;
            sys::pivot_root(c".", c".").did(Did::Pivot)?;
            // the old root lies over the new one now; `.` is the old one
            sys::umount_detach(c".").did(Did::Umount)?;
            sys::chdir(c"/").did(Did::Chdir)?;
        }
        Step::Chroot => {
            sys::fchdir(state.root).did(Did::Chdir)?;
            sys::chroot(c".").did(Did::Chroot)?;
            sys::chdir(c"/").did(Did::Chdir)?;
        }
        Step::RootPropagation(flag) => {
            let attr = MountAttr { propagation: *flag, ..MountAttr::default() };
            sys::mount_setattr(libc::AT_FDCWD, c"/", 0, &attr).did(Did::SetAttr)?;
        }
        Step::Sysctl { path, value } => write_proc(context, path, NO_SYMLINKS, value)?,
        Step::WorkDir { path, create, turn } => work_dir(state, path, create.as_ref(), *turn)?,
        Step::Personality(domain) => {
            sys::personality(*domain).did(Did::Personality)?;
        }
        Step::Scheduler(attr) => {
            sys::sched_setattr(attr).did(Did::Sched)?;
        }
        Step::IoPriority(value) => {
            sys::ioprio_set(*value).did(Did::Ioprio)?;
        }
        Step::CpuAffinity(mask) => {
            sys::sched_setaffinity(mask).did(Did::Affinity)?;
        }
        Step::MemoryPolicy { mode, nodes } => {
            sys::set_mempolicy(*mode, nodes).did(Did::Mempolicy)?;
        }
        Step::NewSession => {
            sys::setsid().did(Did::Setsid)?;
        }
        Step::Control { slave } => {
            let slave = slave.unwrap_or(state.slave);
            sys::ioctl(slave, libc::TIOCSCTTY as u32, 0).did(Did::Ioctl)?;
            for to in 0..3 {
                sys::dup3(slave, to).did(Did::Dup)?;
            }
        }
        Step::Stdio { from, to } => {
            sys::dup3(*from, *to).did(Did::Dup)?;
        }
        Step::Rlimit { resource, soft, hard } => {
            sys::prlimit(*resource, *soft, *hard).did(Did::Limit)?;
        }
        Step::Bounding(drop) => {
            for capability in 0..64 {
                if drop >> capability & 1 == 1 {
                    match sys::prctl(libc::PR_CAPBSET_DROP, capability, 0) {
                        // without CAP_SETPCAP: none is dropped, and none need be that is not there
                        Err(libc::EPERM) if !sys::bounding_has(capability as u32) => {}
                        other => {
                            other.did(Did::Prctl)?;
                        }
                    }
                }
            }
        }
        Step::User { uid, gid, groups, keep } => {
            if *keep {
                sys::prctl(libc::PR_SET_KEEPCAPS, 1, 0).did(Did::Prctl)?;
            }
            if let Some(groups) = groups {
                sys::setgroups(groups).did(Did::Setgroups)?;
            }
            sys::setresgid(*gid).did(Did::Setgid)?;
            sys::setresuid(*uid).did(Did::Setuid)?;
        }
        Step::Capabilities { effective, permitted, inheritable } => {
            sys::capset(*effective, *permitted, *inheritable).did(Did::Capset)?;
        }
        Step::Ambient(set) => {
            sys::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as usize, 0).did(Did::Prctl)?;
            for capability in 0..64 {
                if set >> capability & 1 == 1 {
                    sys::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as usize, capability)
                        .did(Did::Prctl)?;
                }
            }
        }
        Step::NoNewPrivileges => {
            sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).did(Did::Prctl)?;
        }
        Step::Umask(mask) => {
            let mask = if *mask == u32::MAX { state.umask } else { *mask };
            sys::umask(mask);
        }
        Step::Label { path, value } => write_proc(context, path, 0, value)?,
        Step::DeathSignal(signal) => {
            sys::prctl(libc::PR_SET_PDEATHSIG, *signal as usize, 0).did(Did::Prctl)?;
            // nothing is sent to us at this point: readable means that the caller has gone before we asked
            if sys::poll_readable(context.control, 0) == Ok(true) {
                sys::exit(1);
            }
        }
        Step::Preserve(pairs) => {
            for (from, to) in pairs {
                sys::dup3(*from, *to).did(Did::Dup)?;
            }
        }
        Step::CloseOnExec(first) => {
            sys::close_range(*first, u32::MAX, true).did(Did::CloseRange)?;
        }
        Step::Seccomp(program) => {
            let flags = program.flags.bits() | if program.notify { 8 } else { 0 };
            let listener = sys::seccomp(&program.instructions, flags).did(Did::Seccomp)?;
            if program.notify {
                let message = Message::new(kind::LISTENER, number);
                sys::send(context.control, &message.to_bytes(), &[listener as RawFd]).did(Did::Write)?;
                let _ = sys::close(listener as RawFd);
            }
        }
        Step::Find(candidates) => {
            if !matches!(context.gate, GateWait::Open) {
                find(candidates)?;
            }
        }
        Step::Gate => gate(context, state, number)?,
        Step::Execute { candidates, argv, env } => {
            sys::signal_mask(0);
            let mut worst = libc::ENOENT;
            for path in candidates.iter() {
                match sys::execute(path, argv, env) {
                    libc::ENOENT | libc::ENOTDIR => {}
                    libc::EACCES => worst = libc::EACCES,
                    errno => return fail(errno, Did::Exec),
                }
            }
            return fail(worst, Did::Exec);
        }
    }
    Ok(())
}

/// Answers as `execve` would to what is missing, no file or not executable; all else is left to `execve` itself.
fn find(candidates: &[std::ffi::CString]) -> Done {
    let mut worst = libc::ENOENT;
    for path in candidates {
        match sys::executable(path) {
            Err(libc::ENOENT | libc::ENOTDIR) => {}
            Err(libc::EACCES) => worst = libc::EACCES,
            _ => return Ok(()),
        }
    }
    fail(worst, Did::Exec)
}

fn second_clone(context: &Context<'_>, state: &State, flags: u64, number: u32) -> Done {
    let mut pidfd: RawFd = -1;
    let args = sys::CloneArgs {
        // with CLONE_PARENT the exit signal is this process's own: none
        flags: flags | libc::CLONE_PARENT as u64 | libc::CLONE_PIDFD as u64,
        pidfd: &raw mut pidfd as u64,
        ..sys::CloneArgs::default()
    };
    let next = State { text: [0; TEXT], ..*state };
    let pid = sys::fork(&args, || walk(context, next, number.wrapping_add(1))).did(Did::Clone)?;
    let message = Message::new(kind::PROCESS, pid as u32);
    sys::send(context.control, &message.to_bytes(), &[pidfd]).did(Did::Write)?;
    sys::exit(0)
}

fn new_time(context: &Context<'_>, offsets: &[u8]) -> Done {
    sys::unshare(libc::CLONE_NEWTIME as u64).did(Did::Unshare)?;
    if !offsets.is_empty() {
        write_proc(context, c"self/timens_offsets", 0, offsets)?;
    }
    // before Linux 6.1 execve did not enter the namespace that children get
    let flags = libc::O_PATH | libc::O_DIRECTORY;
    let dir = sys::openat2(context.proc, c"self/ns", flags, NO_XDEV | NO_MAGICLINKS).did(Did::OpenIn)?;
    let ns = sys::openat(dir, c"time_for_children", libc::O_RDONLY, 0).did(Did::Open)?;
    sys::setns(ns, libc::CLONE_NEWTIME as u64).did(Did::Setns)?;
    let _ = sys::close(ns);
    let _ = sys::close(dir);
    Ok(())
}

/// Writes to a file of the host's procfs. It cannot lead elsewhere: the descriptor is a procfs, no mount is crossed, and no
/// magic link followed.
fn write_proc(context: &Context<'_>, path: &CStr, more: u64, value: &[u8]) -> Done {
    let file =
        sys::openat2(context.proc, path, libc::O_WRONLY, NO_XDEV | NO_MAGICLINKS | more).did(Did::OpenIn)?;
    let result = sys::write(file, value).did(Did::Write);
    let _ = sys::close(file);
    result.map(|_| ())
}

fn root(state: &mut State, from: &RootFrom, settings: &Settings) -> Done {
    let slash = sys::openat(libc::AT_FDCWD, c"/", libc::O_PATH | libc::O_DIRECTORY, 0).did(Did::Open)?;
    let tree = match from {
        RootFrom::Here => {
            state.root = slash;
            return Ok(());
        }
        RootFrom::Path(path) => {
            sys::open_tree(libc::AT_FDCWD, path, TREE_CLONE | RECURSIVE).did(Did::OpenTree)?
        }
        RootFrom::Tree(fd) => *fd,
        RootFrom::Fs(fs) => make(state, fs)?,
    };
    set(tree, settings)?;
    sys::move_mount(tree, slash).did(Did::Move)?;
    let _ = sys::close(slash);
    state.root = tree;
    Ok(())
}

fn kernel_text(state: &mut State, fs: RawFd) {
    state.length = sys::read(fs, &mut state.text).unwrap_or(0);
}

fn configure(state: &mut State, fs: RawFd, options: &[(std::ffi::CString, FsValue)]) -> Done {
    let mut detail = 0u32;
    for (key, value) in options {
        detail = detail.wrapping_add(1);
        let result = match value {
            FsValue::Flag => sys::fsconfig_flag(fs, key),
            FsValue::Text(text) => sys::fsconfig_string(fs, key, text),
            FsValue::Descriptor(fd) => sys::fsconfig_fd(fs, key, *fd),
        };
        if let Err(errno) = result {
            kernel_text(state, fs);
            return Err(Fail { errno, did: Did::Fsconfig, detail });
        }
    }
    Ok(())
}

/// Makes a file system; the value is its detached mount.
fn make(state: &mut State, fs: &Fs) -> Done<RawFd> {
    let context = sys::fsopen(&fs.kind).did(Did::Fsopen)?;
    configure(state, context, &fs.options)?;
    sys::fsconfig_create(context).did(Did::FsCreate).inspect_err(|_| kernel_text(state, context))?;
    let mount = sys::fsmount(context, fs.attributes)
        .did(Did::Fsmount)
        .inspect_err(|_| kernel_text(state, context))?;
    release(context);
    Ok(mount)
}

fn set(mount: RawFd, settings: &Settings) -> Done {
    let mut detail = 0u32;
    for (attr, flags) in settings {
        detail = detail.wrapping_add(1);
        sys::mount_setattr(mount, c"", EMPTY_PATH | flags, attr).map_err(|errno| Fail {
            errno,
            did: Did::SetAttr,
            detail,
        })?;
    }
    Ok(())
}

fn attach(mount: RawFd, to: RawFd) -> Done {
    sys::move_mount(mount, to).did(Did::Move)?;
    release(mount);
    release(to);
    Ok(())
}

/// Descriptors of done steps below this number are left to [`Step::CloseLeft`], which closes all of them at once; the limit is
/// for plans of many mounts.
const FEW: RawFd = 256;

/// Done with a descriptor.
fn release(fd: RawFd) {
    if fd >= FEW {
        let _ = sys::close(fd);
    }
}

/// Closes what the steps have left open, but for the root and the terminal: nothing that leads past a mask may be found in
/// `/proc/1/fd` while this process waits, and the limit of descriptors to come may be small.
fn close_left(context: &Context<'_>, state: &mut State) -> Done {
    let kept = if state.root < state.slave { [state.root, state.slave] } else { [state.slave, state.root] };
    for &(from, to) in context.gaps {
        let mut next = from;
        // −1 is nothing to keep
        for fd in kept.into_iter().filter(|fd| *fd >= 0).map(|fd| fd as u32) {
            if fd >= next && fd <= to {
                if fd > next {
                    sys::close_range(next, fd.wrapping_sub(1), false).did(Did::CloseRange)?;
                }
                next = fd.wrapping_add(1);
            }
        }
        if next <= to {
            sys::close_range(next, to, false).did(Did::CloseRange)?;
        }
    }
    (state.dir, state.null, state.empty) = (-1, -1, -1);
    Ok(())
}

/// Attaches a mount at a name, made if missing, in the directory that is open.
fn attach_in(state: &State, mount: RawFd, name: &CStr) -> Done {
    match sys::mkdirat(state.dir, name, 0o755) {
        Ok(_) | Err(libc::EEXIST) => {}
        Err(errno) => return fail(errno, Did::Mkdir),
    }
    sys::move_mount_at(mount, state.dir, name).did(Did::Move)?;
    release(mount);
    Ok(())
}

#[derive(Clone, Copy)]
enum Want {
    /// A directory, made if missing.
    Directory,
    /// What this is, made if missing.
    Like(RawFd),
    /// What is there.
    Existing,
}

/// Opens a place in the root, and makes it if it is missing. Links are followed inside the root only.
fn open_target(root: RawFd, target: &Target, want: Want) -> Done<RawFd> {
    let resolve = IN_ROOT | NO_MAGICLINKS | if target.strict { NO_SYMLINKS } else { 0 };
    let flags = libc::O_PATH | if matches!(want, Want::Directory) { libc::O_DIRECTORY } else { 0 };
    match sys::openat2(root, &target.path, flags, resolve) {
        Err(libc::ENOENT) if !matches!(want, Want::Existing) => {}
        other => return other.did(Did::OpenIn),
    }
    let file = match want {
        Want::Like(fd) => !sys::stat(fd).did(Did::Stat)?.is_dir(),
        _ => false,
    };
    // up to the deepest parent that exists, then down again
    let mut missing = 0usize;
    let mut deepest = None;
    for (parent, _) in target.components.iter().rev() {
        missing = missing.wrapping_add(1);
        match sys::openat2(root, parent, libc::O_PATH | libc::O_DIRECTORY, resolve) {
            Err(libc::ENOENT) => {}
            Err(errno) => return fail(errno, Did::OpenIn),
            Ok(dir) => {
                deepest = Some(dir);
                break;
            }
        }
    }
    let mut left = target.components.len();
    for (parent, name) in &target.components {
        if left > missing {
            left = left.saturating_sub(1);
            continue;
        }
        left = left.saturating_sub(1);
        let dir = match deepest.take() {
            Some(dir) => dir,
            None => sys::openat2(root, parent, libc::O_PATH | libc::O_DIRECTORY, resolve).did(Did::OpenIn)?,
        };
        let (made, did) = if left == 0 && file {
            (sys::mknodat(dir, name, libc::S_IFREG | 0o644, 0), Did::Mknod)
        } else {
            (sys::mkdirat(dir, name, 0o755), Did::Mkdir)
        };
        release(dir);
        match made {
            Ok(_) | Err(libc::EEXIST) => {}
            Err(errno) => return fail(errno, did),
        }
    }
    sys::openat2(root, &target.path, flags, resolve).did(Did::OpenIn)
}

/// What is at a path in the root, if there is something.
fn existing(root: RawFd, path: &CStr) -> Done<Option<RawFd>> {
    match sys::openat2(root, path, libc::O_PATH, IN_ROOT | NO_MAGICLINKS) {
        Ok(fd) => Ok(Some(fd)),
        Err(libc::ENOENT | libc::ENOTDIR) => Ok(None),
        Err(errno) => fail(errno, Did::OpenIn),
    }
}

fn mask(state: &mut State, path: &CStr) -> Done {
    let Some(at) = existing(state.root, path)? else { return Ok(()) };
    if sys::stat(at).did(Did::Stat)?.is_dir() {
        if state.empty >= 0 {
            let tree = sys::open_tree(state.empty, c"", TREE_CLONE | EMPTY_PATH).did(Did::OpenTree)?;
            return attach(tree, at);
        }
        let fs = sys::fsopen(c"tmpfs").did(Did::Fsopen)?;
        sys::fsconfig_flag(fs, c"ro").did(Did::Fsconfig)?;
        sys::fsconfig_create(fs).did(Did::FsCreate)?;
        // read-only, nosuid, nodev, noexec
        let mount = sys::fsmount(fs, 0x0f).did(Did::Fsmount)?;
        release(fs);
        sys::move_mount(mount, at).did(Did::Move)?;
        release(at);
        // attached, it can be cloned for the next
        state.empty = mount;
        return Ok(());
    }
    if state.null < 0 {
        // the host's: in the root a link may lie in its place
        let null =
            sys::openat(libc::AT_FDCWD, c"/dev/null", libc::O_PATH | libc::O_NOFOLLOW, 0).did(Did::Open)?;
        if !sys::stat(null).did(Did::Stat)?.is_device(libc::S_IFCHR, 1, 3) {
            return fail(libc::ENODEV, Did::NotNull);
        }
        state.null = null;
    }
    let tree = sys::open_tree(state.null, c"", TREE_CLONE | EMPTY_PATH).did(Did::OpenTree)?;
    attach(tree, at)
}

const fn device_number(major: u32, minor: u32) -> u64 {
    ((minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)) as u64
}

fn device(state: &State, node: &DeviceNode) -> Done {
    let made = if node.bind {
        Err(libc::EPERM)
    } else {
        sys::mknodat(state.dir, &node.name, node.format | node.mode, device_number(node.major, node.minor))
    };
    match made {
        Ok(_) => {
            if node.uid != 0 || node.gid != 0 {
                sys::fchownat(state.dir, &node.name, node.uid, node.gid, libc::AT_SYMLINK_NOFOLLOW as u32)
                    .did(Did::Chown)?;
            }
            Ok(())
        }
        Err(libc::EEXIST) => {
            let there = sys::stat_at(state.dir, &node.name).did(Did::Stat)?;
            if there.is_device(node.format, node.major, node.minor) {
                Ok(())
            } else {
                fail(libc::EEXIST, Did::NotSame)
            }
        }
        Err(libc::EPERM) if node.format != libc::S_IFIFO => {
            let tree = sys::open_tree(libc::AT_FDCWD, &node.host, TREE_CLONE).did(Did::OpenTree)?;
            if !sys::stat(tree).did(Did::Stat)?.is_device(node.format, node.major, node.minor) {
                return fail(libc::ENODEV, Did::NotDevice);
            }
            match sys::mknodat(state.dir, &node.name, libc::S_IFREG | 0o644, 0) {
                Ok(_) | Err(libc::EEXIST) => {}
                Err(errno) => return fail(errno, Did::Mknod),
            }
            let at = sys::openat(state.dir, &node.name, libc::O_PATH | libc::O_NOFOLLOW, 0).did(Did::Open)?;
            attach(tree, at)
        }
        Err(errno) => fail(errno, Did::Mknod),
    }
}

fn new_terminal(context: &Context<'_>, state: &mut State, size: (u16, u16), owner: u32) -> Done {
    let flags = libc::O_RDWR | libc::O_NOCTTY;
    let master = sys::openat2(state.root, c"dev/pts/ptmx", flags, IN_ROOT | NO_MAGICLINKS | NO_SYMLINKS)
        .did(Did::OpenIn)?;
    // CVE-2025-52565: what lies there must be the multiplexer of a devpts
    let (magic, _) = sys::fstatfs(master).did(Did::Statfs)?;
    if magic != sys::DEVPTS_MAGIC || !sys::stat(master).did(Did::Stat)?.is_device(libc::S_IFCHR, 5, 2) {
        return fail(libc::ENODEV, Did::NotPts);
    }
    sys::unlock_pty(master).did(Did::Ioctl)?;
    let slave = sys::pty_peer(master).did(Did::Ioctl)?;
    if size != (0, 0) {
        sys::window_size(slave, size.0, size.1).did(Did::Ioctl)?;
    }
    if owner != 0 {
        sys::fchownat(slave, c"", owner, u32::MAX, EMPTY_PATH).did(Did::Chown)?;
    }
    let message = Message::new(kind::TERMINAL, 0);
    sys::send(context.control, &message.to_bytes(), &[master]).did(Did::Write)?;
    let _ = sys::close(master);
    state.slave = slave;
    Ok(())
}

fn console(state: &State) -> Done {
    match sys::mknodat(state.dir, c"console", libc::S_IFREG | 0o600, 0) {
        Ok(_) | Err(libc::EEXIST) => {}
        Err(errno) => return fail(errno, Did::Mknod),
    }
    let at = sys::openat(state.dir, c"console", libc::O_PATH | libc::O_NOFOLLOW, 0).did(Did::Open)?;
    let there = sys::stat(at).did(Did::Stat)?;
    if there.format() != libc::S_IFREG && there.format() != libc::S_IFCHR {
        return fail(libc::ELOOP, Did::NotPlain);
    }
    let tree = sys::open_tree(state.slave, c"", TREE_CLONE | EMPTY_PATH).did(Did::OpenTree)?;
    attach(tree, at)
}

fn work_dir(state: &mut State, path: &CStr, create: Option<&Target>, turn: Turn) -> Done {
    if turn == Turn::Second && !state.later {
        return Ok(());
    }
    // no magic link: a working directory of /proc/self/fd/N would be wherever that descriptor is (CVE-2024-21626)
    let opened = match create {
        Some(target) => open_target(state.root, target, Want::Directory),
        None => sys::openat2(state.root, path, libc::O_PATH | libc::O_DIRECTORY, IN_ROOT | NO_MAGICLINKS)
            .did(Did::OpenIn),
    };
    let entered = opened.and_then(|dir| {
        let entered = sys::fchdir(dir).did(Did::Chdir);
        let _ = sys::close(dir);
        entered
    });
    match entered {
        Ok(_) => {}
        // root without rights there (NFS, FUSE): once more as the user
        Err(problem) if turn == Turn::First && problem.errno == libc::EACCES => {
            state.later = true;
            return Ok(());
        }
        Err(problem) => return Err(problem),
    }
    state.later = false;
    let mut buffer = [0u8; 4096];
    let length = sys::getcwd(&mut buffer).did(Did::Cwd)?;
    // a directory that the root does not reach is `(unreachable)…`
    if length == 0 || buffer.first() != Some(&b'/') {
        return fail(libc::EXDEV, Did::Cwd);
    }
    Ok(())
}

fn gate(context: &Context<'_>, state: &mut State, number: u32) -> Done {
    let ready = Message::new(kind::READY, number).to_bytes();
    match context.gate {
        GateWait::Open => Ok(()),
        GateWait::Parent => {
            let _ = sys::send(context.control, &ready, &[]);
            await_word(context.control)
        }
        GateWait::Listener(listener) => {
            let _ = sys::send(context.control, &ready, &[]);
            let mut control = context.control;
            loop {
                // ppoll passes over a negative descriptor
                let (word, connection) = sys::poll_either(control, listener).did(Did::Poll)?;
                if connection {
                    state.starter = sys::accept(listener).did(Did::Accept)?;
                    let _ = sys::close(listener);
                    return Ok(());
                }
                if word {
                    let mut byte = [0u8; 1];
                    if let Ok(1) = sys::read(control, &mut byte) {
                        let _ = sys::close(listener);
                        return Ok(());
                    }
                    // the creator has gone on, somebody else will start us
                    control = -1;
                }
            }
        }
    }
}

fn run_hook(state: &mut State, hook: &HookRun) -> Done {
    let _ = sys::lseek_start(hook.input);
    let mut pidfd: RawFd = -1;
    let args = sys::CloneArgs {
        flags: libc::CLONE_PIDFD as u64,
        pidfd: &raw mut pidfd as u64,
        ..sys::CloneArgs::default()
    };
    sys::fork(&args, || {
        if sys::dup3(hook.input, 0).is_err() || sys::close_range(3, u32::MAX, true).is_err() {
            return 126;
        }
        sys::signal_mask(0);
        let errno = sys::execute(&hook.path, &hook.argv, &hook.env);
        if errno == libc::ENOENT { 127 } else { 126 }
    })
    .did(Did::Clone)?;
    let ended = sys::poll_readable(pidfd, hook.milliseconds).did(Did::Poll)?;
    if !ended {
        let _ = sys::signal_pidfd(pidfd, libc::SIGKILL);
    }
    let waited = sys::wait_pidfd(pidfd, true).did(Did::Wait)?;
    let _ = sys::close(pidfd);
    if !ended {
        return fail(libc::ETIMEDOUT, Did::HookTime);
    }
    match waited {
        Some(sys::Waited { code: libc::CLD_EXITED, status: 0 }) => Ok(()),
        other => {
            let text: &[u8] = match other {
                Some(sys::Waited { code: libc::CLD_EXITED, status: 127 }) => b"not found",
                Some(sys::Waited { code: libc::CLD_EXITED, status: 126 }) => b"cannot be executed",
                Some(sys::Waited { code: libc::CLD_EXITED, .. }) => b"it failed",
                _ => b"it was killed",
            };
            for (to, from) in state.text.iter_mut().zip(text) {
                *to = *from;
            }
            state.length = text.len();
            let status = other.map_or(0, |waited| waited.status);
            Err(Fail { errno: libc::ECANCELED, did: Did::HookStatus, detail: status as u32 })
        }
    }
}

/// Deepest directory that `tmpcopyup` copies; each level takes some three KiB of stack.
const DEEPEST: u32 = 64;

fn copy_directory(from: RawFd, to: RawFd, depth: u32) -> Done {
    if depth >= DEEPEST {
        return fail(libc::ELOOP, Did::Depth);
    }
    let mut buffer = [0u8; 2048];
    loop {
        let filled = sys::getdents(from, &mut buffer).did(Did::Copy)?;
        if filled == 0 {
            return Ok(());
        }
        let mut rest = buffer.get(..filled).unwrap_or(&[]);
        while let Some(&[low, high]) = rest.get(16..18) {
            let length = u16::from_ne_bytes([low, high]) as usize;
            let Some(name) = rest.get(19..length).and_then(|name| CStr::from_bytes_until_nul(name).ok())
            else {
                break;
            };
            if name != c"." && name != c".." {
                copy_entry(from, to, name, depth)?;
            }
            rest = rest.get(length..).unwrap_or(&[]);
        }
    }
}

fn copy_entry(from: RawFd, to: RawFd, name: &CStr, depth: u32) -> Done {
    let stat = sys::stat_at(from, name).did(Did::Stat)?;
    let mode = stat.mode & 0o7777;
    match stat.format() {
        libc::S_IFDIR => {
            sys::mkdirat(to, name, 0o700).did(Did::Mkdir)?;
            let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW;
            let source = sys::openat(from, name, flags, 0).did(Did::Open)?;
            let copy = sys::openat(to, name, flags, 0).did(Did::Open)?;
            copy_directory(source, copy, depth.wrapping_add(1))?;
            finish_copy(source, copy, &stat, mode)
        }
        libc::S_IFREG => {
            let source = sys::openat(from, name, libc::O_RDONLY | libc::O_NOFOLLOW, 0).did(Did::Open)?;
            let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW;
            let copy = sys::openat(to, name, flags, 0o600).did(Did::Open)?;
            while sys::sendfile(copy, source, 1 << 20).did(Did::Copy)? > 0 {}
            finish_copy(source, copy, &stat, mode)
        }
        libc::S_IFLNK => {
            let mut target = [0u8; 4097];
            let length = target.len().saturating_sub(1);
            sys::readlinkat(from, name, target.get_mut(..length).unwrap_or(&mut [])).did(Did::Copy)?;
            let Ok(target) = CStr::from_bytes_until_nul(&target) else {
                return fail(libc::ENAMETOOLONG, Did::Copy);
            };
            sys::symlinkat(target, to, name).did(Did::Link)?;
            sys::fchownat(to, name, stat.uid, stat.gid, libc::AT_SYMLINK_NOFOLLOW as u32).did(Did::Chown)?;
            Ok(())
        }
        format => {
            sys::mknodat(to, name, format | mode, device_number(stat.major, stat.minor)).did(Did::Mknod)?;
            sys::fchownat(to, name, stat.uid, stat.gid, libc::AT_SYMLINK_NOFOLLOW as u32).did(Did::Chown)?;
            Ok(())
        }
    }
}

fn finish_copy(source: RawFd, copy: RawFd, stat: &sys::Stat, mode: u32) -> Done {
    sys::fchownat(copy, c"", stat.uid, stat.gid, EMPTY_PATH).did(Did::Chown)?;
    sys::fchmod(copy, mode).did(Did::Chmod)?;
    let _ = sys::close(source);
    let _ = sys::close(copy);
    Ok(())
}
