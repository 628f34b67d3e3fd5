//! `dunnage compose`: projects brought up, changed, looked at and taken down.

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use support::{Host, finish, until};

const PATIENCE: Duration = Duration::from_secs(60);

/// A folder with a project in it.
struct Project<'a> {
    host: &'a Host,
    folder: PathBuf,
}

impl<'a> Project<'a> {
    fn new(host: &'a Host, name: &str, file: &str) -> Self {
        let folder = host.path(name);
        fs::create_dir(&folder).unwrap();
        let project = Self { host, folder };
        project.write("compose.yaml", file);
        project
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.folder.join(name), text).unwrap();
    }

    fn command(&self, args: &[&str]) -> std::process::Command {
        let mut command = self.host.command(&[&["compose"], args].concat());
        command.current_dir(&self.folder);
        command
    }

    fn output(&self, args: &[&str]) -> Output {
        finish(self.command(args), PATIENCE)
    }

    /// Standard output of what must succeed.
    fn ok(&self, args: &[&str]) -> String {
        let output = self.output(args);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "compose {args:?}: {}: {error}", output.status);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What `up -d` says it did.
    fn up(&self, args: &[&str]) -> String {
        let output = self.output(&[&["up", "-d"], args].concat());
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "up {args:?}: {error}");
        error
    }

    fn fails(&self, args: &[&str]) -> (i32, String) {
        let output = self.output(args);
        assert!(!output.status.success(), "compose {args:?} succeeded");
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// The ids of the project's containers.
    fn ids(&self, service: &str) -> Vec<String> {
        self.ok(&["ps", "-aq", service]).lines().map(str::to_owned).collect()
    }
}

const TWO: &str = "\
services:
  web:
    image: bb
    command: sh -c 'echo serving; exec sleep 600'
    depends_on: [db]
    environment: {COLOR: blue}
    stop_grace_period: 0s
  db:
    image: bb
    command: sleep 600
    volumes: ['rows:/rows', /scratch]
    stop_grace_period: 0s
volumes: {rows: }
networks: {default: {ipam: {config: [{subnet: 10.231.1.0/24}]}}}
";

#[test]
fn up_makes_what_is_missing_and_a_second_time_does_nothing() {
    let Some(host) = Host::with_image() else { return };
    let shop = Project::new(&host, "shop", TWO);
    let said = shop.up(&[]);
    let order = [
        "Network shop_default  Created",
        "Container shop-db-1  Created",
        "Container shop-db-1  Started",
        "Container shop-web-1  Started",
    ];
    let places: Vec<_> = order.iter().map(|line| said.find(line)).collect();
    assert!(places.iter().all(Option::is_some), "{said}");
    assert!(places[2] < places[3], "what it depends on is started first: {said}");
    assert_eq!(shop.up(&[]), "", "nothing is left to do");
    let listed = shop.ok(&["ps"]);
    assert!(listed.starts_with("NAME") && listed.contains("shop-db-1") && listed.contains("Up "), "{listed}");
    assert_eq!(shop.ok(&["ps", "--services"]), "db\nweb\n");
    assert_eq!(shop.ok(&["exec", "-T", "web", "sh", "-c", "echo $COLOR"]), "blue\n");
    assert_eq!(shop.output(&["exec", "-T", "web", "sh", "-c", "exit 7"]).status.code(), Some(7));
    // every service knows the others by name
    shop.ok(&["exec", "-T", "web", "ping", "-c1", "-W5", "db"]);
    assert_eq!(shop.ok(&["logs", "web"]), "web-1  | serving\n");
    let all = shop.ok(&["ls"]);
    assert!(all.contains("shop") && all.contains("running(2)"), "{all}");
    shop.ok(&["down", "-t", "0"]);
    assert_eq!(host.ok(&["ps", "-aq"]), "");
    assert!(!host.ok(&["network", "ls"]).contains("shop_default"));
    assert!(host.ok(&["volume", "ls", "-q"]).contains("shop_rows"), "volumes stay");
    shop.ok(&["down", "-v", "-t", "0"]);
    assert_eq!(host.ok(&["volume", "ls", "-q"]), "");
    host.leaves_nothing();
}

