//! Random projects, states and bytes, from fixed seeds: what must hold of all of them.
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use compose_model::plan::{
    Container, DownOptions, Health, Observed, PlanOptions, State, down, plan, restart, start, stop,
};
use compose_model::{Loader, MemoryFiles, Project};

/// A generator of numbers, splitmix64.
struct Seed(u64);

impl Seed {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }
    fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

fn load(text: &[u8]) -> compose_model::Loaded {
    let files = MemoryFiles::new().with("/p/compose.yaml", text).with("/p/.env", "A=a\nB=\n");
    Loader::new(&files).load(&["/p/compose.yaml"])
}

fn corpus() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut folders: Vec<_> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    folders.into_iter().filter_map(|folder| fs::read(folder.join("compose.yaml")).ok()).collect()
}

#[test]
fn a_load_never_panics_on_mutated_files_and_what_is_printed_loads_the_same() {
    let corpus = corpus();
    let mut seed = Seed(32);
    let words: [&[u8]; 24] = [
        b"&a ",
        b"*a",
        b"<<: ",
        b"!reset ",
        b"!override ",
        b"${",
        b"}",
        b"$",
        b"[",
        b"]",
        b"{",
        b"}",
        b"\n",
        b"  ",
        b"- ",
        b": ",
        b"\t",
        b"\"",
        b"'",
        b"|\n",
        b"\xef\xbc\x9a",
        b"\xff",
        b"null",
        b"99999999999",
    ];
    for _ in 0..2000 {
        let mut text = seed.pick(&corpus).clone();
        for _ in 0..=seed.below(4) {
            let at = seed.below(text.len() + 1);
            match seed.below(5) {
                0 => text.truncate(at),
                1 if at < text.len() => text[at] = seed.next() as u8,
                2 if at < text.len() => {
                    text.remove(at);
                }
                3 => {
                    let other = seed.pick(&corpus).clone();
                    let from = seed.below(other.len() + 1);
                    let to = from + seed.below(other.len() - from + 1);
                    text.splice(at..at, other[from..to].iter().copied());
                }
                _ => {
                    text.splice(at..at, seed.pick(&words).iter().copied());
                }
            }
        }
        let loaded = load(&text);
        for finding in &loaded.diagnostics {
            let _ = finding.render(&loaded.sources);
        }
        let _ = loaded.project.to_json();
        if loaded.is_ok() {
            let yaml = loaded.project.to_yaml();
            let again = load(yaml.as_bytes());
            let shown = String::from_utf8_lossy(&text).into_owned();
            assert!(again.is_ok(), "{shown}\n---\n{yaml}\n---\n{}", again.errors().next().unwrap());
            assert_eq!(again.project.to_yaml(), yaml, "{shown}");
        }
    }
}

#[test]
fn a_load_never_panics_on_random_bytes() {
    let mut seed = Seed(7);
    let letters = b"abc:-&*!|>{}[]\"'$#?,%@` \n\n  \t\xef\xbb\xbf\xff0123";
    for _ in 0..2000 {
        let text: Vec<u8> = (0..seed.below(80)).map(|_| *seed.pick(letters)).collect();
        let _ = load(&text);
    }
}

#[test]
fn merging_two_random_files_never_panics() {
    let corpus = corpus();
    let mut seed = Seed(11);
    for _ in 0..600 {
        let files = MemoryFiles::new()
            .with("/p/1", seed.pick(&corpus).clone())
            .with("/p/2", seed.pick(&corpus).clone());
        let loaded = Loader::new(&files).profiles(["*"]).load(&["/p/1", "/p/2"]);
        let _ = loaded.project.to_yaml();
    }
}

fn project(seed: &mut Seed) -> Project {
    let count = 1 + seed.below(7);
    let mut text = "services:\n".to_owned();
    for at in 0..count {
        let _ = writeln!(text, "  s{at}:\n    image: i{}", seed.below(3));
        if seed.one_in(3) {
            let _ = writeln!(text, "    build: ./b{}", seed.below(2));
        }
        if seed.one_in(4) {
            let _ = writeln!(text, "    hostname: h{}", seed.below(3));
        }
        if seed.one_in(3) {
            let _ = writeln!(text, "    scale: {}", seed.below(4));
        }
        if seed.one_in(3) {
            text.push_str("    healthcheck: {test: t}\n");
        }
        if seed.one_in(3) {
            let _ = writeln!(text, "    volumes: [\"vol{}:/v\", /anonymous]", seed.below(3));
        }
        if at > 0 && seed.one_in(6) {
            let _ = writeln!(text, "    network_mode: service:s{}", seed.below(at));
        } else if seed.one_in(2) {
            let _ = writeln!(text, "    networks: [net{}]", seed.below(3));
        }
        let mut needed: BTreeMap<usize, &str> = BTreeMap::new();
        for _ in 0..seed.below(3).min(at) {
            needed.insert(
                seed.below(at),
                *seed.pick(&["service_started", "service_healthy", "service_completed_successfully"]),
            );
        }
        if !needed.is_empty() {
            text.push_str("    depends_on:\n");
            for (other, condition) in needed {
                let _ =
                    writeln!(text, "      s{other}: {{condition: {condition}, restart: {}}}", seed.one_in(2));
            }
        }
    }
    text.push_str("networks: {net0: , net1: {name: fixed}, net2: {external: true}}\nvolumes: {vol0: , vol1: {name: fixed}, vol2: {external: true}}\n");
    let loaded = load(text.as_bytes());
    assert!(loaded.is_ok(), "{text}{}", loaded.errors().next().unwrap());
    loaded.project
}

