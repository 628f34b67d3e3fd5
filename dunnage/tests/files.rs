//! The command line about files that people write: Dockerfiles and Compose files.

use std::path::Path;
use std::process::{Command, Output, Stdio};

fn dunnage(directory: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dunnage"));
    command.args(args).current_dir(directory).stdin(Stdio::null()).env_remove("TAG");
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_compose_file_is_found_and_shown_and_what_is_wrong_is_said_with_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let below = directory.path().join("below");
    std::fs::create_dir(&below).unwrap();
    let file = directory.path().join("compose.yaml");
    std::fs::write(
        &file,
        "services:\n  web:\n    image: nginx:${TAG:-1}\n    depends_on: [db]\n  db:\n    image: redis\n",
    )
    .unwrap();
    let config = dunnage(&below, &["compose", "config"]);
    assert!(config.status.success(), "{}", text(&config.stderr));
    assert!(text(&config.stdout).contains("image: nginx:1"), "{}", text(&config.stdout));
    let as_written = text(&dunnage(&below, &["compose", "config", "--no-interpolate"]).stdout);
    assert!(as_written.contains("nginx:${TAG:-1}"), "{as_written}");
    let services = text(&dunnage(&below, &["compose", "config", "--services"]).stdout);
    let mut names: Vec<&str> = services.lines().collect();
    names.sort_unstable();
    assert_eq!(names, ["db", "web"]);
    let json: serde_json::Value =
        serde_json::from_slice(&dunnage(&below, &["compose", "config", "--format", "json"]).stdout).unwrap();
    assert_eq!(json["services"]["db"]["image"], "redis");
    assert!(text(&dunnage(&below, &["compose", "graph"]).stdout).contains("web"));
    std::fs::write(&file, "services:\n  web:\n    imagee: nginx\n").unwrap();
    let wrong = dunnage(&below, &["compose", "config", "-q"]);
    assert_eq!(wrong.status.code(), Some(1));
    let said = text(&wrong.stderr);
    assert!(said.contains("compose.yaml:3:5") && said.contains("did you mean `image`"), "{said}");
    let nothing = dunnage(Path::new("/"), &["compose", "config"]);
    assert!(text(&nothing.stderr).contains("compose.yaml"), "{}", text(&nothing.stderr));
}

#[test]
fn a_dockerfile_is_checked_shaped_and_drawn() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join("Dockerfile"),
        "from alpine AS base\nENTERPOINT [\"/x\"]\nFROM base\nCMD echo hi\n",
    )
    .unwrap();
    let lint = dunnage(directory.path(), &["dockerfile", "lint"]);
    let said = text(&lint.stdout) + &text(&lint.stderr);
    assert!(
        !lint.status.success() && said.contains("UnknownInstruction") && said.contains("ENTRYPOINT"),
        "{said}"
    );
    let shaped = text(&dunnage(directory.path(), &["dockerfile", "fmt"]).stdout);
    assert!(shaped.contains("FROM alpine AS base"), "{shaped}");
    let graph = text(&dunnage(directory.path(), &["dockerfile", "graph"]).stdout);
    assert!(graph.contains("base"), "{graph}");
    let tree: Result<serde_json::Value, _> =
        serde_json::from_slice(&dunnage(directory.path(), &["dockerfile", "ast", "--format", "json"]).stdout);
    assert!(tree.is_ok());
}