#[test]
fn a_change_makes_one_service_anew_and_its_volumes_go_over() {
    let Some(host) = Host::with_image() else { return };
    let shop = Project::new(&host, "shop", TWO);
    shop.up(&[]);
    shop.ok(&["exec", "-T", "db", "sh", "-c", "echo kept > /scratch/a; echo kept > /rows/a"]);
    let (web, db) = (shop.ids("web"), shop.ids("db"));
    shop.write("compose.yaml", &TWO.replace("command: sleep 600", "command: sleep 601"));
    let said = shop.up(&[]);
    assert!(said.contains("Container shop-db-1  Recreated"), "{said}");
    assert!(!said.contains("shop-web-1  Recreated"), "{said}");
    assert_eq!(shop.ids("web"), web);
    assert_ne!(shop.ids("db"), db);
    assert_eq!(shop.ok(&["exec", "-T", "db", "cat", "/scratch/a", "/rows/a"]), "kept\nkept\n");
    shop.up(&["--force-recreate", "-V", "db"]);
    assert_eq!(
        shop.output(&["exec", "-T", "db", "cat", "/scratch/a"]).status.code(),
        Some(1),
        "a new anonymous volume"
    );
    assert_eq!(shop.ok(&["exec", "-T", "db", "cat", "/rows/a"]), "kept\n");
    shop.ok(&["down", "-v", "-t", "0"]);
    assert_eq!(host.ok(&["volume", "ls", "-q"]), "", "no anonymous volume is left");
    host.leaves_nothing();
}

#[test]
fn services_scale_up_and_down_and_answer_to_one_name() {
    let Some(host) = Host::with_image() else { return };
    let file = "\
services:
  web: {image: bb, command: sleep 600, stop_grace_period: 0s, ports: ['8090-8099:80']}
networks: {default: {ipam: {config: [{subnet: 10.231.2.0/24}]}}}
";
    let farm = Project::new(&host, "farm", file);
    farm.up(&["--scale", "web=4"]);
    assert_eq!(farm.ids("web").len(), 4);
    let found = farm.ok(&["exec", "-T", "web", "nslookup", "web"]);
    let addresses = found.lines().filter(|line| line.contains("10.231.2.")).count();
    assert_eq!(addresses, 4, "{found}");
    assert_eq!(farm.ok(&["port", "--index", "3", "web", "80"]), "0.0.0.0:8092\n");
    let kept = farm.ids("web");
    farm.up(&["--scale", "web=2"]);
    assert_eq!(farm.ids("web"), kept[..2]);
    farm.ok(&["down", "-t", "0"]);
    host.leaves_nothing();
}

#[test]
fn dependencies_are_waited_for_until_they_are_healthy_or_have_completed() {
    let Some(host) = Host::with_image() else { return };
    let file = "\
services:
  web:
    image: bb
    command: sh -c 'cat /shared/ready; exec sleep 600'
    volumes: ['shared:/shared']
    depends_on: {migrate: {condition: service_completed_successfully}, db: {condition: service_healthy}}
  migrate: {image: bb, command: sh -c 'sleep 0.3; echo migrated > /shared/ready', volumes: ['shared:/shared']}
  db:
    image: bb
    command: sh -c 'sleep 0.5; touch /tmp/up; exec sleep 600'
    healthcheck: {test: test -e /tmp/up, interval: 200ms, start_period: 20s, start_interval: 100ms}
volumes: {shared: }
networks: {default: {ipam: {config: [{subnet: 10.231.3.0/24}]}}}
";
    let shop = Project::new(&host, "shop", &file.replace("test -e", "ls"));
    let said = shop.up(&[]);
    assert!(said.contains("Service db  Healthy") && said.contains("Service migrate  Exited"), "{said}");
    until("the line of web", || (shop.ok(&["logs", "--no-log-prefix", "web"]) == "migrated\n").then_some(()));
    assert_eq!(shop.up(&[]), "", "what has completed is not started again");
    shop.ok(&["down", "-v", "-t", "0"]);
    // one that fails is told, and what depends on it is not started
    shop.write(
        "compose.yaml",
        &file.replace("echo migrated > /shared/ready", "exit 3").replace("test -e", "ls"),
    );
    let (code, said) = shop.fails(&["up", "-d"]);
    assert_eq!(code, 1);
    assert!(
        said.contains("services.migrate.depends_on: container shop-migrate-1 ended with 3, not with 0"),
        "{said}"
    );
    assert_eq!(shop.ok(&["ps", "-a", "--status", "created", "--services"]), "web\n");
    shop.ok(&["down", "-v", "-t", "0"]);
    host.leaves_nothing();
}