fn state(seed: &mut Seed, project: &Project) -> Observed {
    let mut there = Observed::default();
    for at in 0..3 {
        if seed.one_in(2) {
            there.images.insert(format!("i{at}"), format!("id{}", seed.below(2)));
        }
        if seed.one_in(2) {
            there.networks.insert(format!("p_net{at}"));
        }
        if seed.one_in(2) {
            there.volumes.insert(format!("p_vol{at}"));
        }
    }
    let mut id = 0;
    for at in 0..9 {
        let service = format!("s{at}");
        for number in 1..=seed.below(4) as u32 {
            id += 1;
            let hash = match project.services.get(&service) {
                Some(held) if !seed.one_in(3) => project.hash(held),
                _ => "old".to_owned(),
            };
            let one_off = seed.one_in(8);
            there.containers.push(Container {
                id: format!("id{id}"),
                name: if one_off { format!("p-{service}-run-{id}") } else { format!("p-{service}-{number}") },
                service: service.clone(),
                number,
                hash,
                image: project
                    .services
                    .get(&service)
                    .and_then(|held| there.images.get(held.image.as_ref()?))
                    .map_or(String::new(), |_| format!("id{}", seed.below(2))),
                state: *seed.pick(&[
                    State::Created,
                    State::Running,
                    State::Running,
                    State::Paused,
                    State::Exited(0),
                    State::Exited(1),
                ]),
                health: *seed.pick(&[Health::None, Health::Healthy, Health::Unhealthy, Health::Starting]),
                one_off,
            });
        }
    }
    there
}

fn ordered(steps: &compose_model::plan::Plan) {
    for (at, step) in steps.steps.iter().enumerate() {
        assert!(step.after.iter().all(|before| *before < at), "{steps}");
    }
    assert_eq!(steps.levels().iter().map(Vec::len).sum::<usize>(), steps.steps.len());
}

#[test]
fn after_the_steps_of_a_plan_the_next_plan_is_empty() {
    let mut seed = Seed(3);
    for round in 0..300 {
        let project = project(&mut seed);
        let before = state(&mut seed, &project);
        let mut options =
            PlanOptions { remove_orphans: seed.one_in(2), wait: seed.one_in(3), ..PlanOptions::default() };
        if seed.one_in(3) {
            options.scale.insert(format!("s{}", seed.below(3)), seed.below(5) as u32);
        }
        if seed.one_in(4) {
            options.services = vec![format!("s{}", seed.below(project.services.len()))];
        }
        let steps = plan(&project, &before, &options);
        ordered(&steps);
        let mut there = before.clone();
        there.apply(&steps);
        let rest = plan(&project, &there, &options);
        assert!(
            rest.is_empty(),
            "round {round}\n{}\n{before:?}\nfirst:\n{steps}then:\n{rest}",
            project.to_yaml()
        );
        let names: std::collections::BTreeSet<&str> =
            there.containers.iter().map(|held| held.name.as_str()).collect();
        assert_eq!(names.len(), there.containers.len(), "round {round}: two containers of one name");
        let (dot, svg) = (steps.graph().to_dot(), steps.graph().to_svg());
        assert!(dot.ends_with("}\n") && svg.ends_with("</svg>\n"));
    }
}

#[test]
fn after_down_nothing_of_the_project_is_left() {
    let mut seed = Seed(5);
    for _ in 0..150 {
        let project = project(&mut seed);
        let mut there = state(&mut seed, &project);
        there.apply(&plan(&project, &there, &PlanOptions::default()));
        let options = DownOptions { volumes: true, remove_orphans: true, ..DownOptions::default() };
        let steps = down(&project, &there, &options);
        ordered(&steps);
        there.apply(&steps);
        assert!(there.containers.is_empty(), "{steps}{there:?}");
        assert!(
            project
                .networks
                .values()
                .all(|network| network.external.yes
                    || !there.networks.contains(network.name.as_ref().unwrap()))
        );
        assert!(down(&project, &there, &options).is_empty());
    }
}

#[test]
fn stop_start_and_restart_do_what_they_say() {
    let mut seed = Seed(9);
    for _ in 0..100 {
        let project = project(&mut seed);
        let mut there = state(&mut seed, &project);
        there.containers.retain(|held| !held.one_off && project.services.contains_key(&held.service));
        let steps = restart(&project, &there, &[], None);
        ordered(&steps);
        assert_eq!(steps.steps.len(), there.containers.len());
        let steps = start(&project, &there, &[]);
        ordered(&steps);
        there.apply(&steps);
        assert!(there.containers.iter().all(|held| held.state == State::Running));
        let steps = stop(&project, &there, &[], None);
        ordered(&steps);
        there.apply(&steps);
        assert!(there.containers.iter().all(|held| held.state != State::Running));
        assert!(stop(&project, &there, &[], None).is_empty());
    }
}
