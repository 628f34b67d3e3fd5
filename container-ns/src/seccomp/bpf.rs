//! From rules to classic BPF.

use std::collections::BTreeMap;

use super::{Action, Arch, Comparison, Condition, Filter, FilterFlags, Instruction, Program, X32_BIT, table};
use crate::Error;

/// The kernel's `BPF_MAXINSNS`.
const MAX: usize = 4096;

const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const GREATER: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
const GREATER_EQUAL: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// First private call of arm.
const ARM_PRIVATE: u32 = 0x000f_0000;

type Code = Vec<Instruction>;

const fn op(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

const fn branch(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

/// What is done about one number: conditional rules in order, then an action.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Decision<'a> {
    conditional: Vec<(&'a [Condition], Action)>,
    otherwise: Action,
}

/// A program that allows nothing.
pub(super) fn refuse_all() -> Program {
    Program {
        instructions: vec![op(RETURN, Action::KillProcess.value())],
        flags: FilterFlags::empty(),
        notify: false,
        summary: "everything refused".to_owned(),
    }
}

pub(super) fn compile(filter: &Filter) -> Result<Program, Error> {
    check(filter)?;
    let mut blocks: Vec<(u32, Code)> = Vec::new();
    let mut architectures = filter.architectures.clone();
    architectures.sort_unstable();
    architectures.dedup();
    for &arch in &architectures {
        if arch == Arch::X32 && architectures.contains(&Arch::X86_64) {
            continue;
        }
        let mut code = vec![op(LOAD, NUMBER)];
        match arch {
            // one audit number, told apart by a bit of the number; without the other, its numbers are refused
            Arch::X86_64 if architectures.contains(&Arch::X32) => {
                let (native, x32) = (search(filter, Arch::X86_64), search(filter, Arch::X32));
                code.extend(split(X32_BIT, native, x32));
            }
            Arch::X86_64 => {
                let kill = vec![op(RETURN, Action::KillProcess.value())];
                code.extend(split(X32_BIT, search(filter, arch), kill));
            }
            Arch::X32 => {
                let kill = vec![op(RETURN, Action::KillProcess.value())];
                code.extend(split(X32_BIT, kill, search(filter, arch)));
            }
            _ => code.extend(search(filter, arch)),
        }
        blocks.push((arch.audit(), code));
    }
    let mut instructions = vec![op(LOAD, ARCHITECTURE)];
    for (audit, code) in blocks {
        if let Ok(over) = u8::try_from(code.len()) {
            instructions.push(branch(EQUAL, audit, 0, over));
        } else {
            instructions.push(branch(EQUAL, audit, 1, 0));
            instructions.push(op(JUMP, code.len() as u32));
        }
        instructions.extend(code);
    }
    instructions.push(op(RETURN, Action::KillProcess.value()));
    if instructions.len() > MAX {
        return Err(Error::Filter {
            reason: format!("{} instructions, the kernel takes {MAX}", instructions.len()),
        });
    }
    let names: usize = filter.rules.iter().map(|rule| rule.names.len()).sum();
    let notify = filter.rules.iter().any(|rule| rule.action == Action::Notify);
    let summary = format!(
        "default {:?}, {names} names in {} rules, {} architectures, {} instructions",
        filter.default,
        filter.rules.len(),
        architectures.len(),
        instructions.len()
    );
    Ok(Program { instructions, flags: filter.flags, notify, summary })
}

fn check(filter: &Filter) -> Result<(), Error> {
    let fail = |reason: String| Err(Error::Filter { reason });
    if filter.architectures.is_empty() {
        return fail("no architecture".to_owned());
    }
    if filter.default == Action::Notify {
        return fail(
            "a listener cannot be the default: the process would wait for it before it runs".to_owned(),
        );
    }
    for rule in &filter.rules {
        if let Some(condition) = rule.conditions.iter().find(|condition| condition.argument > 5) {
            return fail(format!("argument {} of {}", condition.argument, rule.names.join(" ")));
        }
    }
    for action in filter.rules.iter().map(|rule| rule.action).chain([filter.default]) {
        if let Action::Errno(errno) = action
            && errno > 4095
        {
            return fail(format!("errno {errno}"));
        }
    }
    Ok(())
}

/// `below` for numbers under `at`, `above` for the rest.
fn split(at: u32, below: Code, above: Code) -> Code {
    let mut code = Code::with_capacity(below.len() + above.len() + 2);
    if let Ok(over) = u8::try_from(below.len()) {
        code.push(branch(GREATER_EQUAL, at, over, 0));
    } else {
        code.push(branch(GREATER_EQUAL, at, 0, 1));
        code.push(op(JUMP, below.len() as u32));
        // true falls to the jump, false steps over it
    }
    code.extend(below);
    code.extend(above);
    code
}

/// The binary search for one architecture.
fn search(filter: &Filter, arch: Arch) -> Code {
    let plain = Decision { conditional: Vec::new(), otherwise: filter.default };
    let mut decisions: BTreeMap<u32, Decision<'_>> = BTreeMap::new();
    for rule in &filter.rules {
        for name in &rule.names {
            let Some(number) = number(arch, name) else { continue };
            let decision = decisions.entry(number).or_insert_with(|| plain.clone());
            if rule.conditions.is_empty() {
                decision.otherwise = rule.action;
            } else {
                decision.conditional.push((&rule.conditions, rule.action));
            }
        }
    }
    // starts of ranges in which every number has the same decision
    let mut ranges: Vec<(u32, Decision<'_>)> = vec![(0, plain.clone())];
    let mut next = 0u32;
    let newer = if filter.unknown_is_enosys && filter.default != Action::Allow {
        Decision { conditional: Vec::new(), otherwise: Action::Errno(libc::ENOSYS as u16) }
    } else {
        plain.clone()
    };
    for (number, decision) in decisions {
        if number > next {
            // arm has a few private calls far above the common ones, future calls lie between
            start(
                &mut ranges,
                next,
                if number >= ARM_PRIVATE && arch == Arch::Arm { &newer } else { &plain },
            );
        }
        start(&mut ranges, number, &decision);
        next = number.saturating_add(1);
    }
    start(&mut ranges, next, &newer);
    tree(&ranges)
}

fn number(arch: Arch, name: &str) -> Option<u32> {
    let at = table::TABLE.binary_search_by(|(key, _)| (*key).cmp(name)).ok()?;
    arch.in_row(&table::TABLE.get(at)?.1)
}

fn start<'a>(ranges: &mut Vec<(u32, Decision<'a>)>, at: u32, decision: &Decision<'a>) {
    match ranges.last_mut() {
        Some((from, last)) if *from == at => *last = decision.clone(),
        Some((_, last)) if last == decision => return,
        _ => ranges.push((at, decision.clone())),
    }
    // a replaced range may now equal the one before it
    if let [.., (_, before), (_, last)] = ranges.as_slice()
        && before == last
    {
        ranges.pop();
    }
}

fn tree(ranges: &[(u32, Decision<'_>)]) -> Code {
    match ranges {
        [] => Code::new(),
        [(_, decision)] => leaf(decision),
        _ => {
            let (left, right) = ranges.split_at(ranges.len() / 2);
            let at = right.first().map_or(0, |(from, _)| *from);
            split(at, tree(left), tree(right))
        }
    }
}

fn leaf(decision: &Decision<'_>) -> Code {
    let mut code = Code::new();
    for (conditions, action) in &decision.conditional {
        code.extend(guarded(conditions, *action));
    }
    code.push(op(RETURN, decision.otherwise.value()));
    code
}

/// `return action` behind all conditions; falls through if one does not hold.
fn guarded(conditions: &[Condition], action: Action) -> Code {
    let mut code = vec![op(RETURN, action.value())];
    for condition in conditions.iter().rev() {
        code = chain(condition, code);
    }
    code
}

/// `then` if the condition holds, else over it. Each test falls to its end for "no" and jumps one further for "yes".
fn chain(condition: &Condition, then: Code) -> Code {
    let low = ARGUMENTS + 8 * condition.argument as u32;
    let high = low + 4;
    let (value_low, value_high) = (condition.value as u32, (condition.value >> 32) as u32);
    match condition.comparison {
        Comparison::Equal | Comparison::NotEqual | Comparison::Masked(_) => {
            let mask = if let Comparison::Masked(mask) = condition.comparison { mask } else { u64::MAX };
            let test = vec![
                op(LOAD, high),
                op(AND, (mask >> 32) as u32),
                branch(EQUAL, value_high, 0, 3),
                op(LOAD, low),
                op(AND, mask as u32),
                branch(EQUAL, value_low, 1, 0),
            ];
            finish(test, then, condition.comparison == Comparison::NotEqual)
        }
        Comparison::Greater => finish(order(low, value_high, value_low, GREATER), then, false),
        Comparison::LessOrEqual => finish(order(low, value_high, value_low, GREATER), then, true),
        Comparison::GreaterOrEqual => finish(order(low, value_high, value_low, GREATER_EQUAL), then, false),
        Comparison::Less => finish(order(low, value_high, value_low, GREATER_EQUAL), then, true),
    }
}

/// High word greater: yes. Not equal: no. Then the low word decides.
fn order(low: u32, value_high: u32, value_low: u32, last: u16) -> Code {
    vec![
        op(LOAD, low + 4),
        branch(GREATER, value_high, 4, 0),
        branch(EQUAL, value_high, 0, 2),
        op(LOAD, low),
        branch(last, value_low, 1, 0),
    ]
}

/// Behind a test that falls to "no" and jumps one further for "yes".
fn finish(mut test: Code, then: Code, negate: bool) -> Code {
    let over = then.len() as u32;
    if negate {
        // no: run, yes: over
        test.push(op(JUMP, 1));
        test.push(op(JUMP, over));
    } else {
        test.push(op(JUMP, over));
    }
    test.extend(then);
    test
}
