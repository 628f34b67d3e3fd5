//! What a build is doing: lines, or steps that are redrawn in place.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use container_engine::{BuildEvent, Reference};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::human;

/// How a build is shown.
pub(crate) enum Shown {
    Lines(Lines<io::Stderr>),
    Screen(Screen),
}

impl Shown {
    pub(crate) fn new(quiet: bool, redrawn: bool) -> Self {
        if redrawn && !quiet {
            Self::Screen(Screen::new())
        } else {
            Self::Lines(Lines::new(io::stderr(), quiet))
        }
    }

    pub(crate) fn event(&self, event: BuildEvent<'_>) {
        match self {
            Self::Lines(lines) => lines.event(event),
            Self::Screen(screen) => screen.event(event),
        }
    }

    /// The image is there.
    pub(crate) fn exported(&self, id: &str, names: &[Reference]) {
        match self {
            Self::Lines(lines) => lines.exported(id, names),
            Self::Screen(screen) => screen.exported(id, names),
        }
    }
}

/// Redraws the steps that are under way, each with its last line; those that are over stay as a line.
pub(crate) struct Screen {
    all: MultiProgress,
    steps: Mutex<BTreeMap<usize, Drawn>>,
}

struct Drawn {
    name: String,
    begin: Instant,
    bar: ProgressBar,
    rest: Vec<u8>,
    last: VecDeque<String>,
}

impl Screen {
    fn new() -> Self {
        Self { all: MultiProgress::new(), steps: Mutex::default() }
    }

    fn steps(&self) -> MutexGuard<'_, BTreeMap<usize, Drawn>> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line that stays.
    fn say(&self, text: &str) {
        // a terminal that went away does not stop what is going on
        let _ = self.all.println(text);
    }

    fn end(&self, step: usize, how: &str) -> Option<Drawn> {
        let drawn = self.steps().remove(&step)?;
        drawn.bar.finish_and_clear();
        self.all.remove(&drawn.bar);
        self.say(&format!(" => {how} {}", drawn.name));
        Some(drawn)
    }

    fn event(&self, event: BuildEvent<'_>) {
        match event {
            BuildEvent::Begin { step, name } => {
                let name = human::plain(name);
                let bar = self.all.add(ProgressBar::new_spinner());
                let style = ProgressStyle::with_template(" => {prefix} {elapsed}\n    {wide_msg}");
                bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
                bar.set_prefix(name.clone());
                bar.enable_steady_tick(Duration::from_millis(200));
                let drawn =
                    Drawn { name, begin: Instant::now(), bar, rest: Vec::new(), last: VecDeque::new() };
                self.steps().insert(step, drawn);
            }
            BuildEvent::Cached { step } => {
                self.end(step, "CACHED");
            }
            BuildEvent::Done { step, elapsed } => {
                self.end(step, &format!("{:.1}s", elapsed.as_secs_f64()));
            }
            BuildEvent::Failed { step, .. } => {
                let Some(mut drawn) = self.end(step, "ERROR") else { return };
                if !drawn.rest.is_empty() {
                    drawn.last.push_back(line(step, drawn.begin, &drawn.rest));
                }
                for text in drawn.last {
                    self.say(&text);
                }
            }
            BuildEvent::Output { step, bytes } => {
                let mut steps = self.steps();
                let Some(drawn) = steps.get_mut(&step) else { return };
                drawn.rest.extend_from_slice(bytes);
                while let Some(end) = drawn.rest.iter().position(|byte| *byte == b'\n') {
                    let whole: Vec<u8> = drawn.rest.drain(..=end).collect();
                    let text = line(step, drawn.begin, &whole);
                    drawn.bar.set_message(text.clone());
                    if drawn.last.len() == LAST {
                        drawn.last.pop_front();
                    }
                    drawn.last.push_back(text);
                }
                if drawn.rest.len() > LONGEST {
                    drawn.rest.clear();
                }
            }
            BuildEvent::Warning { text } => self.say(&format!("warning: {}", human::plain(text))),
            _ => {}
        }
    }

    fn exported(&self, id: &str, names: &[Reference]) {
        self.say(&format!(" => writing image {id}"));
        for name in names {
            self.say(&format!(" => naming to {name}"));
        }
    }
}

/// Shows a build line by line.
pub(crate) struct Lines<W> {
    state: Mutex<State<W>>,
    quiet: bool,
}

struct State<W> {
    output: W,
    steps: BTreeMap<usize, Step>,
    highest: usize,
}

