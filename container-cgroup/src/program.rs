//! The device filter of version 2: a `BPF_PROG_TYPE_CGROUP_DEVICE` program assembled from rules.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use crate::{Access, DeviceKind, DeviceRule, Error, sys};

const LOAD_WORD: u8 = 0x61;
const AND: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const MOVE: u8 = 0xb4;
const MOVE_REGISTER: u8 = 0xbc;
const IF_NOT_EQUAL: u8 = 0x56;
const IF_NOT_EQUAL_REGISTER: u8 = 0x5e;
const IF_EQUAL: u8 = 0x16;
const EXIT: u8 = 0x95;

const ANSWER: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

/// `struct bpf_insn` as one little word: code, registers, offset, immediate.
fn instruction(code: u8, to: u8, from: u8, offset: i16, value: u32) -> u64 {
    let registers = if cfg!(target_endian = "little") { to | from << 4 } else { to << 4 | from };
    let mut bytes = [0; 8];
    bytes[0] = code;
    bytes[1] = registers;
    bytes[2..4].copy_from_slice(&offset.to_ne_bytes());
    bytes[4..].copy_from_slice(&value.to_ne_bytes());
    u64::from_ne_bytes(bytes)
}

/// A test that leaves the rule if it fails; its jump is patched when the rule's length is known.
fn unless(code: u8, register: u8, from: u8, value: u32) -> u64 {
    instruction(code, register, from, 0, value)
}

/// Assembles the program: from the last rule to the first, the first that matches answers; else refused.
pub(crate) fn assemble(rules: &[DeviceRule]) -> Vec<u64> {
    let mut program = vec![
        instruction(LOAD_WORD, KIND, CONTEXT, 0, 0),
        instruction(MOVE_REGISTER, ACCESS, KIND, 0, 0),
        instruction(AND, KIND, 0, 0, 0xffff),
        instruction(SHIFT_RIGHT, ACCESS, 0, 0, 16),
        instruction(LOAD_WORD, MAJOR, CONTEXT, 4, 0),
        instruction(LOAD_WORD, MINOR, CONTEXT, 8, 0),
    ];
    for rule in rules.iter().rev() {
        let mut tests = Vec::with_capacity(8);
        match rule.kind {
            DeviceKind::Any => {}
            DeviceKind::Block => tests.push(unless(IF_NOT_EQUAL, KIND, 0, 1)),
            DeviceKind::Char => tests.push(unless(IF_NOT_EQUAL, KIND, 0, 2)),
        }
        for (register, number) in [(MAJOR, rule.major), (MINOR, rule.minor)] {
            tests.extend(number.map(|number| unless(IF_NOT_EQUAL, register, 0, number)));
        }
        if rule.access != Access::ALL {
            tests.push(instruction(MOVE_REGISTER, ANSWER, ACCESS, 0, 0));
            tests.push(instruction(AND, ANSWER, 0, 0, rule.access.bits()));
            tests.push(if rule.allow {
                unless(IF_NOT_EQUAL_REGISTER, ANSWER, ACCESS, 0)
            } else {
                unless(IF_EQUAL, ANSWER, 0, 0)
            });
        }
        let last = tests.is_empty();
        let length = tests.len();
        for (position, test) in tests.iter_mut().enumerate() {
            let code = test.to_ne_bytes()[0];
            if [IF_NOT_EQUAL, IF_NOT_EQUAL_REGISTER, IF_EQUAL].contains(&code) {
                let mut bytes = test.to_ne_bytes();
                // over the remaining tests and the two words of the answer
                let over = (length - position - 1 + 2) as i16;
                bytes[2..4].copy_from_slice(&over.to_ne_bytes());
                *test = u64::from_ne_bytes(bytes);
            }
        }
        program.append(&mut tests);
        program.push(instruction(MOVE, ANSWER, 0, 0, u32::from(rule.allow)));
        program.push(instruction(EXIT, 0, 0, 0, 0));
        if last {
            // a rule that always matches: the verifier refuses code that cannot be reached
            return program;
        }
    }
    program.push(instruction(MOVE, ANSWER, 0, 0, 0));
    program.push(instruction(EXIT, 0, 0, 0, 0));
    program
}

