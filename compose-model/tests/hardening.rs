//! Attack 32: files that are made to cost much. Each ends in an answer or an error, in bounded time and memory.
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use compose_model::plan::{Observed, PlanOptions, plan};
use compose_model::yaml::Budget;
use compose_model::{Error, Files, Loaded, Loader, MemoryFiles, SystemFiles};

/// A limit that no case comes near on an idle machine; the loaded one needs room.
const BOUND: Duration = Duration::from_secs(20);

fn load(text: impl Into<Vec<u8>>) -> Loaded {
    load_files(&MemoryFiles::new().with("/p/compose.yaml", text.into()))
}

fn load_files(files: &dyn Files) -> Loaded {
    let begin = Instant::now();
    let loaded = Loader::new(files).load(&["/p/compose.yaml"]);
    assert!(begin.elapsed() < BOUND, "it took {:?}", begin.elapsed());
    loaded
}

#[track_caller]
fn refused(loaded: &Loaded, word: &str) {
    let findings: Vec<String> = loaded.errors().take(5).map(ToString::to_string).collect();
    assert!(findings.iter().any(|finding| finding.contains(word)), "{word}: {findings:?}");
}

#[test]
fn billion_laughs_by_anchors_is_refused() {
    let mut text = "x-0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for level in 1..30 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        writeln!(text, "x-{level}: &a{level} [{aliases}]").unwrap();
    }
    refused(&load(text + "services: {a: {image: i}}\n"), "budget");
}

#[test]
fn billion_laughs_by_merge_keys_is_refused() {
    let mut text = "x-0: &a0 {k0: lol}\n".to_owned();
    for level in 1..40 {
        let before = level - 1;
        writeln!(text, "x-{level}: &a{level} {{a: *a{before}, b: *a{before}, <<: *a{before}, k{level}: x}}")
            .unwrap();
    }
    refused(&load(text + "services: {a: {image: i}}\n"), "budget");
}

#[test]
fn a_long_text_that_is_named_often_is_refused() {
    let text = format!("x-a: &a {}\nx-b: [{}]\n", "y".repeat(1 << 20), vec!["*a"; 2000].join(", "));
    refused(&load(text), "budget");
}

#[test]
fn variables_that_hold_a_megabyte_and_are_named_often_are_refused() {
    let files = MemoryFiles::new().with(
        "/p/compose.yaml",
        format!("x-a: [{}]\nservices: {{a: {{image: i}}}}\n", vec!["$A"; 2000].join(", ")),
    );
    let loaded = Loader::new(&files).environment([("A", "y".repeat(1 << 19))]).load(&["/p/compose.yaml"]);
    refused(&loaded, "budget");
    let files = MemoryFiles::new()
        .with("/p/compose.yaml", format!("services: {{a: {{image: \"{}\"}}}}\n", "$A".repeat(10_000)));
    let loaded = Loader::new(&files).environment([("A", "y".repeat(1 << 19))]).load(&["/p/compose.yaml"]);
    refused(&loaded, "1 MiB");
}

#[test]
fn variables_of_a_file_that_double_each_other_are_refused() {
    let mut env = "A0=xxxxxxxx\n".to_owned();
    for level in 1..60 {
        writeln!(env, "A{level}=$A{0}$A{0}", level - 1).unwrap();
    }
    let files =
        MemoryFiles::new().with("/p/compose.yaml", "services: {a: {image: $A59}}\n").with("/p/.env", env);
    refused(&load_files(&files), "1 MiB");
}

#[test]
fn interpolation_that_nests_ten_thousand_deep_is_refused() {
    let deep = format!("{}x{}", "${A:-".repeat(10_000), "}".repeat(10_000));
    refused(&load(format!("services: {{a: {{image: '{deep}'}}}}\n")), "nested");
    refused(&load(format!("services: {{a: {{image: '{}'}}}}\n", "${A:-".repeat(100_000))), "nested");
}

#[test]
fn lists_and_mappings_that_nest_a_hundred_thousand_deep_are_refused() {
    for (open, close) in [("[", "]"), ("{a: ", "}")] {
        let text = format!("x-a: {}1{}\n", open.repeat(100_000), close.repeat(100_000));
        assert!(!load(text).is_ok());
    }
    let mut text = String::new();
    for level in 0..2000 {
        writeln!(text, "{}a:", " ".repeat(level)).unwrap();
    }
    refused(&load(text), "nested");
    assert!(!load("- ".repeat(50_000)).is_ok());
    assert!(!load("? ".repeat(50_000)).is_ok());
}

#[test]
fn a_circle_of_extends_is_named_and_a_chain_of_ten_thousand_is_followed() {
    let mut text = "services:\n  s0: {image: i, extends: s9999}\n".to_owned();
    for at in 1..10_000 {
        writeln!(text, "  s{at}: {{extends: s{}}}", at - 1).unwrap();
    }
    refused(&load(text.clone()), "circle");
    let loaded = load(text.replace(", extends: s9999", ""));
    assert!(loaded.is_ok(), "{:?}", loaded.errors().next());
    assert_eq!(loaded.project.services.get("s9999").unwrap().image.as_deref(), Some("i"));
}

