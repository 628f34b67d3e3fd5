//! Printing: JSON, names, hashes, the tree without interpolation, single values.
use std::time::Duration;

use compose_model::{
    Bytes, Loader, MemoryFiles, Project, Quoting, duration, show_duration, substitute, tree_to_yaml,
    variables, words,
};

fn project(text: &str) -> Project {
    let files = MemoryFiles::new().with("/p/compose.yaml", text);
    Loader::new(&files).profiles(["*"]).load(&["/p/compose.yaml"]).into_project().unwrap()
}

#[test]
fn json_is_json_and_has_a_command_in_each_service() {
    let shop = project("services: {a: {image: \"i\\u0001\\\"\", cpus: 0.5, labels: {x: \"é\\n\"}}}\n");
    let json: serde_json::Value = serde_json::from_str(&shop.to_json()).unwrap();
    assert_eq!(json["services"]["a"]["image"], "i\u{1}\"");
    assert_eq!(json["services"]["a"]["cpus"], 0.5);
    assert_eq!(json["services"]["a"]["labels"]["x"], "é\n");
    assert!(json["services"]["a"]["command"].is_null() && json["services"]["a"].get("entrypoint").is_some());
}

#[test]
fn names_of_images_and_profiles_are_sorted_and_each_once() {
    let shop = project(
        "services: {a: {image: z}, b: {build: .}, c: {image: z, profiles: [q, p]}, d: {image: b, profiles: [p]}}\n",
    );
    assert_eq!(shop.images(), ["b", "p-b", "z"]);
    assert_eq!(shop.known_profiles(), ["p", "q"]);
}

#[test]
fn a_hash_changes_with_what_needs_a_new_container_and_with_nothing_else() {
    let hash = |service: &str| {
        let shop = project(&format!("services: {{a: {service}, b: {{image: i}}}}\n"));
        shop.hash(shop.services.get("a").unwrap())
    };
    let base = hash("{image: i, labels: {x: 1, y: 2}}");
    assert_eq!(base.len(), 64);
    for same in [
        "{labels: [y=2, x=1], image: i}",
        "{image: i, labels: {x: 1, y: 2}, scale: 3}",
        "{image: i, labels: {x: 1, y: 2}, deploy: {replicas: 3}}",
        "{image: i, labels: {x: 1, y: 2}, depends_on: [b]}",
        "{image: i, labels: {x: 1, y: 2}, pull_policy: always, profiles: [p], build: .}",
    ] {
        assert_eq!(hash(same), base, "{same}");
    }
    for other in [
        "{image: j, labels: {x: 1, y: 2}}",
        "{image: i, labels: {x: 1}}",
        "{image: i, labels: {x: 1, y: 2}, tty: true}",
        "{image: i, labels: {x: 1, y: 2}, command: []}",
    ] {
        assert_ne!(hash(other), base, "{other}");
    }
}

#[test]
fn without_interpolation_the_tree_keeps_its_variables_and_numbers_are_no_errors() {
    let files = MemoryFiles::new().with(
        "/p/compose.yaml",
        "services:\n  a:\n    scale: ${N}\n    ports: [\"${P}:80\"]\n    image: i:${T:-x}\n",
    );
    let loaded = Loader::new(&files).interpolate(false).load(&["/p/compose.yaml"]);
    assert!(loaded.is_ok(), "{:?}", loaded.errors().next());
    assert_eq!(
        tree_to_yaml(&loaded.tree),
        "services:\n  a:\n    image: \"i:${T:-x}\"\n    ports:\n      - \"${P}:80\"\n    scale: \"${N}\"\n"
    );
}

#[test]
fn what_no_service_uses_can_be_left_out() {
    let shop = project("services: {a: {image: i, networks: [n], volumes: ['vol:/v']}}\nnetworks: {n: , m: }\nvolumes: {vol: , other: }\nsecrets: {s: {file: x}}\n").without_unused();
    assert_eq!(shop.networks.keys().collect::<Vec<_>>(), ["n"]);
    assert_eq!(shop.volumes.keys().collect::<Vec<_>>(), ["vol"]);
    assert!(shop.secrets.is_empty());
}

#[test]
fn durations_and_sizes_are_read_and_shown_as_go_does() {
    for (text, shown) in [
        ("90s", "1m30s"),
        ("1h", "1h0m0s"),
        ("1.5s", "1.5s"),
        ("500ms", "500ms"),
        ("1500us", "1.5ms"),
        ("10ns", "10ns"),
        ("0", "0s"),
        ("1d", "24h0m0s"),
        ("1h1m1s1ms", "1h1m1.001s"),
    ] {
        assert_eq!(show_duration(duration(text).unwrap()), shown, "{text}");
    }
    for text in ["", "s", "1", "1x", "-1s", "1.2.3s", "9999999999999h", "1e5s", "☃"] {
        assert!(duration(text).is_err(), "{text}");
    }
    assert_eq!(duration("1h").unwrap(), Duration::from_secs(3600));
    for (text, bytes) in [
        ("10", 10),
        ("1k", 1024),
        ("1.5m", 1_572_864),
        ("2GB", 2 << 30),
        ("1KiB", 1024),
        ("-1", -1),
        ("7b", 7),
    ] {
        assert_eq!(Bytes::parse(text).unwrap(), Bytes(bytes), "{text}");
    }
    for text in ["", "k", "1x", "-2", "-1k", "1.2.3", "99999999999999999999", "9999999999g", "--1"] {
        assert!(Bytes::parse(text).is_err(), "{text}");
    }
}

#[test]
fn words_variables_and_substitutions_refuse_what_is_not_closed() {
    assert!(words("a 'b").is_err() && words("a \\").is_err() && words("\"").is_err());
    assert_eq!(words("a '' \"\\$x\" # rest").unwrap(), ["a", "", "$x"]);
    assert!(substitute("${A", |_| None).is_err());
    assert_eq!(substitute("${A:-${B:-}}x", |_| None).unwrap().text, "x");
    assert!(variables("A='x", Quoting::Compose, |_| None).is_err());
    assert!(variables("=x", Quoting::Compose, |_| None).is_err());
    assert_eq!(
        variables("A='x' # c", Quoting::Compose, |_| None).unwrap().get("A"),
        Some(&Some("x".to_owned()))
    );
    assert!(variables("A='x'y", Quoting::Compose, |_| None).is_err());
}
