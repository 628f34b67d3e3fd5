//! `testdata/CASE/input` gives `testdata/CASE/expected`: the tree, and what is wrong with it.
//!
//! `REFRESH_TESTDATA=1 cargo test -p dockerfile-parser --test testdata` writes the expected files anew; read the
//! difference before it is committed.

use std::fs;
use std::path::Path;

use dockerfile_parser::parse;

fn outcome(source: &[u8]) -> String {
    let file = parse(source);
    let graph = file.graph();
    let mut diagnostics = file.diagnostics().to_vec();
    diagnostics.extend(graph.diagnostics().iter().cloned());
    format!("{}\n{}", file.ast(), file.report_text("input", &diagnostics))
}

#[test]
fn every_case_parses_as_expected() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let refresh = std::env::var_os("REFRESH_TESTDATA").is_some();
    let mut cases: Vec<_> =
        fs::read_dir(&root).expect("testdata is there").flatten().map(|entry| entry.path()).collect();
    cases.retain(|path| path.is_dir());
    cases.sort();
    assert!(cases.len() >= 60, "only {} cases", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let input = fs::read(case.join("input")).expect("a case has an input");
        let got = outcome(&input);
        let path = case.join("expected");
        if refresh {
            fs::write(&path, &got).expect("testdata can be written");
        } else if fs::read_to_string(&path).ok().as_deref() != Some(&*got) {
            wrong.push(format!("{}:\n{got}", case.display()));
        }
        assert_eq!(parse(&input).tree().print(), input, "{}", case.display());
    }
    assert!(wrong.is_empty(), "{} cases differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_row_of_the_table_has_its_case() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let table = fs::read_to_string(root.join("README.md")).expect("the table is there");
    let mut named = std::collections::BTreeSet::new();
    for row in table.lines().filter(|row| row.starts_with("| ")).skip(1) {
        let cases = row.rsplit('|').nth(1).unwrap_or_default();
        for case in cases.split('`').skip(1).step_by(2) {
            assert!(root.join(case).join("input").is_file(), "{case} is in the table only");
            named.insert(case.to_owned());
        }
    }
    for entry in
        fs::read_dir(&root).expect("testdata is there").flatten().filter(|entry| entry.path().is_dir())
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        assert!(named.contains(&name), "{name} is not in the table");
    }
}
