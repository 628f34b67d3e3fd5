//! What the cache answers, against a model of what decides a step.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use container_build::{Error, RunStep, Runner};

use bench::Bench;

mod bench;

/// Runs nothing, and writes a file that says what it was to run.
struct Pretend;

impl Runner for Pretend {
    fn run(&self, step: RunStep<'_>, output: &mut dyn FnMut(&[u8])) -> Result<i32, Error> {
        let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CREATE | rustix::fs::OFlags::CLOEXEC;
        let file = rustix::fs::openat(&step.root, "ran", flags, rustix::fs::Mode::RUSR).unwrap();
        rustix::io::write(&file, step.argv.join(" ").as_bytes()).unwrap();
        output(b"ran\n");
        Ok(0)
    }
}

/// A small generator, so that a seed tells everything.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }
}

#[derive(Debug, Clone)]
enum Line {
    Run(usize),
    Copy(usize, Option<usize>),
    Env(usize, usize),
    Arg(usize, usize),
    Workdir(usize),
    User(usize),
    Label(usize),
    Cmd(usize),
    Comment(usize),
}

#[derive(Debug, Clone)]
struct World {
    lines: Vec<Line>,
    /// Content and mode of three files.
    files: [(usize, u32); 3],
    given: BTreeMap<String, String>,
}

impl World {
    fn new(dice: &mut Dice) -> Self {
        let lines = (0..8).map(|_| Self::line(dice)).collect();
        Self { lines, files: [(0, 0o644); 3], given: BTreeMap::new() }
    }

    fn line(dice: &mut Dice) -> Line {
        match dice.roll(12) {
            0..=2 => Line::Run(dice.roll(3)),
            3..=5 => Line::Copy(dice.roll(3), (dice.roll(3) == 0).then(|| dice.roll(2))),
            6 => Line::Env(dice.roll(2), dice.roll(3)),
            7 => Line::Arg(dice.roll(2), dice.roll(3)),
            8 => Line::Workdir(dice.roll(3)),
            9 => Line::User(dice.roll(2)),
            10 => Line::Label(dice.roll(5)),
            _ => {
                if dice.roll(2) == 0 {
                    Line::Cmd(dice.roll(5))
                } else {
                    Line::Comment(dice.roll(5))
                }
            }
        }
    }

    fn change(&mut self, dice: &mut Dice) {
        match dice.roll(6) {
            0 => {
                let at = dice.roll(self.lines.len());
                self.lines[at] = Self::line(dice);
            }
            1 => self.files[dice.roll(3)].0 = dice.roll(3),
            2 => self.files[dice.roll(3)].1 = [0o644, 0o600, 0o755][dice.roll(3)],
            3 => {
                self.given.insert(format!("A{}", dice.roll(3)), dice.roll(2).to_string());
            }
            4 => {
                self.given.remove(&format!("A{}", dice.roll(3)));
            }
            _ => {}
        }
    }

    fn dockerfile(&self) -> String {
        let mut text = "FROM base\n".to_owned();
        for line in &self.lines {
            let line = match line {
                Line::Run(n) => format!("RUN command {n}\n"),
                Line::Copy(file, None) => format!("COPY f{file} /there/\n"),
                Line::Copy(file, Some(owner)) => format!("COPY --chown={owner} f{file} /there/\n"),
                Line::Env(name, value) => format!("ENV E{name}={value}\n"),
                Line::Arg(name, value) => format!("ARG A{name}={value}\n"),
                Line::Workdir(n) => format!("WORKDIR /w{n}\n"),
                Line::User(n) => format!("USER {n}\n"),
                Line::Label(n) => format!("LABEL l={n}\n"),
                Line::Cmd(n) => format!("CMD [\"{n}\"]\n"),
                Line::Comment(n) => format!("# {n}\n"),
            };
            text.push_str(&line);
        }
        text
    }

