//! What rounds of timings say, and the table of it.

use serde_json::{Value, json};

/// The first side against each other one.
pub(crate) struct Comparison {
    title: String,
    names: Vec<String>,
    /// What the ratio of each other side is aimed at, at most.
    aims: Vec<f64>,
    /// Milliseconds, a row a round, a column a side.
    pub(crate) rows: Vec<Vec<f64>>,
    /// Why it was not measured to the end.
    pub(crate) error: Option<String>,
}

/// One side of a comparison; the first has neither ratio nor aim, which are not numbers then.
pub(crate) struct Line {
    pub(crate) title: String,
    pub(crate) side: String,
    /// Milliseconds.
    pub(crate) time: Spread,
    /// The first side's time over this one's, round by round.
    pub(crate) ratio: Spread,
    pub(crate) aim: f64,
}

/// The middle, and the middle half around it.
#[derive(Debug, PartialEq, Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
}

impl Comparison {
    pub(crate) fn new(title: &str, names: Vec<String>, aims: &[f64]) -> Self {
        Self { title: title.to_owned(), names, aims: aims.to_vec(), rows: Vec::new(), error: None }
    }

    /// A line a side.
    pub(crate) fn lines(&self) -> Vec<Line> {
        let line = |(side, name): (usize, &String)| Line {
            title: self.title.clone(),
            side: name.clone(),
            time: self.column(side),
            ratio: if side == 0 { Spread::of(Vec::new()) } else { self.ratio(side) },
            aim: side.checked_sub(1).and_then(|at| self.aims.get(at)).copied().unwrap_or(f64::NAN),
        };
        self.names.iter().enumerate().map(line).collect()
    }

    fn column(&self, side: usize) -> Spread {
        Spread::of(self.rows.iter().filter_map(|row| row.get(side).copied()).collect())
    }

    /// The first side's time over another's, round by round.
    fn ratio(&self, side: usize) -> Spread {
        let ratios = self.rows.iter().filter_map(|row| Some(row.first()? / row.get(side)?));
        Spread::of(ratios.collect())
    }
}

impl Line {
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "work": self.title, "side": self.side, "ms": self.time.to_json(), "ratio": self.ratio.to_json(), "aim": self.aim,
        })
    }

    pub(crate) fn of_json(value: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            title: text(&value["work"]),
            side: text(&value["side"]),
            time: Spread::of_json(&value["ms"]),
            ratio: Spread::of_json(&value["ratio"]),
            aim: value["aim"].as_f64().unwrap_or(f64::NAN),
        }
    }

    /// A row of a table in Markdown.
    pub(crate) fn markdown(&self) -> String {
        let Spread { low, median, high } = self.time;
        let time = format!("| {} | {} | {median:.2} | {low:.2} to {high:.2} |", self.title, self.side);
        if self.ratio.median.is_nan() {
            return time + " | | |";
        }
        let Spread { low, median, high } = self.ratio;
        format!("{time} {median:.2} | {low:.2} to {high:.2} | {:.2}{} |", self.aim, self.missed())
    }

    fn missed(&self) -> &'static str {
        if self.ratio.median <= self.aim { "" } else { " missed" }
    }
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |quarter: usize| values.get((values.len().saturating_sub(1) * quarter + 2) / 4).copied();
        let at = |quarter| at(quarter).unwrap_or(f64::NAN);
        Self { low: at(1), median: at(2), high: at(3) }
    }

    /// Numbers that are none become null.
    fn to_json(self) -> Value {
        json!([self.low, self.median, self.high])
    }

    fn of_json(value: &Value) -> Self {
        let at = |place: usize| value[place].as_f64().unwrap_or(f64::NAN);
        Self { low: at(0), median: at(1), high: at(2) }
    }
}

pub(crate) fn print_comparisons(comparisons: &[Comparison]) {
    println!(
        "{:<26} {:<16} {:>9} {:>17} {:>7} {:>13} {:>6}",
        "work", "side", "ms", "middle half", "ratio", "middle half", "aim"
    );
    for comparison in comparisons {
        for (side, line) in comparison.lines().iter().enumerate() {
            let Line { time, ratio, aim, .. } = line;
            let title = if side == 0 { comparison.title.as_str() } else { "" };
            print!("{title:<26} {:<16} {:>9.2} {:>8.2} {:>8.2}", line.side, time.median, time.low, time.high);
            if side > 0 {
                print!(
                    " {:>7.2} {:>6.2} {:>6.2} {aim:>6.2} {}",
                    ratio.median,
                    ratio.low,
                    ratio.high,
                    line.missed()
                );
            }
            println!();
        }
        if let Some(error) = &comparison.error {
            println!("  not measured to the end: {error}");
        }
    }
    println!("ratio: our time over the peer's in the same round, so that below 1 we are faster");
}

#[cfg(test)]
mod tests {
    use super::{Comparison, Line, Spread};

    #[test]
    fn the_ratio_is_taken_round_by_round() {
        let mut comparison = Comparison::new("t", vec!["a".to_owned(), "b".to_owned()], &[1.0]);
        comparison.rows = vec![vec![1.0, 2.0], vec![30.0, 60.0], vec![5.0, 10.0]];
        assert_eq!(comparison.ratio(1), Spread { low: 0.5, median: 0.5, high: 0.5 });
    }

    #[test]
    fn the_middle_half_of_five_is_the_second_to_the_fourth() {
        let spread = Spread::of(vec![5.0, 1.0, 4.0, 2.0, 3.0]);
        assert_eq!(spread, Spread { low: 2.0, median: 3.0, high: 4.0 });
    }

    #[test]
    fn what_is_kept_reads_back_to_the_same_row() {
        let mut comparison = Comparison::new("t", vec!["a".to_owned(), "b".to_owned()], &[0.4]);
        comparison.rows = vec![vec![1.0, 2.0]];
        let rows: Vec<String> =
            comparison.lines().iter().map(|line| Line::of_json(&line.to_json()).markdown()).collect();
        assert_eq!(
            rows,
            [
                "| t | a | 1.00 | 1.00 to 1.00 | | | |",
                "| t | b | 2.00 | 2.00 to 2.00 | 0.50 | 0.50 to 0.50 | 0.40 missed |"
            ]
        );
    }
}