#[test]
fn images_are_built_and_a_new_build_makes_containers_anew() {
    let Some(host) = Host::with_image() else { return };
    let file = "\
services:
  app: {build: {context: ., args: {WORD: one}}, command: 'cat /word'}
networks: {default: {ipam: {config: [{subnet: 10.231.4.0/24}]}}}
";
    let app = Project::new(&host, "app", file);
    app.write("Dockerfile", "FROM bb\nARG WORD\nRUN echo $WORD > /word\n");
    let said = app.up(&[]);
    assert!(said.contains("Service app  Built"), "{said}");
    until("the word", || (app.ok(&["logs", "--no-log-prefix"]) == "one\n").then_some(()));
    assert!(app.ok(&["images"]).contains("app-app"), "the image has the name of project and service");
    let first = app.ids("app");
    app.write("compose.yaml", &file.replace("one", "two"));
    assert!(!app.up(&["--no-build"]).contains("Recreated"), "how it is built is no part of its settings");
    let said = app.up(&["--build"]);
    assert!(said.contains("Recreated"), "{said}");
    assert_ne!(app.ids("app"), first);
    app.ok(&["down", "--rmi", "local", "-t", "0"]);
    assert!(!host.ok(&["images"]).contains("app-app"));
    host.ok(&["builder", "prune", "-f"]);
    host.leaves_nothing();
}

#[test]
fn run_makes_a_container_of_its_own_after_what_it_needs() {
    let Some(host) = Host::with_image() else { return };
    let shop = Project::new(&host, "shop", TWO);
    assert_eq!(
        shop.ok(&[
            "run",
            "--rm",
            "-T",
            "-e",
            "MORE=1",
            "web",
            "sh",
            "-c",
            "echo $COLOR$MORE; ping -c1 -W5 db > /dev/null"
        ]),
        "blue1\n"
    );
    assert_eq!(
        shop.ok(&["ps", "-a", "--services"]),
        "db\n",
        "what it depends on runs, the service itself does not"
    );
    assert_eq!(
        shop.output(&["run", "--rm", "-T", "--no-deps", "web", "sh", "-c", "exit 9"]).status.code(),
        Some(9)
    );
    let name = shop.ok(&["run", "-d", "web", "sleep", "600"]);
    assert!(name.starts_with("shop-web-run-"), "{name}");
    assert_eq!(shop.up(&[]).matches("Started").count(), 1, "one of `run` is none of the service's");
    shop.ok(&["down", "-v", "-t", "0"]);
    host.leaves_nothing();
}

