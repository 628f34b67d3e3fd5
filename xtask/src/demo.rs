//! From nothing to a page that counts its visitors, and back to nothing.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::process::{Show, run as run_program};
use crate::workspace::Workspace;
use crate::{Failure, apt, debian};

const MINUTE: Duration = Duration::from_secs(60);
/// How long a service may take until it answers.
const PATIENCE: Duration = Duration::from_secs(60);
const INSIDE: &str = "python3-flask,python3-redis,redis-server";
const IMAGE: &str = "demo/flask-redis:latest";
const NETWORK: &str = "demo";

struct Demo {
    workspace: Workspace,
    folder: PathBuf,
    run_root: PathBuf,
    /// What was done, and how long it took.
    steps: Vec<(String, Duration)>,
}

/// The command.
pub(crate) fn run() -> Result<bool, Failure> {
    let workspace = Workspace::find()?;
    let folder = workspace.target.join("demo");
    fs::create_dir_all(&folder)?;
    let mut demo = Demo { workspace, folder, run_root: "/run/dunnage-demo".into(), steps: Vec::new() };
    let prepared = demo.prepare();
    let outcome = match prepared {
        Ok(()) => {
            let outcome = demo.show();
            // whatever happened before, nothing stays
            let down = demo.down();
            outcome.and(down)
        }
        Err(failure) => Err(failure),
    };
    println!("\nhow long each step took");
    for (what, took) in &demo.steps {
        println!("{:>9.2} s  {what}", took.as_secs_f64());
    }
    match outcome {
        Ok(()) => {
            println!("\nthe demo is over, and nothing of it is left");
            Ok(true)
        }
        Err(failure) => {
            println!("\nthe demo failed: {failure}");
            Ok(false)
        }
    }
}

impl Demo {
    /// Does a step, says it, and takes its time.
    fn step<T>(
        &mut self,
        what: &str,
        work: impl FnOnce(&mut Self) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        println!("\n== {what}");
        let begin = Instant::now();
        let outcome = work(self);
        let failed = if outcome.is_ok() { "" } else { " (failed)" };
        self.steps.push((format!("{what}{failed}"), begin.elapsed()));
        outcome.map_err(|failure| format!("{what}: {failure}").into())
    }

    /// What the engine needs: its programs, and a root file system.
    fn prepare(&mut self) -> Result<(), Failure> {
        self.step("packages", |demo| apt::needs(&demo.workspace, &debian::PACKAGES))?;
        self.step("build", |demo| {
            let words = ["build", "-p", "dunnage", "-p", "container-runtime"];
            let command = demo.workspace.cargo(&words);
            let ended = run_program(command, MINUTE * 20, &demo.workspace.log("demo-build"), Show::Nothing)?;
            if ended.success() {
                Ok(())
            } else {
                Err(format!("{}\n{}", ended.reason(), ended.last(40)).into())
            }
        })?;
        let archive = self.archive();
        self.step("Debian root by mmdebstrap", |demo| debian::root(&demo.workspace, &archive, INSIDE))
    }

    fn archive(&self) -> PathBuf {
        self.folder.join("bookworm.tar")
    }

    /// A command of dunnage with roots of its own; shown as a person would type it.
    fn dunnage(&self, args: &[&str]) -> Result<String, Failure> {
        self.dunnage_quietly(args, MINUTE * 5, true)
    }

    fn dunnage_quietly(&self, args: &[&str], limit: Duration, shown: bool) -> Result<String, Failure> {
        if shown {
            let words = args.iter().map(|word| if word.is_empty() { "\"\"" } else { word });
            println!("$ dunnage {}", words.collect::<Vec<_>>().join(" "));
        }
        let mut command = Command::new(self.workspace.target.join("debug/dunnage"));
        command.arg("--root").arg(self.folder.join("root")).arg("--run-root").arg(&self.run_root).args(args);
        let show = if shown { Show::All } else { Show::Nothing };
        let ended = run_program(command, limit, &self.workspace.log("demo"), show)?;
        if ended.success() {
            return Ok(ended.text);
        }
        Err(format!("dunnage {}: {}: {}", args.join(" "), ended.reason(), ended.last(5)).into())
    }