#[test]
fn a_chain_of_extends_that_grows_is_refused() {
    let mut text = "services:\n  s0: {image: i}\n".to_owned();
    for at in 1..10_000 {
        writeln!(text, "  s{at}: {{extends: s{}, volumes: [/v{at}], labels: {{l{at}: x}}}}", at - 1).unwrap();
    }
    refused(&load(text), "budget");
}

/// Files that include or extend the next one without end.
struct Endless {
    reads: AtomicUsize,
    text: fn(usize) -> String,
}

impl Files for Endless {
    fn read(&self, path: &Path, _limit: usize) -> Result<Vec<u8>, Error> {
        if path.ends_with(".env") {
            return Err(Error::NotFound(path.to_owned()));
        }
        self.reads.fetch_add(1, Ordering::Relaxed);
        let number = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .and_then(|stem| stem.strip_prefix('f'))
            .and_then(|stem| stem.parse().ok());
        Ok((self.text)(number.unwrap_or(0)).into_bytes())
    }
}

#[test]
fn a_chain_of_includes_without_end_is_refused() {
    let files = Endless {
        reads: AtomicUsize::new(0),
        text: |at| format!("include: [f{}.yaml]\nservices: {{s{at}: {{image: i}}}}\n", at + 1),
    };
    refused(&load_files(&files), "more than 100 includes");
    assert!(files.reads.load(Ordering::Relaxed) <= 102);
}

#[test]
fn a_tree_of_includes_is_refused_by_the_number_of_files() {
    let files = Endless {
        reads: AtomicUsize::new(0),
        text: |at| {
            format!(
                "include: [f{0}.yaml, f{1}.yaml, f{2}.yaml]\n",
                at % 1_000_000 * 3 + 1,
                at % 1_000_000 * 3 + 2,
                at % 1_000_000 * 3 + 3
            )
        },
    };
    let loaded = load_files(&files);
    assert!(!loaded.is_ok());
    assert!(files.reads.load(Ordering::Relaxed) <= 1001);
}

#[test]
fn a_chain_of_extends_over_files_without_end_is_refused() {
    let files = Endless {
        reads: AtomicUsize::new(0),
        text: |at| {
            format!("services: {{s: {{image: i, extends: {{file: f{}.yaml, service: s}}}}}}\n", at + 1)
        },
    };
    refused(&load_files(&files), "more files");
    assert!(files.reads.load(Ordering::Relaxed) <= 1001);
}

#[test]
fn paths_out_of_the_allowed_folder_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("project");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(folder.path().join("secret.env"), "A=secret\n").unwrap();
    std::os::unix::fs::symlink("../secret.env", root.join("link.env")).unwrap();
    std::os::unix::fs::symlink("/", root.join("root")).unwrap();
    let files = SystemFiles::below(&root);
    for path in [
        "../secret.env",
        "link.env",
        "root/etc/hostname",
        "/etc/hostname",
        "./a/../../secret.env",
        "../nothing-there",
    ] {
        std::fs::write(
            root.join("compose.yaml"),
            format!("services: {{a: {{image: i, env_file: {path}}}}}\n"),
        )
        .unwrap();
        let loaded = Loader::new(&files).load(&[root.join("compose.yaml")]);
        refused(&loaded, "outside");
        assert!(!loaded.project.to_yaml().contains("secret"));
    }
}

#[test]
fn a_device_a_pipe_and_a_folder_are_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    rustix_mkfifo(&pipe);
    for path in [PathBuf::from("/dev/zero"), PathBuf::from("/dev/stdin"), pipe, folder.path().to_owned()] {
        std::fs::write(
            folder.path().join("compose.yaml"),
            format!("services: {{a: {{image: i, env_file: {}}}}}\n", path.display()),
        )
        .unwrap();
        let loaded = Loader::new(&SystemFiles::anywhere()).load(&[folder.path().join("compose.yaml")]);
        refused(&loaded, "is not a regular file");
    }
}

fn rustix_mkfifo(path: &Path) {
    let done = std::process::Command::new("mkfifo").arg(path).status().unwrap();
    assert!(done.success());
}

#[test]
fn a_file_larger_than_the_budget_is_not_read_into_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("compose.yaml");
    std::fs::File::create(&path).unwrap().set_len(1 << 30).unwrap();
    let begin = Instant::now();
    let loaded = Loader::new(&SystemFiles::anywhere()).load(&[&path]);
    refused(&loaded, "has more than");
    assert!(begin.elapsed() < BOUND);
}

#[test]
fn keys_twice_are_errors_in_every_place() {
    let loaded = load("services: {a: {image: i, image: j, labels: {x: 1, x: 2}}, a: {}}\nservices: {}\n");
    assert_eq!(loaded.errors().filter(|finding| finding.message.contains("here twice")).count(), 4);
}