#[test]
fn files_profiles_and_variables_are_those_of_the_specification() {
    let Some(host) = Host::with_image() else { return };
    let file = "\
services:
  web: {image: 'bb:${TAG:-latest}', command: sleep 600, stop_grace_period: 0s, env_file: web.env, secrets: [key], configs: [{source: conf, target: /etc/conf}]}
  debug: {image: bb, command: sleep 600, stop_grace_period: 0s, profiles: [debug]}
secrets: {key: {file: key.txt}}
configs: {conf: {content: 'word=${WORD}'}}
networks: {default: {ipam: {config: [{subnet: 10.231.5.0/24}]}}}
";
    let shop = Project::new(&host, "shop", file);
    shop.write("web.env", "FROM_FILE=yes\n");
    shop.write(".env", "WORD=hello\n");
    shop.write("key.txt", "secret");
    shop.write("compose.override.yaml", "services: {web: {environment: {OVER: ridden}}}\n");
    shop.up(&[]);
    assert_eq!(shop.ok(&["ps", "--services"]), "web\n");
    let script = "echo $FROM_FILE $OVER; cat /run/secrets/key /etc/conf; mount | grep /run/secrets/key | grep -c tmpfs";
    assert_eq!(shop.ok(&["exec", "-T", "web", "sh", "-c", script]), "yes ridden\nsecretword=hello1\n");
    assert!(shop.ok(&["--profile", "debug", "up", "-d"]).is_empty());
    assert_eq!(shop.ok(&["--profile", "debug", "ps", "--services"]), "debug\nweb\n");
    // a file that is named takes the place of all others
    shop.write("other.yaml", "services: {web: {image: bb, command: sleep 600, stop_grace_period: 0s}}\nnetworks: {default: {ipam: {config: [{subnet: 10.231.5.0/24}]}}}\n");
    let said = shop.output(&["-f", "other.yaml", "up", "-d"]);
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(
        said.contains("shop-web-1  Recreated")
            && said.contains("container shop-debug-1 is of a service that is no longer"),
        "{said}"
    );
    shop.ok(&["-f", "other.yaml", "up", "-d", "--remove-orphans"]);
    assert_eq!(shop.ok(&["-f", "other.yaml", "ps", "-a", "--services"]), "web\n");
    // without its files, by its name
    let elsewhere = Project { host: &host, folder: host.path("root") };
    assert_eq!(elsewhere.ok(&["-p", "shop", "ps", "--services"]), "web\n");
    elsewhere.ok(&["-p", "shop", "down", "-t", "0"]);
    assert_eq!(host.ok(&["ps", "-aq"]), "");
    host.leaves_nothing();
}

#[test]
fn up_in_the_foreground_shows_output_and_ends_with_the_code_that_was_asked_for() {
    let Some(host) = Host::with_image() else { return };
    let file = "\
services:
  test: {image: bb, command: sh -c 'echo testing; exit 5'}
  other: {image: bb, command: sleep 600, stop_grace_period: 0s}
networks: {default: {ipam: {config: [{subnet: 10.231.6.0/24}]}}}
";
    let ci = Project::new(&host, "ci", file);
    let output = ci.output(&["up", "--exit-code-from", "test"]);
    let (shown, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(5), "{shown}{said}");
    assert!(shown.contains("test-1   | testing"), "{shown}");
    assert!(said.contains("Container ci-other-1  Stopped"), "{said}");
    ci.ok(&["down", "-t", "0"]);
    // all that there is ends by itself
    ci.write("compose.yaml", "services: {one: {image: bb, command: echo done}}\nnetworks: {default: {ipam: {config: [{subnet: 10.231.6.0/24}]}}}\n");
    assert_eq!(ci.ok(&["up", "--no-log-prefix"]), "done\n");
    ci.ok(&["down", "-t", "0"]);
    host.leaves_nothing();
}

#[test]
fn stop_start_restart_pause_kill_and_rm_reach_the_services_that_are_named() {
    let Some(host) = Host::with_image() else { return };
    let shop = Project::new(&host, "shop", TWO);
    shop.up(&[]);
    let running = |services: &str| assert_eq!(shop.ok(&["ps", "--services"]), services);
    shop.ok(&["stop", "-t", "0", "web"]);
    running("db\n");
    shop.ok(&["start"]);
    running("db\nweb\n");
    shop.ok(&["pause", "db"]);
    assert_eq!(shop.ok(&["ps", "--status", "paused", "--services"]), "db\n");
    shop.ok(&["unpause"]);
    let before = shop.ids("db");
    shop.ok(&["restart", "-t", "0", "db"]);
    assert_eq!(shop.ids("db"), before);
    shop.ok(&["kill", "web"]);
    until("web has ended", || (shop.ok(&["ps", "--services"]) == "db\n").then_some(()));
    assert_eq!(shop.ok(&["rm", "-f"]), "shop-web-1\n");
    assert_eq!(shop.ok(&["ps", "-a", "--services"]), "db\n");
    let (_, said) = shop.fails(&["stop", "nobody"]);
    assert!(said.contains("no such service: nobody"), "{said}");
    shop.ok(&["down", "-t", "0", "-v"]);
    host.leaves_nothing();
}

