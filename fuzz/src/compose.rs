use arbitrary::{Arbitrary as _, Result, Unstructured};
use compose_model::plan::{
    Container, DownOptions, Health, Observed, PlanOptions, State, down, plan as steps,
};
use compose_model::yaml::{Node, Value};
use compose_model::{Document, Loaded, Loader, MemoryFiles, Quoting};

use crate::Project;

fn loaded(files: &MemoryFiles, names: &[&str]) -> Loaded {
    Loader::new(files).environment([("A", "a"), ("EMPTY", "")]).profiles(["*"]).load(names)
}

fn one(text: &[u8]) -> Loaded {
    loaded(
        &MemoryFiles::new().with("/p/compose.yaml", text).with("/p/.env", "A=a\nB=\n"),
        &["/p/compose.yaml"],
    )
}

/// Every finding can be shown, and a project without errors prints to a file that loads to the same.
fn holds(loaded: &Loaded) {
    for finding in &loaded.diagnostics {
        finding.render(&loaded.sources);
    }
    let json = loaded.project.to_json();
    serde_json::from_str::<serde_json::Value>(&json).expect("the JSON form is JSON");
    loaded.project.graph().to_svg();
    if loaded.is_ok() {
        let yaml = loaded.project.to_yaml();
        let again = one(yaml.as_bytes());
        assert!(again.is_ok(), "what was printed does not load: {:?}\n{yaml}", again.errors().next());
        assert_eq!(again.project.to_yaml(), yaml, "printed and loaded again is the same");
    }
}

pub(crate) fn load(data: &[u8]) {
    holds(&one(data));
}

pub(crate) fn structured(data: &[u8]) {
    if let Ok(Project(text)) = Project::arbitrary(&mut Unstructured::new(data)) {
        let loaded = one(text.as_bytes());
        assert!(loaded.is_ok(), "{text}\n{:?}", loaded.errors().next());
        holds(&loaded);
    }
}

/// Two files, with a line `%%` between them.
pub(crate) fn merge(data: &[u8]) {
    let at = data.windows(4).position(|window| window == b"\n%%\n");
    let (first, second) = at.map_or((data, data), |at| (&data[..=at], &data[at + 4..]));
    let files = MemoryFiles::new().with("/p/1.yaml", first).with("/p/2.yaml", second);
    let loaded = loaded(&files, &["/p/1.yaml", "/p/2.yaml"]);
    loaded.project.to_yaml();
    for finding in &loaded.diagnostics {
        finding.render(&loaded.sources);
    }
}

/// A project and what is there, both from the bytes: the plan ends, waits only for what is before, and after it nothing is left to do;
/// neither is after `down`.
pub(crate) fn plan(data: &[u8]) {
    let _ = try_plan(&mut Unstructured::new(data));
}