    fn write(&self, directory: &Path, dice: &mut Dice) {
        for (at, (content, mode)) in self.files.iter().enumerate() {
            let path = directory.join(format!("f{at}"));
            fs::write(&path, format!("content {content}")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
            // of no consequence
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(dice.roll(1_000_000) as u64);
            fs::File::open(&path).unwrap().set_modified(time).unwrap();
        }
        fs::write(directory.join(format!("noise{}", dice.roll(5))), "noise").unwrap();
    }

    /// Everything that decides each step that makes files, by the Dockerfile reference.
    fn steps(&self) -> Vec<String> {
        let mut steps = Vec::new();
        let mut parent = "base".to_owned();
        let mut env = BTreeMap::new();
        let mut order = Vec::new();
        let mut args: BTreeMap<String, String> = BTreeMap::new();
        let (mut workdir, mut user) = (String::new(), String::new());
        for line in &self.lines {
            let step = match line {
                Line::Run(n) => format!("run {n} in {workdir} as {user} with {order:?} {env:?} {args:?}"),
                Line::Copy(file, owner) => format!("copy {file} {:?} {owner:?}", self.files[*file]),
                Line::Workdir(n) => {
                    workdir = format!("/w{n}");
                    format!("workdir {workdir} as {user}")
                }
                Line::Env(name, value) => {
                    if env.insert(*name, *value).is_none() {
                        order.push(*name);
                    }
                    continue;
                }
                Line::Arg(name, value) => {
                    let name = format!("A{name}");
                    let value = self.given.get(&name).cloned().unwrap_or_else(|| value.to_string());
                    args.insert(name, value);
                    continue;
                }
                Line::User(n) => {
                    user = n.to_string();
                    continue;
                }
                _ => continue,
            };
            parent = format!("{parent} | {step}");
            steps.push(parent.clone());
        }
        steps
    }
}

#[test]
fn a_step_is_carried_out_if_and_only_if_something_that_decides_it_is_new() {
    let Some(bench) = Bench::new(Pretend) else { return };
    for seed in [1u64, 20_26, 0xdead_beef] {
        let mut dice = Dice(seed);
        let mut known = BTreeSet::new();
        bench.cache.prune().unwrap();
        let mut world = World::new(&mut dice);
        for round in 0..25 {
            world.write(&bench.context(), &mut dice);
            let steps = world.steps();
            let expected = steps.iter().filter(|step| !known.contains(*step)).collect::<BTreeSet<_>>().len();
            let built =
                bench.build_with(&world.dockerfile(), |build| build.arguments = world.given.clone()).unwrap();
            assert_eq!(
                (built.carried_out, built.cached),
                (expected, steps.len() - expected),
                "seed {seed}, round {round}:\n{}{:?}",
                world.dockerfile(),
                world.given
            );
            known.extend(steps);
            world.change(&mut dice);
        }
    }
}

#[test]
fn what_the_cache_has_outlives_the_store_and_gives_the_same_image() {
    let Some(bench) = Bench::new(Pretend) else { return };
    fs::write(bench.context().join("f"), "content").unwrap();
    let file = "FROM base\nCOPY f /f\nRUN one\n";
    let first = bench.build(file).unwrap();
    assert_eq!((first.carried_out, first.cached), (2, 0));
    // nothing names the image, so its blobs go
    assert!(bench.store.sweep().unwrap().is_some());
    let layer = &first.image.manifest.layers.last().unwrap().digest;
    assert!(!bench.store.has_blob(layer));
    let again = bench.build(file).unwrap();
    assert_eq!((again.carried_out, again.cached), (0, 2));
    assert_eq!(again.image.id, first.image.id);
    assert!(bench.store.has_blob(layer));
}

#[test]
fn a_record_that_a_power_failure_cut_off_counts_as_not_there() {
    let Some(bench) = Bench::new(Pretend) else { return };
    let file = "FROM base\nRUN one\n";
    bench.build(file).unwrap();
    for entry in fs::read_dir(bench.cache.root().join("steps")).unwrap() {
        fs::write(entry.unwrap().path(), "{\"key\":").unwrap();
    }
    assert_eq!(bench.build(file).unwrap().carried_out, 1);
    assert_eq!(bench.build(file).unwrap().carried_out, 0);
}

#[test]
fn scratch_space_goes_with_its_build_and_that_of_a_killed_one_is_swept() {
    let Some(bench) = Bench::new(Pretend) else { return };
    bench.build("FROM base\nRUN one\n").unwrap();
    assert!(bench.build("FROM base\nRUN one\nCOPY nothing /\n").is_err());
    let work = bench.cache.root().join("work");
    assert_eq!(fs::read_dir(&work).unwrap().count(), 0);
    // as a killed build leaves it
    fs::create_dir_all(work.join("1-2-3/upper/x")).unwrap();
    fs::write(work.join("1-2-3.lock"), "").unwrap();
    assert_eq!(bench.cache.abandoned().unwrap(), [work.join("1-2-3")]);
    bench.cache.sweep().unwrap();
    assert_eq!(fs::read_dir(&work).unwrap().count(), 0);
}

#[test]
fn dockerfiles_made_to_hurt_are_refused() {
    let Some(bench) = Bench::new(Pretend) else { return };
    let refused = |file: &str| bench.build(file).unwrap_err();
    let mut growing = "FROM base\nENV A=aaaaaaaa\n".to_owned();
    growing.push_str(&"ENV A=$A$A\n".repeat(30));
    assert!(matches!(refused(&growing), Error::Step { .. }));
    for file in
        ["", "RUN x\n", "FROM base\nCOPY --from=b a /\nFROM base AS b\nCOPY --from=0 a /\n", "FROM base AS\n"]
    {
        refused(file);
    }
    // a circle of stages
    let error = refused("FROM b AS a\nFROM a AS b\nCOPY --from=a x /\n");
    assert!(!error.to_string().is_empty());
    let mut many = "FROM scratch AS s0\n".to_owned();
    for at in 1..2000 {
        let _ = writeln!(many, "FROM s{} AS s{at}\nLABEL n={at}", at - 1);
    }
    let built = bench.build(&many).unwrap();
    assert_eq!(built.image.config.config.labels["n"], "1999");
}