#[test]
fn numbers_at_the_edge_are_errors_or_answers() {
    for number in [
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "1e400",
        "-1",
        "0",
        ".inf",
        ".nan",
        "0x7fffffffffffffff",
        "0xffffffffffffffffff",
        "0o7777777777777777777777",
        "99999999999999999999999999",
    ] {
        for key in [
            "scale",
            "cpus",
            "mem_limit",
            "mem_swappiness",
            "pids_limit",
            "oom_score_adj",
            "cpu_shares",
            "stop_grace_period",
            "shm_size",
        ] {
            let _ = load(format!("services: {{a: {{image: i, {key}: {number}}}}}\n")).project.to_json();
            let _ = load(format!("services: {{a: {{image: i, {key}: \"{number}g\"}}}}\n"));
        }
        let _ = load(format!(
            "services: {{a: {{image: i, ports: [{number}, \"{number}:{number}\"], ulimits: {{nofile: {number}}}, deploy: {{replicas: {number}}}}}}}\n"
        ));
        let loaded = load(format!("services: {{a: {{image: i, scale: {number}}}}}\n"));
        let _ = plan(&loaded.project, &Observed::default(), &PlanOptions::default());
    }
}

#[test]
fn ranges_of_ports_do_not_grow_without_end() {
    let ranges = vec!["\"1-65535:1-65535\""; 50].join(", ");
    refused(&load(format!("services: {{a: {{image: i, ports: [{ranges}]}}}}\n")), "100000 ports");
}

#[test]
fn bytes_that_are_no_text_are_errors_with_a_place() {
    refused(&load(b"services:\n  a: {image: \"\xff\"}\n".to_vec()), "not UTF-8 from line 2");
    let _ = load("services: {a: {image: \"a\u{0}b\"}}\n");
    let _ = load("services:\u{feff} {a: {image: i}}\n");
}

#[test]
fn control_characters_do_not_reach_a_terminal_by_a_finding() {
    let loaded = load("services: {\"a\\e[31m\\n\": {imagee: \"\\e]0;x\\a\", restart: \"\\e[2J\"}}\n");
    for finding in &loaded.diagnostics {
        let text = finding.to_string();
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
}

#[test]
fn ten_thousand_services_load_in_linear_time() {
    let project = |count: usize| {
        let mut text = "services:\n".to_owned();
        for at in 0..count {
            writeln!(text, "  s{at}:\n    image: i{at}\n    ports: [\"{}:80\"]\n    environment: {{A: {at}, B: x}}\n    depends_on: [s{}]", at % 60_000 + 1, at + 1).unwrap();
        }
        writeln!(text, "  s{count}: {{image: i}}").unwrap();
        text
    };
    let (small, large) = (project(1000), project(10_000));
    let time = |text: &str| {
        let begin = Instant::now();
        let loaded = load(text);
        assert!(loaded.is_ok(), "{:?}", loaded.errors().next());
        let steps = plan(&loaded.project, &Observed::default(), &PlanOptions::default());
        assert!(steps.steps.len() > loaded.project.services.len());
        begin.elapsed()
    };
    let (one, ten) = (time(&small), time(&large));
    // ten times the work, with room for a busy machine; quadratic would be a hundred times
    assert!(ten < one * 40 + Duration::from_secs(2), "{one:?} and {ten:?}");
}

#[test]
fn a_word_that_is_long_is_not_compared_with_every_key() {
    let loaded = load(format!("services: {{a: {{image: i, {}: 1}}}}\n", "k".repeat(200_000)));
    assert!(loaded.errors().next().unwrap().to_string().len() < 2_000_000);
}

#[test]
fn a_budget_of_the_callers_is_kept() {
    let files = MemoryFiles::new().with("/p/compose.yaml", "services: {a: {image: i}}\n");
    for budget in [
        Budget { nodes: 2, ..Budget::default() },
        Budget { text: 2, ..Budget::default() },
        Budget { bytes: 2, ..Budget::default() },
        Budget { depth: 2, ..Budget::default() },
        Budget { files: 0, ..Budget::default() },
    ] {
        assert!(!Loader::new(&files).budget(budget).load(&["/p/compose.yaml"]).is_ok());
    }
}

#[test]
fn many_findings_are_found_in_bounded_time() {
    let many =
        |one: &dyn Fn(usize) -> String, count: usize| (0..count).map(one).collect::<Vec<_>>().join(", ");
    // all on one line, so that places are far to the right
    let ports = many(&|at| format!("{}:80", at % 60_000 + 1), 10_000);
    assert!(load(format!("services: {{a: {{image: i, ports: [{ports}]}}}}\n")).is_ok());
    let keys = many(&|at| format!("imag{at}: x"), 10_000);
    assert!(load(format!("services: {{a: {{image: i, {keys}}}}}\n")).errors().count() >= 10_000);
    let names = many(&|at| format!("n{at}"), 10_000);
    assert!(
        load(format!("services: {{a: {{image: i, depends_on: [{names}], networks: [{names}]}}}}\n"))
            .errors()
            .count()
            >= 20_000
    );
    let services = many(&|at| format!("s{at}: {{image: i, depends_on: [t{at}]}}"), 10_000);
    assert!(load(format!("services: {{{services}}}\n")).errors().count() >= 10_000);
}
