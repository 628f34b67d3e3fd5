//! Prints a project as `docker compose config` does: `config FILE…`.
use std::collections::BTreeMap;

use compose_model::{Loader, SystemFiles};

fn main() {
    let paths: Vec<String> = std::env::args().skip(1).collect();
    let environment: BTreeMap<String, String> = std::env::vars().collect();
    let files = SystemFiles::anywhere();
    let loaded = Loader::new(&files).environment(environment).load(&paths);
    for finding in &loaded.diagnostics {
        eprintln!("{}", finding.render(&loaded.sources));
    }
    if loaded.is_ok() {
        print!("{}", loaded.project.to_yaml());
    } else {
        std::process::exit(1);
    }
}