/// Puts the filter on a group of version 2, in place of those attached before. The replacement is atomic
/// where one filter is there; of several the new one is attached before the old ones go.
pub(crate) fn install(path: &Path, directory: BorrowedFd<'_>, rules: &[DeviceRule]) -> Result<(), Error> {
    let error = |operation| move |source: io::Error| Error::Bpf { operation, path: path.to_owned(), source };
    let program = sys::bpf_load_device(&assemble(rules)).map_err(error("load"))?;
    let old = sys::bpf_query_device(directory).map_err(error("query"))?;
    let old: Vec<OwnedFd> =
        old.into_iter().map(sys::bpf_program).collect::<io::Result<_>>().map_err(error("query"))?;
    let replaced = match old.as_slice() {
        [one] => Some(one.as_fd()),
        _ => None,
    };
    sys::bpf_attach_device(directory, program.as_fd(), replaced).map_err(error("attach"))?;
    if replaced.is_none() {
        for one in &old {
            sys::bpf_detach_device(directory, one.as_fd()).map_err(error("detach"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DeviceNumber;

    /// Runs a program on a request as the kernel would.
    fn run(program: &[u64], kind: u32, access: u32, device: DeviceNumber) -> bool {
        let context = [access << 16 | kind, device.major, device.minor];
        let mut registers = [0_u32; 8];
        let mut at = 0;
        loop {
            let bytes = program[at].to_ne_bytes();
            let (to, from) = (usize::from(bytes[1] & 15), usize::from(bytes[1] >> 4));
            let offset = i16::from_ne_bytes([bytes[2], bytes[3]]);
            let value = u32::from_ne_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
            at += 1;
            let jump = match bytes[0] {
                LOAD_WORD => {
                    registers[to] = context[offset as usize / 4];
                    false
                }
                AND => {
                    registers[to] &= value;
                    false
                }
                SHIFT_RIGHT => {
                    registers[to] >>= value;
                    false
                }
                MOVE => {
                    registers[to] = value;
                    false
                }
                MOVE_REGISTER => {
                    registers[to] = registers[from];
                    false
                }
                IF_NOT_EQUAL => registers[to] != value,
                IF_EQUAL => registers[to] == value,
                IF_NOT_EQUAL_REGISTER => registers[to] != registers[from],
                EXIT => return registers[0] != 0,
                code => panic!("unknown instruction {code:#x}"),
            };
            if jump {
                at += offset as usize;
            }
        }
    }

    #[test]
    fn the_program_decides_as_the_rules_do() {
        let mut defaults = vec![DeviceRule::DENY_ALL];
        defaults.extend(DeviceRule::defaults());
        let mut holes = defaults.clone();
        holes.push(DeviceRule {
            allow: false,
            kind: DeviceKind::Char,
            major: Some(1),
            minor: None,
            access: Access { write: true, ..Access::default() },
        });
        holes.push(DeviceRule::allow(
            DeviceKind::Any,
            DeviceNumber { major: u32::MAX, minor: 9 },
            Access::ALL,
        ));
        for rules in [&[][..], &[DeviceRule::ALLOW_ALL], &[DeviceRule::DENY_ALL], &defaults, &holes] {
            let program = assemble(rules);
            for (kind, name) in [(1, DeviceKind::Block), (2, DeviceKind::Char)] {
                for major in [0, 1, 5, 8, 136, u32::MAX] {
                    for minor in [0, 3, 9, 77] {
                        for bits in 1..8 {
                            let device = DeviceNumber { major, minor };
                            let access =
                                Access { mknod: bits & 1 != 0, read: bits & 2 != 0, write: bits & 4 != 0 };
                            assert_eq!(
                                run(&program, kind, bits, device),
                                DeviceRule::decide(rules, name, device, access),
                                "{rules:?}: {name:?} {device} {access}"
                            );
                        }
                    }
                }
            }
        }
    }
}
