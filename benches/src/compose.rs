use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;

use compose_model::plan::{self, Observed, PlanOptions};
use compose_model::{Loader, MemoryFiles, Project};

use crate::{Amount, HotPath, Scale};

/// A Compose file of so many services. Each has an image with a variable, a command with quotes, three variables, a port, a volume and a bind
/// mount, a network, labels, a health check, its log by an anchor, and depends on the next one.
pub fn compose(services: usize) -> String {
    let mut text =
        "x-logging: &logging {driver: json-file, options: {max-size: 10m}}\nservices:\n".to_owned();
    for at in 0..services {
        let next = if at + 1 < services { format!("    depends_on: [s{}]\n", at + 1) } else { String::new() };
        let port = 10_000 + at % 50_000;
        let _ = write!(
            text,
            "  s{at}:\n    image: \"registry.example/app{at}:${{TAG:-latest}}\"\n    restart: unless-stopped\n    \
             command: run --port 80 --name 's {at}'\n{next}    environment:\n      A: \"{at}\"\n      B: ${{B:-b}}\n      C: c\n    \
             ports: [\"{port}:80\"]\n    volumes: [\"data:/data/{at}\", \"./src{at}:/src:ro\"]\n    networks: [front]\n    \
             labels: [a=b, c=d]\n    logging: *logging\n    healthcheck: {{test: [CMD, \"true\"], interval: 30s}}\n"
        );
    }
    text + "volumes: {data: {}}\nnetworks: {front: {}}\n"
}

fn files(scale: Scale) -> (MemoryFiles, u64) {
    let services = scale.0 * 100;
    (MemoryFiles::new().with("/shop/compose.yaml", compose(services)), services as u64)
}

fn loaded(files: &MemoryFiles) -> Project {
    Loader::new(files).load(&["/shop/compose.yaml"]).into_project().expect("the generated file is fine")
}

pub(crate) fn load(scale: Scale, _: &Path) -> HotPath {
    let (files, services) = files(scale);
    HotPath::new("compose/load", Amount::Items(services), move || {
        black_box(loaded(&files));
    })
}

pub(crate) fn print(scale: Scale, _: &Path) -> HotPath {
    let (files, services) = files(scale);
    let project = loaded(&files);
    HotPath::new("compose/print", Amount::Items(services), move || {
        black_box(project.to_yaml());
    })
}

pub(crate) fn plan(scale: Scale, _: &Path) -> HotPath {
    let (files, services) = files(scale);
    let project = loaded(&files);
    HotPath::new("compose/plan", Amount::Items(services), move || {
        let mut there = Observed::default();
        let steps = plan::plan(&project, &there, &PlanOptions::default());
        there.apply(&steps);
        assert!(plan::plan(&project, &there, &PlanOptions::default()).is_empty());
    })
}
