//! What rounds of timings say, and the table of it.

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

impl Comparison {
    pub(crate) fn new(title: &str, names: Vec<String>, aims: &[f64]) -> Self {
        Self { title: title.to_owned(), names, aims: aims.to_vec(), rows: Vec::new(), error: None }
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

/// The middle, and the middle half around it.
#[derive(Debug, PartialEq)]
struct Spread {
    low: f64,
    median: f64,
    high: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |quarter: usize| values.get((values.len().saturating_sub(1) * quarter + 2) / 4).copied();
        let at = |quarter| at(quarter).unwrap_or(f64::NAN);
        Self { low: at(1), median: at(2), high: at(3) }
    }
}

pub(crate) fn print_comparisons(comparisons: &[Comparison]) {
    println!(
        "{:<26} {:<16} {:>9} {:>17} {:>7} {:>13} {:>6}",
        "work", "side", "ms", "middle half", "ratio", "middle half", "aim"
    );
    for comparison in comparisons {
        for (side, name) in comparison.names.iter().enumerate() {
            let time = comparison.column(side);
            let title = if side == 0 { comparison.title.as_str() } else { "" };
            print!("{title:<26} {name:<16} {:>9.2} {:>8.2} {:>8.2}", time.median, time.low, time.high);
            if side > 0 {
                let ratio = comparison.ratio(side);
                let aim = comparison.aims.get(side - 1).copied().unwrap_or(f64::NAN);
                let met = if ratio.median <= aim { "" } else { "  missed" };
                print!(" {:>7.2} {:>6.2} {:>6.2} {aim:>6.2}{met}", ratio.median, ratio.low, ratio.high);
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
    use super::{Comparison, Spread};

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
}
