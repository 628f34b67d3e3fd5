//! The floors of the house: a crate depends on lower floors only, and leaves on no crate of the suite.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

fn floor(name: &str) -> Option<u8> {
    Some(match name {
        "container-ns" | "container-cgroup" | "container-image" | "container-net" | "container-volume"
        | "dockerfile-parser" | "compose-model" => 1,
        "container-runtime" | "container-build" => 2,
        "container-engine" => 3,
        "dunnage" => 4,
        // what looks at all of them, and that nothing is built on
        "benches" | "fuzz" => 5,
        _ => return None,
    })
}

/// Members of the workspace with what they depend on, and whether it is for tests only.
fn members() -> BTreeMap<String, Vec<(String, bool)>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo metadata");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("json");
    let packages = metadata["packages"].as_array().expect("packages");
    let text = |value: &Value| value.as_str().expect("a name").to_owned();
    let needs = |package: &Value| -> Vec<(String, bool)> {
        let all = package["dependencies"].as_array().expect("dependencies");
        all.iter().map(|need| (text(&need["name"]), need["kind"].as_str() == Some("dev"))).collect()
    };
    packages.iter().map(|package| (text(&package["name"]), needs(package))).collect()
}

#[test]
fn a_crate_depends_on_lower_floors_only() {
    let members = members();
    for (name, needs) in &members {
        if name == "xtask" {
            continue;
        }
        let own = floor(name)
            .unwrap_or_else(|| panic!("{name} has no floor: give it one in xtask/tests/floors.rs"));
        for (need, _) in needs.iter().filter(|(need, dev)| !dev && members.contains_key(need)) {
            assert!(
                floor(need).is_some_and(|of| of < own),
                "{name} (floor {own}) depends on {need} ({:?})",
                floor(need)
            );
        }
    }
    assert!(members.len() > 8, "cargo metadata tells of {} crates only", members.len());
}

#[test]
fn nothing_depends_on_xtask_and_xtask_on_no_crate_of_the_suite() {
    let members = members();
    for (name, needs) in &members {
        for (need, _) in needs.iter().filter(|(need, _)| members.contains_key(need)) {
            assert!(name != "xtask" && need != "xtask", "{name} depends on {need}");
        }
    }
}

#[test]
fn dependencies_of_tests_make_no_cycle() {
    let members = members();
    for name in members.keys() {
        let mut open: Vec<&str> = vec![name];
        let mut seen: Vec<&str> = Vec::new();
        while let Some(next) = open.pop() {
            for (need, _) in members.get(next).into_iter().flatten() {
                assert!(need != name, "{name} needs itself through {next}");
                if members.contains_key(need) && !seen.contains(&need.as_str()) {
                    seen.push(need);
                    open.push(need);
                }
            }
        }
    }
}
