//! How fast projects load: 100 services against `docker-compose config` when it is there, and 100 to 10,000 services.
use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use compose_model::{Loader, MemoryFiles};

fn project(count: usize) -> String {
    let mut text =
        "version: '3.8'\nx-logging: &logging {driver: json-file, options: {max-size: 10m}}\nservices:\n"
            .to_owned();
    for at in 0..count {
        let next = if at + 1 < count { format!("    depends_on: [s{}]\n", at + 1) } else { String::new() };
        write!(
            text,
            "  s{at}:\n    image: \"registry.example/app{at}:${{TAG:-latest}}\"\n    restart: unless-stopped\n    command: run --port 80 --name 's {at}'\n{next}    \
             environment:\n      A: \"{at}\"\n      B: ${{B:-b}}\n      C: c\n    ports: [\"{}:80\"]\n    volumes: [\"data:/data/{at}\", \"./src{at}:/src:ro\"]\n    \
             networks: [front]\n    labels: [a=b, c=d]\n    logging: *logging\n    healthcheck: {{test: [CMD, \"true\"], interval: 30s}}\n",
            10_000 + at % 50_000,
        )
        .expect("a text takes all");
    }
    text + "volumes: {data: {}}\nnetworks: {front: {}}\n"
}

/// The least time of some rounds.
fn best(rounds: usize, mut work: impl FnMut()) -> Duration {
    let round = |_| {
        let begin = Instant::now();
        work();
        begin.elapsed()
    };
    (0..rounds).map(round).min().unwrap_or_default()
}

fn main() {
    for count in [100, 1000, 10_000] {
        let text = project(count);
        let files = MemoryFiles::new().with("/p/compose.yaml", text.as_str());
        let time = best(if count > 1000 { 3 } else { 20 }, || {
            let loaded = Loader::new(&files).load(&["/p/compose.yaml"]);
            assert!(loaded.is_ok(), "{:?}", loaded.errors().next());
            std::hint::black_box(loaded.project.to_yaml());
        });
        let events = best(if count > 1000 { 3 } else { 20 }, || {
            let mut budget = compose_model::yaml::Budget::default();
            std::hint::black_box(compose_model::yaml::parse(
                compose_model::FileId::default(),
                &text,
                &mut budget,
                &mut Vec::new(),
            ));
        });
        println!(
            "{count} services, {} KiB: load and print {time:?}, of it the tree {events:?}",
            text.len() / 1024
        );
    }
    let folder = std::env::temp_dir().join(format!("compose-model-services-{}", std::process::id()));
    if std::fs::create_dir(&folder)
        .and_then(|()| std::fs::write(folder.join("docker-compose.yml"), project(100)))
        .is_ok()
    {
        let run = || {
            let mut command = Command::new("docker-compose");
            command
                .arg("config")
                .current_dir(&folder)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        };
        if run() {
            println!(
                "100 services, docker-compose config: {:?}",
                best(3, || assert!(run(), "docker-compose failed"))
            );
        } else {
            println!("docker-compose is not there");
        }
    }
    // nothing but what was made above is in it
    let _ = std::fs::remove_dir_all(&folder);
}
