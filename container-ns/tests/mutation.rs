//! Configurations that were changed at random, from a fixed seed: neither the loader nor the compiler of plans may panic, whatever comes.
#![cfg(feature = "oci")]

use std::path::Path;

use container_ns::Sandbox;
use oci_spec::runtime::Spec;
use serde_json::{Value, json};

/// How many changed configurations of each kind.
const ROUNDS: u32 = 1500;

/// Xorshift: small, and the same everywhere.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

fn bases() -> Vec<Value> {
    let full = serde_json::from_str(include_str!("configs/full.json")).unwrap();
    vec![full, serde_json::to_value(Spec::default()).unwrap()]
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(count).sum(),
        Value::Object(map) => map.values().map(count).sum(),
        _ => 0,
    }
}

/// The value number `at`, counted from the top.
fn pick<'a>(value: &'a mut Value, at: &mut usize) -> Option<&'a mut Value> {
    if *at == 0 {
        return Some(value);
    }
    *at -= 1;
    match value {
        Value::Array(list) => list.iter_mut().find_map(|one| pick(one, at)),
        Value::Object(map) => map.values_mut().find_map(|one| pick(one, at)),
        _ => None,
    }
}

/// Values that are at the edge of something.
fn odd(chance: &mut Chance, like: &Value) -> Value {
    let texts = [
        "",
        "/",
        ".",
        "..",
        "/../..",
        "a/../b",
        "\0",
        "/x\0y",
        "\u{1b}[2J",
        "0-",
        "-1",
        "0-99999999999",
        "1023",
        "1024",
        ":",
        "=",
        ",",
        "ro",
        "rbind",
        "idmap",
        "bind",
        "remount",
        "lowerdir=",
        "lowerdir=::",
        "lowerdir=\\",
        "/proc/self/fd/1",
        "/dev",
        "CAP_KILL",
        "user",
        "unified",
    ];
    // mostly of the kind that is there, so that it comes past the loader
    let kind = match (like, chance.below(8)) {
        (Value::String(_), 1..) => 9 + chance.below(9),
        (Value::Number(_), 1..) => 2 + chance.below(5),
        (Value::Bool(_), 1..) => 1,
        _ => chance.below(12),
    };
    match kind {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(0),
        3 => json!(-1),
        4 => json!(i64::MIN),
        5 => json!(u64::MAX),
        6 => json!(u32::MAX),
        7 => json!([]),
        8 => json!({}),
        9 => json!("x".repeat(1 << chance.below(14))),
        _ => json!(texts[chance.below(texts.len())]),
    }
}

/// One change to the tree: a value replaced, removed, doubled, or taken from elsewhere.
fn change(document: &mut Value, chance: &mut Chance) {
    let size = count(document);
    let other = pick(document, &mut chance.below(size)).cloned().unwrap_or(Value::Null);
    let Some(value) = pick(document, &mut chance.below(size)) else { return };
    match (chance.below(6), value) {
        (0, Value::Array(list)) if !list.is_empty() => {
            let twice = list[chance.below(list.len())].clone();
            list.push(twice);
        }
        (1, Value::Array(list)) if !list.is_empty() => drop(list.remove(chance.below(list.len()))),
        (1, Value::Object(map)) if !map.is_empty() => {
            let name = map.keys().nth(chance.below(map.len())).cloned().unwrap_or_default();
            map.remove(&name);
        }
        (2, value) if value.is_string() == other.is_string() => *value = other,
        (3, Value::Number(number)) => {
            *number = number.as_u64().map_or_else(|| 1.into(), |n| (n ^ (1 << chance.below(64))).into());
        }
        (_, value) => *value = odd(chance, value),
    }
}

/// As far as it goes; how far that was.
fn attempt(bytes: &[u8]) -> u32 {
    let Ok(spec) = serde_json::from_slice::<Spec>(bytes) else { return 0 };
    let Ok(sandbox) = Sandbox::from_oci(&spec, Path::new("/no/such/bundle")) else { return 1 };
    let Ok(plan) = sandbox.compile() else { return 2 };
    assert!(plan.explain().lines().count() > plan.steps().count());
    3
}

#[test]
fn changed_trees_never_panic_the_loader_or_the_compiler() {
    let mut chance = Chance(0x5eed_0001);
    let mut reached = [0u32; 4];
    for base in bases() {
        let spec: Spec = serde_json::from_value(base.clone()).unwrap();
        Sandbox::from_oci(&spec, Path::new("/no/such/bundle")).unwrap().compile().unwrap();
        for _ in 0..ROUNDS {
            let mut document = base.clone();
            for _ in 0..=chance.below(2) {
                change(&mut document, &mut chance);
            }
            reached[attempt(&serde_json::to_vec(&document).unwrap()) as usize] += 1;
        }
    }
    // the changes are neither all fatal nor all without effect
    assert!(reached.iter().all(|&count| count > ROUNDS / 40), "{reached:?}");
}

#[test]
fn changed_bytes_never_panic_the_loader_or_the_compiler() {
    let mut chance = Chance(0x5eed_0002);
    for base in bases() {
        let text = serde_json::to_vec(&base).unwrap();
        for _ in 0..ROUNDS {
            let mut bytes = text.clone();
            for _ in 0..=chance.below(3) {
                let at = chance.below(bytes.len());
                match chance.below(4) {
                    0 => bytes[at] ^= 1 << chance.below(8),
                    1 => drop(bytes.remove(at)),
                    2 => bytes.insert(at, b"{}[]\",:09-e\\"[chance.below(12)]),
                    _ => bytes.truncate(at.max(1)),
                }
            }
            attempt(&bytes);
        }
    }
}
