//! Does one path so many times, for a program that counts what it costs: `count PATH TIMES`, `count --list`.
#![forbid(unsafe_code)]

use benches::{PATHS, Scale};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--list"] => PATHS.iter().for_each(|(name, _)| println!("{name}")),
        [name, times] => {
            let (_, prepare) =
                PATHS.iter().find(|(known, _)| known == name).ok_or_else(|| format!("no path {name:?}"))?;
            let place = tempfile::tempdir()?;
            let mut path = prepare(Scale(1), place.path());
            for _ in 0..times.parse::<u32>()? {
                path.run();
            }
        }
        _ => return Err("usage: count PATH TIMES | count --list".into()),
    }
    Ok(())
}