    fn show(&mut self) -> Result<(), Failure> {
        let port = free_port()?;
        // what a run that was killed has left
        self.remove(false);
        let archive = self.archive();
        self.step("import", |demo| demo.dunnage(&["import", path(&archive)?, IMAGE]))?;
        self.step("network", |demo| demo.dunnage(&["network", "create", NETWORK]))?;
        self.step("Redis", |demo| {
            let server = ["redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", ""];
            demo.dunnage(
                &[&["run", "-d", "--name", "redis", "--network", NETWORK, IMAGE], &server[..]].concat(),
            )?;
            demo.until("Redis", |demo| {
                let pong = demo.dunnage_quietly(&["exec", "redis", "redis-cli", "ping"], MINUTE, false)?;
                if pong.trim() == "PONG" { Ok(()) } else { Err(pong.into()) }
            })
        })?;
        let app = self.workspace.root.join("xtask/demo/app.py");
        let mut visits = Vec::new();
        self.step("Flask, until the page answers", |demo| {
            let (volume, publish) = (format!("{}:/app.py:ro", path(&app)?), format!("{port}:5000"));
            let options = ["run", "-d", "--name", "web", "--network", NETWORK, "-e", "REDIS_HOST=redis"];
            let more = ["-p", publish.as_str(), "-v", volume.as_str(), IMAGE, "python3", "/app.py"];
            demo.dunnage(&[&options[..], &more[..]].concat())?;
            visits.push(demo.until("the page", |_| fetch(port))?);
            Ok(())
        })?;
        self.step("the page, two times more", |_| {
            for _ in 0..2 {
                visits.push(fetch(port)?);
            }
            for page in &visits {
                println!("http://127.0.0.1:{port}/ answers: {}", page.trim());
            }
            for (page, hits) in visits.iter().zip(1..) {
                if !page.contains(&format!(": {hits} hits")) {
                    return Err(format!("visit {hits} is answered by {page:?}").into());
                }
            }
            Ok(())
        })?;
        self.step("ps", |demo| demo.dunnage(&["ps"]))?;
        self.step("logs", |demo| demo.dunnage(&["logs", "web"]))?;
        self.step("explain", |demo| demo.dunnage(&["explain", "web"]))?;
        Ok(())
    }

    /// Tries until it works, a second at most between two tries, and not for ever.
    fn until<T>(
        &self,
        what: &str,
        mut attempt: impl FnMut(&Self) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let begin = Instant::now();
        loop {
            match attempt(self) {
                Ok(done) => return Ok(done),
                Err(last) if begin.elapsed() > PATIENCE => {
                    for name in ["redis", "web"] {
                        let _ = self.dunnage(&["logs", name]);
                    }
                    let seconds = PATIENCE.as_secs();
                    return Err(format!("{what} does not answer within {seconds} s: {last}").into());
                }
                Err(_) => sleep(Duration::from_millis(50)),
            }
        }
    }

    /// Takes all down, and asks whether all is gone.
    fn down(&mut self) -> Result<(), Failure> {
        self.step("down", |demo| {
            demo.remove(true);
            Ok(())
        })?;
        self.step("system check", |demo| {
            let found = demo.dunnage(&["system", "check"])?;
            let left = demo.dunnage_quietly(&["ps", "-a", "-q"], MINUTE, false)?;
            let mounts = fs::read_to_string("/proc/self/mountinfo")?;
            let folder = demo.folder.display().to_string();
            let mounts = mounts.lines().filter(|line| line.contains(&folder)).count();
            println!("containers left: {}; mounts left: {mounts}", left.lines().count());
            if found.trim() == "clean" && left.trim().is_empty() && mounts == 0 {
                // nothing lives there any more: the empty stores go, too
                for folder in [demo.folder.join("root"), demo.run_root.clone()] {
                    fs::remove_dir_all(folder)?;
                }
                return Ok(());
            }
            Err(format!("something is left: {found}{left}").into())
        })
    }

    /// Removes what is there; what is not there is nothing to say.
    fn remove(&self, shown: bool) {
        for args in
            [&["rm", "-f", "web"][..], &["rm", "-f", "redis"], &["network", "rm", NETWORK], &["rmi", IMAGE]]
        {
            // `system check` is the judge of what is left
            let outcome = self.dunnage_quietly(args, MINUTE, shown);
            if let (Err(failure), true) = (outcome, shown) {
                println!("{failure}");
            }
        }
    }
}

fn path(path: &Path) -> Result<&str, Failure> {
    path.to_str().ok_or_else(|| format!("{} is not UTF-8", path.display()).into())
}

/// Port 5000, or another if somebody has it.
fn free_port() -> Result<u16, Failure> {
    if TcpListener::bind((Ipv4Addr::UNSPECIFIED, 5000)).is_ok() {
        return Ok(5000);
    }
    let port = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?.local_addr()?.port();
    println!("port 5000 is taken: the page will be at port {port}");
    Ok(port)
}

/// The page, in bounded time.
fn fetch(port: u16) -> Result<String, Failure> {
    let limit = Duration::from_secs(10);
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    stream.write_all(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(1 << 20).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| format!("no HTTP: {answer:?}"))?;
    let status = head.lines().next().unwrap_or("");
    if status.contains(" 200 ") { Ok(body.to_owned()) } else { Err(format!("{status}: {body}").into()) }
}
