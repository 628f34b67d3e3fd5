//! An interpreter for classic BPF, and what the compiled filters decide.

use super::*;

/// Runs a program on a call, as the kernel's `seccomp_run_filters` does.
fn decide(program: &Program, audit: u32, number: u32, args: [u64; 6]) -> u32 {
    let mut data = Vec::new();
    data.extend(number.to_le_bytes());
    data.extend(audit.to_le_bytes());
    data.extend(0u64.to_le_bytes());
    for arg in args {
        data.extend(arg.to_le_bytes());
    }
    let (mut accumulator, mut at) = (0u32, 0usize);
    loop {
        let Instruction { code, jt, jf, k } = program.instructions()[at];
        at += 1;
        let take = |yes: bool| usize::from(if yes { jt } else { jf });
        match code {
            0x20 => accumulator = u32::from_le_bytes(data[k as usize..k as usize + 4].try_into().unwrap()),
            0x54 => accumulator &= k,
            0x05 => at += k as usize,
            0x15 => at += take(accumulator == k),
            0x25 => at += take(accumulator > k),
            0x35 => at += take(accumulator >= k),
            0x06 => return k,
            other => panic!("the kernel would not take {other:#x}"),
        }
    }
}

fn call(program: &Program, arch: Arch, name: &str, args: [u64; 6]) -> u32 {
    let number = arch.number(name).unwrap_or_else(|| panic!("{arch:?} has no {name}"));
    decide(program, arch.audit(), number, args)
}

fn all_architectures(capabilities: CapSet) -> Program {
    use Arch::{Aarch64, Arm, Riscv64, X32, X86, X86_64};
    let filter = Filter {
        architectures: vec![X86_64, X86, X32, Aarch64, Arm, Riscv64],
        ..Filter::docker_default(capabilities)
    };
    filter.compile().unwrap()
}

const ALLOW: u32 = Action::Allow.value();
const EPERM: u32 = Action::Errno(1).value();
const ENOSYS: u32 = Action::Errno(38).value();
const KILL: u32 = Action::KillProcess.value();

#[test]
fn the_table_is_sorted_and_knows_the_newest_calls() {
    assert!(table::TABLE.is_sorted_by(|a, b| a.0 < b.0));
    assert_eq!(Arch::X86_64.number("file_setattr"), Some(table::NEWEST as u32));
    assert_eq!(Arch::X86_64.number("execve"), Some(59));
    assert_eq!(Arch::X86.number("execve"), Some(11));
    assert_eq!(Arch::X32.number("execve"), Some(0x208 | X32_BIT));
    assert_eq!(Arch::Aarch64.number("execve"), Some(221));
    assert_eq!(Arch::Arm.number("execve"), Some(11));
    assert_eq!(Arch::Riscv64.number("execve"), Some(221));
    assert_eq!(Arch::Aarch64.number("open"), None);
    for row in &table::TABLE {
        if cfg!(target_arch = "x86_64") && row.0 == "openat2" {
            assert_eq!(i64::from(row.1[0]), libc::SYS_openat2);
        }
    }
}

#[test]
fn ordinary_calls_are_allowed_on_every_architecture() {
    let program = all_architectures(CapSet::DOCKER_DEFAULT);
    for arch in [Arch::X86_64, Arch::X86, Arch::X32, Arch::Aarch64, Arch::Arm, Arch::Riscv64] {
        for name in [
            "read",
            "write",
            "execve",
            "openat",
            "futex",
            "exit_group",
            "capset",
            "sendmsg",
            "ptrace",
            "statx",
            "rseq",
        ] {
            assert_eq!(call(&program, arch, name, [0; 6]), ALLOW, "{arch:?} {name}");
        }
        for name in [
            "mount",
            "umount2",
            "unshare",
            "setns",
            "keyctl",
            "add_key",
            "request_key",
            "bpf",
            "perf_event_open",
            "userfaultfd",
            "io_uring_setup",
            "io_uring_enter",
            "init_module",
            "kexec_load",
            "reboot",
            "swapon",
            "open_by_handle_at",
            "pivot_root",
            "move_mount",
            "acct",
        ] {
            assert_eq!(call(&program, arch, name, [0; 6]), EPERM, "{arch:?} {name}");
        }
        assert_eq!(call(&program, arch, "clone3", [0; 6]), ENOSYS, "{arch:?}");
        assert_eq!(call(&program, arch, "chroot", [0; 6]), ALLOW, "CAP_SYS_CHROOT is there: {arch:?}");
    }
}

