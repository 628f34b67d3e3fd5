//! `bench` without a name: every comparison, and one report of them in `target/bench-report`: `report.md` and `report.svg`.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::bench_table::{Comparison, Line};
use crate::workspace::Workspace;
use crate::{Failure, bench, bench_build, bench_image, bench_network};

type Bench = fn(&[&str]) -> Result<bool, Failure>;

const BENCHES: [(&str, Bench); 4] = [
    ("runtime", bench::run),
    ("image", bench_image::run),
    ("build", bench_build::run),
    ("network", bench_network::run),
];

/// The command: runs all, and reports what is there even if one did not get to its end.
pub(crate) fn run(options: &[&str]) -> Result<bool, Failure> {
    let workspace = Workspace::find()?;
    let mut fine = true;
    for (name, bench) in BENCHES {
        println!("bench {name}");
        match bench(options) {
            Ok(ended) => fine &= ended,
            Err(failure) => {
                println!("bench {name}: {failure}");
                fine = false;
            }
        }
    }
    let report = write(&workspace)?;
    println!("report: {}", report.display());
    Ok(fine)
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("bench-report")
}

/// Keeps what a bench has measured, for the report.
pub(crate) fn keep(workspace: &Workspace, name: &str, comparisons: &[Comparison]) -> Result<(), Failure> {
    let lines: Vec<Value> =
        comparisons.iter().flat_map(Comparison::lines).map(|line| line.to_json()).collect();
    fs::create_dir_all(folder(workspace))?;
    let text = serde_json::to_string_pretty(&json!({ "machine": machine(), "lines": lines }))?;
    fs::write(folder(workspace).join(name).with_extension("json"), text)?;
    Ok(())
}

/// Where and when: the figures mean nothing without.
fn machine() -> String {
    let said = |program: &str, words: &[&str]| {
        let output = Command::new(program).args(words).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
    };
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{}, {}, {cores} cores, Linux {}, commit {}",
        said("date", &["-u", "+%F %H:%M UTC"]),
        model.trim_start_matches(['\t', ' ', ':']),
        said("uname", &["-r"]),
        said("git", &["rev-parse", "--short", "HEAD"]),
    )
}

/// One report of all that was kept, and where it is.
fn write(workspace: &Workspace) -> Result<PathBuf, Failure> {
    let mut text = String::from(
        "# dunnage beside its peers\n\nWhole programs, round by round: a ratio is our time over the peer's in the same round, the median of all \
         rounds; below 1 we are faster. `cargo xtask bench` makes this report.\n",
    );
    let mut bars = Vec::new();
    for (name, _) in BENCHES {
        let Ok(kept) = fs::read_to_string(folder(workspace).join(name).with_extension("json")) else {
            writeln!(text, "\n## {name}\n\nNot measured.")?;
            continue;
        };
        let kept: Value = serde_json::from_str(&kept)?;
        let machine = kept["machine"].as_str().unwrap_or_default();
        writeln!(
            text,
            "\n## {name}\n\n{machine}\n\n| work | side | ms | middle half | ratio | middle half | aim |\n|---|---|--:|--:|--:|--:|--:|"
        )?;
        for line in kept["lines"].as_array().into_iter().flatten().map(Line::of_json) {
            writeln!(text, "{}", line.markdown())?;
            if !line.ratio.median.is_nan() {
                bars.push(line);
            }
        }
    }
    text.push_str("\n![ratios](report.svg)\n");
    fs::write(folder(workspace).join("report.svg"), plot(&bars)?)?;
    let report = folder(workspace).join("report.md");
    fs::write(&report, text)?;
    Ok(report)
}

/// A bar for each ratio; the line is where we would be as fast, the mark where the aim is.
fn plot(lines: &[Line]) -> Result<String, std::fmt::Error> {
    const LEFT: f64 = 330.0;
    const ONE: f64 = 300.0;
    let height = lines.len() * 22 + 40;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"800\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"800\" height=\"{height}\" fill=\"white\"/>\n<text x=\"{LEFT}\" y=\"16\">our time over the peer's</text>\n"
    );
    for (at, line) in lines.iter().enumerate() {
        let y = at * 22 + 28;
        let width = (line.ratio.median * ONE).min(420.0);
        writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{} / {}</text><rect x=\"{LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"14\" \
             fill=\"#4a7ab5\"/><text x=\"{:.1}\" y=\"{}\">{:.2}</text>",
            LEFT - 8.0,
            y + 11,
            line.title,
            line.side,
            LEFT + width + 5.0,
            y + 11,
            line.ratio.median,
        )?;
        if line.aim <= 1.4 {
            let x = LEFT + line.aim * ONE;
            writeln!(
                svg,
                "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{}\" y2=\"{}\" stroke=\"#c04040\" stroke-width=\"2\"/>",
                y - 2,
                y + 16
            )?;
        }
    }
    let one = LEFT + ONE;
    writeln!(
        svg,
        "<line x1=\"{one}\" x2=\"{one}\" y1=\"22\" y2=\"{}\" stroke=\"#888\" stroke-dasharray=\"4 3\"/>\n</svg>",
        height - 12
    )?;
    Ok(svg)
}