struct Step {
    begin: Instant,
    /// What was written and is no whole line yet.
    rest: Vec<u8>,
    /// The last lines, for a build that is not shown and fails.
    last: VecDeque<String>,
}

/// So many lines of a failed step are shown where its output was not.
const LAST: usize = 20;
/// A line without end is shown in pieces of so many bytes.
const LONGEST: usize = 16 << 10;

impl<W: Write> Lines<W> {
    fn new(output: W, quiet: bool) -> Self {
        Self { state: Mutex::new(State { output, steps: BTreeMap::new(), highest: 0 }), quiet }
    }

    fn event(&self, event: BuildEvent<'_>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { output, steps, highest } = &mut *state;
        // a reader that went away does not stop what is going on
        let mut say = |text: String| {
            if !self.quiet {
                let _ = writeln!(output, "{text}");
            }
        };
        match event {
            BuildEvent::Begin { step, name } => {
                *highest = step.max(*highest);
                say(format!("#{step} {}", human::plain(name)));
                steps.insert(step, Step { begin: Instant::now(), rest: Vec::new(), last: VecDeque::new() });
            }
            BuildEvent::Cached { step } => {
                steps.remove(&step);
                say(format!("#{step} CACHED\n"));
            }
            BuildEvent::Done { step, elapsed } => {
                if let Some(Step { begin, rest, .. }) = steps.remove(&step)
                    && !rest.is_empty()
                {
                    say(line(step, begin, &rest));
                }
                say(format!("#{step} DONE {:.1}s\n", elapsed.as_secs_f64()));
            }
            BuildEvent::Failed { step, reason } => {
                let mut last = VecDeque::new();
                if let Some(Step { begin, rest, last: lines }) = steps.remove(&step) {
                    last = lines;
                    if !rest.is_empty() {
                        let text = line(step, begin, &rest);
                        last.push_back(text.clone());
                        say(text);
                    }
                }
                if self.quiet {
                    for text in last {
                        let _ = writeln!(output, "{text}");
                    }
                }
                let reason = reason.lines().next_back().unwrap_or_default();
                if !self.quiet {
                    let _ = writeln!(output, "#{step} ERROR: {}\n", human::plain(reason));
                }
            }
            BuildEvent::Output { step, bytes } => {
                let Some(Step { begin, rest, last }) = steps.get_mut(&step) else { return };
                rest.extend_from_slice(bytes);
                while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                    let whole: Vec<u8> = rest.drain(..=end).collect();
                    let text = line(step, *begin, &whole);
                    if last.len() == LAST {
                        last.pop_front();
                    }
                    last.push_back(text.clone());
                    say(text);
                }
                if rest.len() > LONGEST {
                    let piece = std::mem::take(rest);
                    say(line(step, *begin, &piece));
                }
            }
            BuildEvent::Warning { text } => say(format!("warning: {}", human::plain(text))),
            _ => {}
        }
    }

    fn exported(&self, id: &str, names: &[Reference]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if self.quiet {
            return;
        }
        let number = state.highest + 1;
        let _ = writeln!(state.output, "#{number} exporting to image\n#{number} writing image {id}");
        for name in names {
            let _ = writeln!(state.output, "#{number} naming to {name}");
        }
        let _ = writeln!(state.output, "#{number} DONE");
    }
}

/// A line of a step's output. What would steer a terminal is taken out.
fn line(step: usize, begin: Instant, bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end_matches(['\n', '\r']);
    let shown: String = text.chars().filter(|letter| *letter == '\t' || !letter.is_control()).collect();
    format!("#{step} {:.3} {shown}", begin.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steps_write_is_shown_by_whole_lines_without_control_characters() {
        let lines = Lines::new(Vec::new(), false);
        lines.event(BuildEvent::Begin { step: 1, name: "[1/1] RUN \u{1b}[31mx" });
        lines.event(BuildEvent::Output { step: 1, bytes: b"one\ntw" });
        lines.event(BuildEvent::Output { step: 1, bytes: b"o\x1b]0;x\x07\n" });
        lines.event(BuildEvent::Done { step: 1, elapsed: std::time::Duration::from_millis(1234) });
        let text = String::from_utf8(lines.state.into_inner().unwrap().output).unwrap();
        assert!(!text.contains('\u{1b}'), "{text:?}");
        let found: Vec<&str> = text.lines().collect();
        assert!(found[1].starts_with("#1 0.") && found[1].ends_with(" one"), "{text}");
        assert!(found[2].ends_with(" two]0;x"), "{text}");
        assert_eq!(found[3], "#1 DONE 1.2s");
    }
}