#[test]
fn calls_of_the_future_and_foreign_architectures_are_refused() {
    let program = all_architectures(CapSet::DOCKER_DEFAULT);
    for arch in [Arch::X86_64, Arch::X86, Arch::Aarch64, Arch::Arm, Arch::Riscv64] {
        for number in [470, 471, 600, 100_000] {
            assert_eq!(decide(&program, arch.audit(), number, [0; 6]), ENOSYS, "{arch:?} {number}");
        }
    }
    assert_eq!(decide(&program, Arch::X32.audit(), X32_BIT | 0x258, [0; 6]), ENOSYS);
    assert_eq!(decide(&program, 0x8000_0016, 1, [0; 6]), KILL, "s390x");
    assert_eq!(decide(&program, 0, 1, [0; 6]), KILL);
}

#[test]
fn x32_and_i386_are_no_way_around() {
    // a filter for x86-64 alone
    let filter = Filter { architectures: vec![Arch::X86_64], ..Filter::docker_default(CapSet::EMPTY) };
    let program = filter.compile().unwrap();
    assert_eq!(call(&program, Arch::X86_64, "read", [0; 6]), ALLOW);
    assert_eq!(call(&program, Arch::X32, "read", [0; 6]), KILL);
    assert_eq!(call(&program, Arch::X86, "read", [0; 6]), KILL);
    assert_eq!(decide(&program, Arch::X86_64.audit(), u32::MAX, [0; 6]), KILL);
    // one for x32 alone
    let filter = Filter { architectures: vec![Arch::X32], ..Filter::docker_default(CapSet::EMPTY) };
    let program = filter.compile().unwrap();
    assert_eq!(call(&program, Arch::X32, "read", [0; 6]), ALLOW);
    assert_eq!(call(&program, Arch::X86_64, "read", [0; 6]), KILL);
    // mount has number 165 there, 21 in i386: what 21 is in x86-64 (access) must not leak in
    let all = all_architectures(CapSet::EMPTY);
    assert_eq!(decide(&all, Arch::X86_64.audit(), 21, [0; 6]), ALLOW);
    assert_eq!(decide(&all, Arch::X86.audit(), 21, [0; 6]), EPERM);
}

#[test]
fn arguments_decide_where_the_profile_says_so() {
    let program = all_architectures(CapSet::DOCKER_DEFAULT);
    let native = Arch::X86_64;
    let first = |value: u64| [value, 0, 0, 0, 0, 0];
    assert_eq!(call(&program, native, "clone", first(0x1200_0011)), EPERM, "CLONE_NEWUSER is in it");
    assert_eq!(call(&program, native, "clone", first(0x0120_0011)), ALLOW);
    for flag in [0x0002_0000u64, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000]
    {
        assert_eq!(call(&program, native, "clone", first(flag | 0x11)), EPERM, "{flag:#x}");
    }
    assert_eq!(call(&program, native, "socket", first(2)), ALLOW);
    assert_eq!(call(&program, native, "socket", first(40)), EPERM, "AF_VSOCK");
    assert_eq!(call(&program, native, "socket", first(38)), EPERM, "AF_ALG");
    for (value, wanted) in [
        (0, ALLOW),
        (8, ALLOW),
        (0x20000, ALLOW),
        (0x20008, ALLOW),
        (0xffff_ffff, ALLOW),
        (0x0040_0000, EPERM),
        (1 << 32, EPERM),
    ] {
        assert_eq!(call(&program, native, "personality", first(value)), wanted, "{value:#x}");
    }
}

#[test]
fn capabilities_open_what_belongs_to_them() {
    for (capability, name) in [
        (CapSet::SYS_ADMIN, "mount"),
        (CapSet::SYS_ADMIN, "clone3"),
        (CapSet::SYS_BOOT, "reboot"),
        (CapSet::SYS_MODULE, "init_module"),
        (CapSet::SYS_PTRACE, "kcmp"),
        (CapSet::SYS_TIME, "clock_settime"),
        (CapSet::SYS_NICE, "mbind"),
        (CapSet::DAC_READ_SEARCH, "open_by_handle_at"),
        (CapSet::PERFMON, "perf_event_open"),
        (CapSet::BPF, "bpf"),
        (CapSet::SYSLOG, "syslog"),
    ] {
        let without = Filter::docker_default(CapSet::EMPTY).compile().unwrap();
        let with = Filter::docker_default(capability).compile().unwrap();
        let arch = Arch::native()[0];
        assert_ne!(call(&without, arch, name, [0; 6]), ALLOW, "{name}");
        assert_eq!(call(&with, arch, name, [0; 6]), ALLOW, "{name}");
    }
    let all = Filter::docker_default(CapSet::from_bits(u64::MAX)).compile().unwrap();
    assert_eq!(call(&all, Arch::native()[0], "clone", [0x7e02_0000, 0, 0, 0, 0, 0]), ALLOW);
}

