//! `docker-compose config` of Debian (1.29, Python) as the oracle for files of version 3: both print, both prints are
//! loaded here, and what they mean must be the same.
//!
//! Differences that are left out: 1.29 prints no project name and no default network, keeps `links` without a
//! dependency, drops `x-` keys, and prints `healthcheck: {disable: true}` as the test `NONE`.
use std::fs;
use std::process::{Command, Stdio};

use compose_model::model::{Dependencies, Networks, Project};
use compose_model::{Loader, SystemFiles};

const FILES: &[(&str, &str)] = &[
    (
        "wordpress",
        "version: '3.3'\nservices:\n  db:\n    image: mysql:5.7\n    volumes: [\"db_data:/var/lib/mysql\"]\n    restart: always\n    environment: {MYSQL_DATABASE: wordpress}\n  wordpress:\n    depends_on: [db]\n    image: wordpress:latest\n    ports: [\"8000:80\"]\n    environment: {WORDPRESS_DB_HOST: \"db:3306\"}\nvolumes: {db_data: {}}\n",
    ),
    (
        "flask",
        "version: '3'\nservices:\n  redis: {image: redis}\n  web:\n    build: {context: ., dockerfile: Dockerfile}\n    ports: [\"8080:5000\"]\n    environment: [REDIS_HOST=redis]\n",
    ),
    (
        "ports",
        "version: '3.8'\nservices:\n  a:\n    image: i\n    ports: [\"127.0.0.1:80:80\", \"3000-3002:4000-4002\", \"53:53/udp\", 90, {target: 91, published: 92, protocol: tcp, mode: host}]\n    expose: [1, \"2\"]\n",
    ),
    (
        "volumes",
        "version: '3.8'\nservices:\n  a:\n    image: i\n    volumes: [./src:/src:ro, data:/data, /anon, {type: tmpfs, target: /t, tmpfs: {size: 100}}]\nvolumes: {data: {driver: local, labels: {a: b}}}\n",
    ),
    (
        "interpolation",
        "version: '3.8'\nservices:\n  a:\n    image: \"i:${TAG:-latest}\"\n    labels: {a: \"$$X\", b: \"${B}\", c: \"${B:-d}\", d: \"${N-n}\", e: \"${N:-n}\"}\n",
    ),
    (
        "commands",
        "version: '3.8'\nservices:\n  a: {image: i, command: sh -c 'echo \"a b\"', entrypoint: [x, \"y z\"]}\n",
    ),
    (
        "health",
        "version: '3.8'\nservices:\n  a: {image: i, healthcheck: {test: curl x, interval: 90s, timeout: 500ms, retries: 3, start_period: 1h}}\n  b: {image: i, healthcheck: {disable: true}}\n  c: {image: i, stop_grace_period: 1m30s}\n",
    ),
    (
        "deploy",
        "version: '3.8'\nservices:\n  a:\n    image: i\n    deploy: {mode: replicated, replicas: 2, labels: {a: b}, update_config: {parallelism: 1, delay: 10s, order: start-first}, resources: {limits: {cpus: '0.5', memory: 50M}, reservations: {memory: 20M}}, restart_policy: {condition: on-failure, max_attempts: 3, window: 2m}, placement: {constraints: [node.role == manager]}}\n",
    ),
    (
        "networks",
        "version: '3.8'\nservices:\n  a: {image: i, networks: {n: {aliases: [x], ipv4_address: 10.5.0.5}}}\n  b: {image: i, network_mode: host}\nnetworks: {n: {driver: bridge, ipam: {config: [{subnet: 10.5.0.0/16}]}}}\n",
    ),
    (
        "secrets",
        "version: '3.8'\nservices:\n  a: {image: i, secrets: [s, {source: t, target: u, mode: 256}], configs: [c]}\nsecrets: {s: {file: ./s}, t: {file: /t}}\nconfigs: {c: {file: ./c}}\n",
    ),
    (
        "anchors",
        "version: '3.8'\nx-a: &a {image: i, labels: {l: m}}\nservices:\n  a: {<<: *a, tty: true}\n  b: {<<: *a, labels: [x=y]}\n",
    ),
    (
        "sundry",
        "version: '3.8'\nservices:\n  a: {image: i, cap_add: [A], cap_drop: [B], dns: 1.1.1.1, dns_search: [d], tmpfs: /t, ulimits: {nproc: 5, nofile: {soft: 1, hard: 2}}, sysctls: {net.core.somaxconn: 1024}, extra_hosts: [\"a:1.1.1.1\"], init: true, privileged: true, read_only: true, user: \"1:1\", working_dir: /w, hostname: h, logging: {driver: json-file, options: {max-size: 1m}}}\n",
    ),
];

fn bare(mut project: Project) -> Project {
    project.name = String::new();
    project.files.clear();
    project.networks.remove("default");
    project.extensions = compose_model::Extensions::default();
    for service in project.services.values_mut() {
        service.depends_on = Dependencies::default();
        if service.networks.contains_key("default") {
            service.networks = Networks::default();
        }
        if let Some(check) = service.healthcheck.as_mut().filter(|check| check.test.0 == ["NONE"]) {
            check.test.0.clear();
            check.disable = Some(true);
        }
        // 1.29 knows no defaults below `bind` and `volume`
        for mount in &mut service.volumes {
            mount.bind = None;
            mount.volume = None;
        }
    }
    project
}

#[test]
fn files_of_version_3_mean_what_docker_compose_says() {
    let there =
        Command::new("docker-compose").arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !there.is_ok_and(|status| status.success()) {
        eprintln!("skipped: there is no docker-compose on this machine");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let files = SystemFiles::below(folder.path());
    let mut children = Vec::new();
    for (name, text) in FILES {
        let inner = folder.path().join(name);
        fs::create_dir(&inner).unwrap();
        fs::write(inner.join("docker-compose.yml"), text).unwrap();
        let mut child = Command::new("docker-compose");
        child.args(["-f", "docker-compose.yml", "config"]).env("B", "").env("N", "").current_dir(&inner);
        children.push((
            name,
            inner,
            child.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap(),
        ));
    }
    let mut wrong = Vec::new();
    for (name, inner, child) in children {
        let output = child.wait_with_output().unwrap();
        let theirs = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        fs::write(inner.join("theirs.yaml"), &theirs).unwrap();
        let load = |file: &str| {
            let loaded = Loader::new(&files).environment([("B", ""), ("N", "")]).load(&[inner.join(file)]);
            assert!(loaded.is_ok(), "{name}, {file}: {}\n{theirs}", loaded.errors().next().unwrap());
            bare(loaded.project)
        };
        let (ours, theirs) = (load("docker-compose.yml"), load("theirs.yaml"));
        if ours.to_yaml() != theirs.to_yaml() {
            wrong.push(format!("{name}\n--- ours\n{}--- theirs\n{}", ours.to_yaml(), theirs.to_yaml()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
