//! Sides of a comparison that are lines for the shell, and the rounds in which each side works once.

use crate::Failure;
use crate::bench_house::Peers;
use crate::bench_report::keep;
use crate::bench_table::{Comparison, print_comparisons};
use crate::workspace::Workspace;

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
    /// The words that say the same to the program inside.
    pub(crate) fn words(&self) -> Result<Vec<String>, Failure> {
        let mut words =
            vec!["--rounds".to_owned(), self.rounds.to_string(), "--only".to_owned(), self.only.clone()];
        if !self.archive.is_empty() {
            let archive = std::fs::canonicalize(&self.archive)?;
            words.extend(["--archive".to_owned(), archive.display().to_string()]);
        }
        Ok(words)
    }

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

/// The comparisons of a bench, made one after the other.
pub(crate) struct Rounds {
    options: Options,
    comparisons: Vec<Comparison>,
}

impl Rounds {
    pub(crate) fn new(options: Options) -> Self {
        Self { options, comparisons: Vec::new() }
    }

    /// Whether a piece of work was asked for.
    pub(crate) fn wants(&self, title: &str) -> bool {
        title.contains(&self.options.only)
    }

    /// Compares the first side with the others, if it was asked for.
    pub(crate) fn compare(
        &mut self,
        title: &str,
        sides: &[Side],
        aims: &[f64],
        sync: bool,
        peers: &mut Peers,
    ) {
        if self.wants(title) {
            let run = |side: &Side| time(side, sync, peers);
            self.comparisons.push(interleave(title, sides, aims, self.options.rounds, |side| side.name, run));
        }
    }

    /// Prints the table and keeps it for the report; whether all was measured to its end.
    pub(crate) fn close(&self, workspace: &Workspace, name: &str) -> Result<bool, Failure> {
        println!();
        print_comparisons(&self.comparisons);
        keep(workspace, name, &self.comparisons)?;
        Ok(self.comparisons.iter().all(|comparison| comparison.error.is_none()))
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
fn time(side: &Side, sync: bool, peers: &mut Peers) -> Result<f64, Failure> {
    let worker = peers.worker(side.peer);
    let before = if side.before.is_empty() { ":" } else { &side.before };
    let line = if sync { format!("{before}; sync") } else { before.to_owned() };
    // what is to be removed may not be there the first time
    let _ = worker.shell(&line);
    worker.shell(&side.work)
}