#[test]
fn every_comparison_looks_at_all_sixty_four_bits() {
    let values =
        [0u64, 1, 4, 5, 6, 0xffff_ffff, 0x1_0000_0000, 0x5_0000_0005, 0x5_0000_0004, 0x4_ffff_ffff, u64::MAX];
    for limit in values {
        for (comparison, holds) in [
            (Comparison::Equal, (|a, b| a == b) as fn(u64, u64) -> bool),
            (Comparison::NotEqual, |a, b| a != b),
            (Comparison::Less, |a, b| a < b),
            (Comparison::LessOrEqual, |a, b| a <= b),
            (Comparison::Greater, |a, b| a > b),
            (Comparison::GreaterOrEqual, |a, b| a >= b),
            (Comparison::Masked(0xff_0000_00ff), |a, b| a & 0xff_0000_00ff == b),
        ] {
            let condition = Condition { argument: 3, comparison, value: limit };
            let rule = Rule { names: vec!["read".into()], conditions: vec![condition], action: Action::Trap };
            let filter = Filter {
                default: Action::Allow,
                architectures: vec![Arch::X86_64],
                rules: vec![rule],
                flags: FilterFlags::empty(),
                unknown_is_enosys: true,
            };
            let program = filter.compile().unwrap();
            for value in values {
                let wanted = if holds(value, limit) { Action::Trap } else { Action::Allow };
                let got = call(&program, Arch::X86_64, "read", [0, 0, 0, value, 0, 0]);
                assert_eq!(got, wanted.value(), "{value:#x} {comparison:?} {limit:#x}");
            }
        }
    }
}

#[test]
fn conditions_of_a_rule_must_all_hold_and_rules_are_tried_in_order() {
    let condition = |argument, value| Condition { argument, comparison: Comparison::Equal, value };
    let rule = |conditions, action| Rule { names: vec!["write".into()], conditions, action };
    let filter = Filter {
        default: Action::Allow,
        architectures: vec![Arch::X86_64],
        rules: vec![
            rule(vec![], Action::Errno(5)),
            rule(vec![condition(0, 1), condition(2, 9)], Action::Errno(6)),
            rule(vec![condition(0, 1)], Action::Errno(7)),
        ],
        flags: FilterFlags::empty(),
        unknown_is_enosys: false,
    };
    let program = filter.compile().unwrap();
    let write = |a, c| call(&program, Arch::X86_64, "write", [a, 0, c, 0, 0, 0]) & 0xffff;
    assert_eq!((write(1, 9), write(1, 8), write(2, 9)), (6, 7, 5));
}

#[test]
fn programs_are_short_and_bad_filters_are_refused() {
    let program = Filter::docker_default(CapSet::DOCKER_DEFAULT).compile().unwrap();
    assert!(program.instructions().len() < 1500, "{}", program.instructions().len());
    for bits in 0..41 {
        Filter::docker_default(CapSet::from_bits(1 << bits)).compile().unwrap();
    }
    let base = Filter::docker_default(CapSet::EMPTY);
    let bad = |filter: Filter| filter.compile().unwrap_err().to_string();
    assert!(bad(Filter { architectures: vec![], ..base.clone() }).contains("architecture"));
    assert!(bad(Filter { default: Action::Notify, ..base.clone() }).contains("listener"));
    assert!(bad(Filter { default: Action::Errno(5000), ..base.clone() }).contains("5000"));
    let condition = Condition { argument: 6, comparison: Comparison::Equal, value: 0 };
    let rule = Rule { names: vec!["read".into()], conditions: vec![condition], action: Action::Trap };
    assert!(bad(Filter { rules: vec![rule], ..base.clone() }).contains("argument 6 of read"));
    let condition = Condition { argument: 0, comparison: Comparison::Equal, value: 0 };
    let rule = Rule { names: vec!["read".into()], conditions: vec![condition], action: Action::Trap };
    assert!(bad(Filter { rules: vec![rule; 2000], ..base }).contains("4096"));
}

#[test]
fn a_default_is_compiled_once() {
    let (a, b) = (Seccomp::docker_default(CapSet::KILL), Seccomp::docker_default(CapSet::KILL));
    assert!(Arc::ptr_eq(&a.0, &b.0));
}
