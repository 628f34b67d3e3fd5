use std::fs;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use container_engine::{Credential, Credentials, Http, HttpOptions, Registry};
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::context::{Failure, print};
use crate::helper::Programs;

const DOCKER_HUB: &str = "docker.io";

#[derive(Debug, Args)]
pub(crate) struct Login {
    /// User name
    #[arg(short, long)]
    username: Option<String>,
    /// Password; everybody on this machine can see it there: better give it on standard input
    #[arg(short, long)]
    password: Option<String>,
    /// Take the password from standard input
    #[arg(long, conflicts_with = "password")]
    password_stdin: bool,
    /// Speak plain http to the registry
    #[arg(long)]
    insecure: bool,
    /// Registry: host[:port]
    #[arg(default_value = DOCKER_HUB)]
    server: String,
}

#[derive(Debug, Args)]
pub(crate) struct Logout {
    /// Registry: host[:port]
    #[arg(default_value = DOCKER_HUB)]
    server: String,
}

impl Login {
    pub(crate) fn run(self) -> Result<u8, Failure> {
        let user = match self.username {
            Some(user) => user,
            None => ask("Username: ", true)?,
        };
        let password = match self.password {
            Some(password) => password,
            None if self.password_stdin => {
                let mut text = String::new();
                io::stdin().take(64 << 10).read_to_string(&mut text)?;
                text.trim_end_matches(['\r', '\n']).to_owned()
            }
            None => ask("Password: ", false)?,
        };
        if user.is_empty() || password.is_empty() {
            return Err(Failure::new("a user name and a password are needed"));
        }
        let password = Credential::Password { user, password };
        ask_registry(&self.server, self.insecure, &password)?;
        let text = Credentials::with_login(&read_config()?, &self.server, &password)
            .map_err(container_engine::Error::from)?;
        write_config(&text)?;
        print("Login Succeeded")?;
        Ok(0)
    }
}

impl Logout {
    pub(crate) fn run(self) -> Result<u8, Failure> {
        let text = Credentials::without_login(&read_config()?, &self.server)
            .map_err(container_engine::Error::from)?;
        match text {
            Some(text) => {
                write_config(&text)?;
                print(format_args!("Removing login credentials for {}", self.server))?;
            }
            None => print(format_args!("Not logged in to {}", self.server))?,
        }
        Ok(0)
    }
}

fn ask_registry(server: &str, insecure: bool, credential: &Credential) -> Result<(), Failure> {
    let mut credentials = Credentials::default();
    credentials.set(server, credential.clone());
    let client = client(server, insecure)?.credentials(credentials);
    Ok(client.ping(server).map_err(container_engine::Error::from)?)
}

/// Whether a registry takes a name and password.
pub(crate) fn check(server: &str, user: String, password: String) -> Result<(), Failure> {
    ask_registry(server, false, &Credential::Password { user, password })
}

/// A client without credentials.
pub(crate) fn anonymous(domain: &str) -> Result<Registry, Failure> {
    client(domain, false)
}

/// A client with the person's credentials.
pub(crate) fn registry(domain: &str, insecure: bool) -> Result<Registry, Failure> {
    let credentials = Credentials::parse(&read_config()?).map_err(container_engine::Error::from)?;
    Ok(client(domain, insecure)?.credentials(credentials).helper(Programs))
}

fn client(domain: &str, insecure: bool) -> Result<Registry, Failure> {
    // a person waits: two seconds of pauses in all
    let client = Registry::new(Http::new(&HttpOptions::default())?).retries(4, Duration::from_millis(250));
    Ok(client.insecure(if insecure { vec![domain.to_owned()] } else { Vec::new() }))
}

/// Docker's own file, so that a login there is one here.
fn config_path() -> Result<PathBuf, Failure> {
    let directory = match (std::env::var_os("DOCKER_CONFIG"), std::env::var_os("HOME")) {
        (Some(directory), _) if !directory.is_empty() => PathBuf::from(directory),
        (_, Some(home)) if !home.is_empty() => PathBuf::from(home).join(".docker"),
        _ => return Err(Failure::new("neither DOCKER_CONFIG nor HOME says where credentials are")),
    };
    Ok(directory.join("config.json"))
}

fn read_config() -> Result<String, Failure> {
    // without a home nobody has logged in
    let Ok(path) = config_path() else { return Ok("{}".to_owned()) };
    match fs::read_to_string(&path) {
        Ok(text) if text.trim().is_empty() => Ok("{}".to_owned()),
        Ok(text) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok("{}".to_owned()),
        Err(error) => Err(Failure::new(format!("cannot read {}: {error}", path.display()))),
    }
}

/// Replaces the file whole; nobody else may read it.
fn write_config(text: &str) -> Result<(), Failure> {
    let path = config_path()?;
    let failed = |error: io::Error| Failure::new(format!("cannot write {}: {error}", path.display()));
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(failed)?;
    }
    let new = path.with_extension(format!("json.{}", std::process::id()));
    let mut file =
        fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&new).map_err(failed)?;
    let written =
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&new, &path));
    if written.is_err() {
        // the first error is the one to report
        let _ = fs::remove_file(&new);
    }
    written.map_err(failed)
}

/// Asks at the terminal; a secret is not shown.
fn ask(question: &str, shown: bool) -> Result<String, Failure> {
    let input = io::stdin();
    if !input.is_terminal() {
        return Err(Failure::new("standard input is no terminal: use --username and --password-stdin"));
    }
    let mut output = io::stderr();
    write!(output, "{question}").and_then(|()| output.flush())?;
    let before = tcgetattr(&input).map_err(io::Error::from)?;
    if !shown {
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&input, OptionalActions::Now, &quiet).map_err(io::Error::from)?;
    }
    let mut line = String::new();
    let read = input.lock().read_line(&mut line);
    if !shown {
        tcsetattr(&input, OptionalActions::Now, &before).map_err(io::Error::from)?;
        writeln!(output)?;
    }
    read?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
