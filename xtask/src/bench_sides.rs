//! Sides of a comparison that are lines for the shell, and the rounds in which each side works once.

use crate::Failure;
use crate::bench::Worker;
use crate::bench_table::Comparison;

/// One way to do a piece of work: what is done before it, which does not count, and it.
pub(crate) struct Side {
    pub(crate) name: &'static str,
    pub(crate) peer: bool,
    pub(crate) before: String,
    pub(crate) work: String,
}

/// What the command line of such a bench says.
pub(crate) struct Options {
    pub(crate) rounds: u32,
    /// The namespaces are made.
    pub(crate) inside: bool,
    /// A part of the titles of what is measured; all if empty.
    pub(crate) only: String,
    /// An archive of `docker save` that is measured instead of the image made here; none if empty.
    pub(crate) archive: String,
}

impl Options {
    /// Reads the words after `bench NAME`, which takes `usual` rounds, and few of them with `--quick`.
    pub(crate) fn read(name: &str, words: &[&str], usual: u32, few: u32) -> Result<Self, Failure> {
        let mut options = Self { rounds: usual, inside: false, only: String::new(), archive: String::new() };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--quick" => options.rounds = few,
                "--rounds" => options.rounds = words.next().ok_or("--rounds wants a number")?.parse()?,
                "--only" => options.only.push_str(words.next().ok_or("--only wants a word of a title")?),
                "--archive" if name == "image" => {
                    options.archive.push_str(words.next().ok_or("--archive wants a file")?);
                }
                "--inside" => options.inside = true,
                other => return Err(format!("bench {name}: {other:?} is not known").into()),
            }
        }
        if options.rounds == 0 {
            return Err("--rounds 0 measures nothing".into());
        }
        Ok(options)
    }
}

/// Each round runs every side once, and shows the milliseconds; the first round warms up and is not counted.
pub(crate) fn interleave<S>(
    title: &str,
    sides: &[S],
    aims: &[f64],
    rounds: u32,
    name: impl Fn(&S) -> &str,
    mut time: impl FnMut(&S) -> Result<f64, Failure>,
) -> Comparison {
    let names = sides.iter().map(|side| name(side).to_owned()).collect();
    let mut comparison = Comparison::new(title, names, aims);
    println!("{title}: {rounds} rounds");
    for round in 0..=rounds {
        let row: Result<Vec<f64>, Failure> = sides.iter().map(&mut time).collect();
        match row {
            Ok(row) => {
                println!("  {row:.1?}");
                if round > 0 {
                    comparison.rows.push(row);
                }
            }
            Err(failure) => {
                comparison.error = Some(failure.to_string());
                break;
            }
        }
    }
    comparison
}

/// Runs what is before a side's work, then times the work; with `sync`, all that was written is on the disk in between.
pub(crate) fn time(side: &Side, sync: bool, ours: &mut Worker, peers: &mut Worker) -> Result<f64, Failure> {
    let worker = if side.peer { peers } else { ours };
    let before = if side.before.is_empty() { ":" } else { &side.before };
    let line = if sync { format!("{before}; sync") } else { before.to_owned() };
    // what is to be removed may not be there the first time
    let _ = worker.shell(&line);
    worker.shell(&side.work)
}