fn try_plan(bytes: &mut Unstructured<'_>) -> Result<()> {
    let Project(text) = Project::arbitrary(bytes)?;
    let project = one(text.as_bytes()).project;
    let mut there = Observed::default();
    for at in 0..3 {
        if bytes.arbitrary()? {
            there.images.insert(format!("i{at}"), format!("id{}", bytes.int_in_range(0..=1)?));
        }
        if bytes.arbitrary()? {
            there.networks.insert(format!("p_net{at}"));
        }
        if bytes.arbitrary()? {
            there.volumes.insert(format!("p_vol{at}"));
        }
    }
    for at in 0..9 {
        let service = format!("s{at}");
        for number in 1..=bytes.int_in_range(0..=3)? {
            let hash = match project.services.get(&service) {
                Some(held) if bytes.ratio(2, 3)? => project.hash(held),
                _ => "other".to_owned(),
            };
            // as an engine says it: empty where the service's image is not there
            let reference =
                project.services.get(&service).and_then(|held| held.image.clone()).unwrap_or_default();
            let known = there.images.contains_key(&reference);
            let image = if known { format!("id{}", bytes.int_in_range(0..=1)?) } else { String::new() };
            there.containers.push(Container {
                id: format!("id-{service}-{number}"),
                name: format!("p-{service}-{number}"),
                service: service.clone(),
                number,
                hash,
                image,
                state: *bytes.choose(&[
                    State::Created,
                    State::Running,
                    State::Paused,
                    State::Exited(0),
                    State::Exited(1),
                ])?,
                health: *bytes.choose(&[
                    Health::None,
                    Health::Healthy,
                    Health::Unhealthy,
                    Health::Starting,
                ])?,
                ..Container::default()
            });
        }
    }
    let options = PlanOptions {
        remove_orphans: bytes.arbitrary()?,
        no_dependencies: bytes.arbitrary()?,
        no_start: bytes.arbitrary()?,
        ..PlanOptions::default()
    };
    let plan = steps(&project, &there, &options);
    for (at, step) in plan.steps.iter().enumerate() {
        assert!(step.after.iter().all(|before| *before < at), "step {at} waits for what comes later\n{plan}");
    }
    there.apply(&plan);
    let again = steps(&project, &there, &options);
    assert!(again.is_empty(), "after\n{plan}there is still\n{again}of\n{text}");
    let plan = down(&project, &there, &DownOptions::default());
    there.apply(&plan);
    let again = down(&project, &there, &DownOptions::default());
    assert!(again.is_empty(), "after\n{plan}there is still\n{again}of\n{text}");
    Ok(())
}

/// A file that is changed in place at every key it has: the edit is right or refused, and never another place's.
pub(crate) fn document(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(file) = Document::parse(text) else { return };
    assert_eq!(file.to_string(), text, "unchanged, it prints as it was read");
    let mut paths = Vec::new();
    walk(file.root(), &mut Vec::new(), &mut paths);
    let value = Node::map([("k", Node::list([Node::text("a: b"), Node::int(1)]))]);
    for path in paths.iter().take(24) {
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        for value in [&value, &Node::text("x\ny\n"), &Node::bool(true)] {
            let mut copy = file.clone();
            match copy.set(&path, value) {
                Ok(()) => assert_eq!(copy.get(&path), Some(value), "{path:?}"),
                Err(_) => assert_eq!(copy.to_string(), text, "a refused edit changes nothing"),
            }
        }
        let mut copy = file.clone();
        if copy.remove(&path).is_err() {
            assert_eq!(copy.to_string(), text, "a refused edit changes nothing");
        }
    }
}

fn walk(node: &Node, path: &mut Vec<String>, paths: &mut Vec<Vec<String>>) {
    if paths.len() >= 24 {
        return;
    }
    let children: Vec<(String, &Node)> = match &node.value {
        Value::Map(map) => map.iter().map(|(key, member)| (key.to_owned(), &member.node)).collect(),
        Value::List(items) => items.iter().enumerate().map(|(at, item)| (at.to_string(), item)).collect(),
        _ => Vec::new(),
    };
    for (step, child) in children {
        path.push(step);
        paths.push(path.clone());
        walk(child, path, paths);
        path.pop();
    }
}

/// Interpolation, files of variables, shell words, sizes and times.
pub(crate) fn words(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let lookup = |name: &str| match name {
        "A" => Some("a".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    };
    let _ = compose_model::substitute(text, lookup);
    let doubled = text.replace('$', "$$");
    let plain = compose_model::substitute(&doubled, lookup).expect("doubled dollars stand for themselves");
    assert_eq!(plain.text, text, "a doubled dollar is one dollar");
    for quoting in [Quoting::Compose, Quoting::Raw] {
        let _ = compose_model::variables(text, quoting, lookup);
    }
    let _ = compose_model::words(text);
    if let Ok(duration) = compose_model::duration(text) {
        assert_eq!(compose_model::duration(&compose_model::show_duration(duration)).ok(), Some(duration));
    }
    let _ = compose_model::Bytes::parse(text);
}