#[test]
fn what_cannot_be_done_is_said_with_its_place_in_the_file() {
    let Some(host) = Host::with_image() else { return };
    for (key, expected) in [
        ("gpus: all", "services.a.gpus: the engine cannot do this yet"),
        (
            "ports: ['8070:80']\n    scale: 2",
            "services.a.ports[0].published: port 8070 of the host cannot be published for 2 containers",
        ),
        ("logging: {driver: syslog}", "services.a.logging.driver: there is no driver \"syslog\" here"),
        ("networks: [ext]", "network far is declared as external, but it is not there"),
        ("dns: [nonsense]", "services.a.dns: \"nonsense\" is no address"),
    ] {
        let name = format!("p{}", expected.len());
        let file = format!(
            "services:\n  a:\n    image: bb\n    command: sleep 600\n    {key}\n\
             networks: {{default: {{ipam: {{config: [{{subnet: 10.231.7.0/24}}]}}}}, ext: {{name: far, external: true}}}}\n"
        );
        let project = Project::new(&host, &name, &file);
        let (code, said) = project.fails(&["up", "-d"]);
        assert_eq!(code, 1, "{said}");
        assert!(said.contains(expected), "{key}: {said}");
        project.ok(&["down", "-t", "0"]);
    }
    host.leaves_nothing();
}

#[test]
fn an_up_that_is_killed_is_made_whole_by_the_next() {
    let Some(host) = Host::with_image() else { return };
    let shop = Project::new(&host, "shop", TWO);
    for round in 0..12 {
        shop.write("compose.yaml", &TWO.replace("COLOR: blue", &format!("COLOR: blue{round}")));
        let mut command = shop.command(&["up", "-d", "--force-recreate"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(round * 17));
        let _ = child.kill();
        let _ = child.wait();
        // one that was being stopped may end a moment after the next `up` has seen it run
        until("both run", || {
            shop.up(&[]);
            (shop.ok(&["ps", "--services"]) == "db\nweb\n").then_some(())
        });
        assert_eq!(shop.ok(&["ps", "-aq"]).lines().count(), 2, "round {round}: {}", host.ok(&["ps", "-a"]));
        assert_eq!(shop.up(&[]), "", "round {round}");
        let color = shop.ok(&["exec", "-T", "web", "sh", "-c", "echo $COLOR"]);
        assert_eq!(color, format!("blue{round}\n"));
    }
    shop.ok(&["down", "-v", "-t", "0"]);
    host.leaves_nothing();
}

#[test]
fn docker_compose_sees_our_projects_and_we_see_its() {
    let Some(host) = Host::with_image() else { return };
    if !std::path::Path::new("/usr/bin/docker-compose").exists() {
        eprintln!("skipped: docker-compose is not installed");
        return;
    }
    let socket = host.run_root().join("docker.sock");
    let mut daemon = host.command(&["daemon"]).stdout(Stdio::null()).spawn().unwrap();
    until("a daemon that answers", || std::os::unix::net::UnixStream::connect(&socket).ok());
    let shop = Project::new(&host, "shop", &format!("version: '3.6'\n{TWO}"));
    let theirs = |args: &[&str]| {
        let mut command = host.inside("docker-compose");
        command.args(args).current_dir(&shop.folder);
        command.env("DOCKER_HOST", format!("unix://{}", socket.display())).env("HOME", host.path("home"));
        let output = finish(command, PATIENCE);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    shop.up(&[]);
    let listed = theirs(&["ps"]);
    assert!(
        listed.contains("shop-web-1") && listed.contains("shop-db-1") && listed.contains("Up"),
        "{listed}"
    );
    theirs(&["stop", "-t", "0"]);
    assert_eq!(shop.ok(&["ps", "--services"]), "");
    theirs(&["down", "-v", "-t", "0"]);
    assert_eq!(host.ok(&["ps", "-aq"]), "");
    theirs(&["up", "-d"]);
    assert_eq!(shop.ok(&["ps", "--services"]), "db\nweb\n");
    shop.ok(&["down", "-v", "-t", "0"]);
    let _ = daemon.kill();
    let _ = daemon.wait();
    host.leaves_nothing();
}
