//! Every target on the stable toolchain: over its seeds, over changed seeds, and over noise, all from fixed numbers.
#![allow(missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fuzz::TARGETS;

/// Numbers from a seed, splitmix64.
struct Seed(u64);

impl Seed {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound.max(1) as u64) as usize
    }

    fn noise(&mut self) -> Vec<u8> {
        let length = self.below(400);
        (0..length).map(|_| self.below(256) as u8).collect()
    }

    /// A few bytes changed, taken away, doubled or cut.
    fn change(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            match self.below(4) {
                0 => bytes.truncate(at),
                1 if at < bytes.len() => bytes[at] = self.below(256) as u8,
                2 if at < bytes.len() => drop(bytes.remove(at)),
                _ => {
                    let end = at + self.below((bytes.len() - at).min(40) + 1);
                    let piece = bytes[at..end].to_vec();
                    bytes.splice(at..at, piece);
                }
            }
        }
    }
}

/// What `fuzz/seeds` and the crates' own cases have for a target.
fn seeds(name: &str, (folder, file): (&str, &str)) -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository");
    let list = |path: PathBuf| -> Vec<PathBuf> {
        let mut found: Vec<_> =
            fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        found.sort();
        found
    };
    let mut files = list(root.join("fuzz/seeds").join(name));
    if !folder.is_empty() {
        files.extend(list(root.join(folder)).into_iter().map(|case| case.join(file)));
    }
    files.into_iter().filter_map(|path| fs::read(path).ok()).collect()
}

/// Runs a target, and says with which bytes it panicked.
fn smoke(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of the table");
    let seeds = seeds(name, target.seeds);
    let run = |bytes: &[u8]| {
        let outcome = std::panic::catch_unwind(|| (target.run)(bytes));
        assert!(outcome.is_ok(), "{name} panicked over {:?}", String::from_utf8_lossy(bytes));
    };
    for seed in &seeds {
        run(seed);
    }
    let mut numbers = Seed(0x5eed);
    // so many, or as many as fit into some seconds: a busy machine does less, and never nothing
    let begin = Instant::now();
    for round in 0..3000 {
        if round > 100 && begin.elapsed() > Duration::from_secs(6) {
            break;
        }
        let mut bytes = numbers.noise();
        if round % 3 > 0 && !seeds.is_empty() {
            bytes.clone_from(&seeds[numbers.below(seeds.len())]);
            numbers.change(&mut bytes);
        }
        run(&bytes);
    }
}

macro_rules! smoke {
    ($($name:ident)*) => {
        $(#[test] fn $name() { smoke(stringify!($name)); })*

        #[test]
        fn every_target_is_run_here_and_has_a_program() {
            let here = [$(stringify!($name)),*];
            for target in TARGETS {
                assert!(here.contains(&target.name), "{} is not in smoke.rs", target.name);
                let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz_targets").join(target.name);
                assert!(program.with_extension("rs").is_file(), "{} has no program", target.name);
            }
            assert_eq!(here.len(), TARGETS.len());
        }
    };
}

smoke! {
    dockerfile_parse dockerfile_structured dockerfile_edit dockerfile_expand dockerfile_ignore
    compose_load compose_structured compose_merge compose_plan compose_document compose_words
    image_names image_documents image_files image_apply image_layer image_diff image_load
    net_names net_words
    runtime_config runtime_bundle runtime_words
    volume_mounts volume_restore
}
