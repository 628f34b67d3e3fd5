//! `RUN`.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use container_ns::{BindSource, Filesystem, Mount, MountFlags, MountKind as NsKind};
use dockerfile_parser::{Command, Dockerfile, Ignore, Instruction, MountKind, ResolvedMount, Run, Sharing};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::effect::shell;
use crate::key::Key;
use crate::owner::{Identity, identity};
use crate::progress::Event;
use crate::runner::{RunStep, StepNetwork};
use crate::select::{Selection, Tree};
use crate::stage::{DEFAULT_PATH, Files, Root, Stage};
use crate::stubs::Stubs;
use crate::transfer::{Looks, Placer};
use crate::{Error, view};

/// Where a script with its own interpreter is seen, as BuildKit has it.
const SCRIPT: &str = "/dev/pipes/EOF";

/// A mount with where its files come from.
struct Wanted {
    mount: ResolvedMount,
    target: String,
    origin: Option<Files>,
}

/// What keeps the mounts of a step.
#[derive(Default)]
struct Held {
    locks: Vec<File>,
    /// A tmpfs with the secrets.
    memory: Option<OwnedFd>,
}

impl Stage<'_, '_> {
    pub(crate) fn run(
        &mut self,
        file: &Dockerfile,
        instruction: &Instruction,
        run: &Run,
    ) -> Result<(), Error> {
        let (argv, script) = self.command(file, instruction, &run.command)?;
        let network = match &run.network {
            None => self.session.build.network,
            Some(word) => {
                let text = self.expand(file, word)?;
                let network = StepNetwork::parse(&text)
                    .ok_or_else(|| Error::value("--network", &text, "it is default, none or host"))?;
                // what the build as a whole is refused a step does not get
                match (network, self.session.build.network) {
                    (StepNetwork::Default, of_build) => of_build,
                    (network, _) => network,
                }
            }
        };
        if let Some(word) = &run.security
            && self.expand(file, word)? != "sandbox"
        {
            return Err(Error::Unsupported {
                what: "--security=insecure".to_owned(),
                reason: "steps are confined as containers are",
            });
        }
        if let Some(device) = run.devices.iter().find(|device| device.required) {
            return Err(Error::Unsupported {
                what: file.str(device.span).into_owned(),
                reason: "steps get no devices",
            });
        }
        let mut wanted = Vec::new();
        for mount in &run.mounts {
            let resolved = mount.resolve(file, &mut |text| self.expand_text(file, text))?;
            wanted.push(self.wanted(resolved)?);
        }
        let arguments = self.visible_arguments();
        let said: Vec<String> = arguments.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let shown = match &run.command {
            Command::Exec(_) => argv.join(" "),
            Command::Shell(word) => word.text(file).trim().to_owned(),
            _ => argv.last().cloned().unwrap_or_default(),
        };
        let mut key = Key::new("run")
            .with("parent", &self.files.key)
            .with("user", &self.config.user)
            .with("working directory", &self.config.working_dir)
            .with("network", network.name());
        key.list("word", &argv);
        key.list("variable", &self.config.env);
        key.list("argument", &said);
        key.add("script", script.as_deref().unwrap_or_default());
        for wanted in &wanted {
            self.describe(&mut key, wanted)?;
        }
        let key = key.finish();
        let before = self.files.layers.len();
        let flags: Vec<String> =
            instruction.flags.iter().map(|flag| file.str(flag.span).into_owned() + " ").collect();
        self.step(&format!("RUN {}{shown}", flags.concat()), |stage, number| {
            if stage.cached(&key, number) {
                return Ok(());
            }
            let env = arguments.iter().cloned().chain(stage.predefined()).collect();
            stage.execute(&argv, env, script.as_deref(), network, &wanted, &key, number)
        })?;
        let said =
            if said.is_empty() { String::new() } else { format!("|{} {} ", said.len(), said.join(" ")) };
        let changed = self.files.layers.len() > before;
        self.say(format!("RUN {said}{} # buildkit", argv.join(" ")), changed);
        Ok(())
    }

    /// The words to run, and the script that goes with them if it brings its own interpreter.
    fn command(
        &self,
        file: &Dockerfile,
        instruction: &Instruction,
        command: &Command,
    ) -> Result<(Vec<String>, Option<Vec<u8>>), Error> {
        match command {
            Command::Empty => Err(Error::value("RUN", "", "there is nothing to run")),
            Command::Exec(words) => {
                let words: Vec<String> = words.iter().map(|word| word.text(file).into_owned()).collect();
                if words.is_empty() {
                    return Err(Error::value("RUN", "[]", "there is nothing to run"));
                }
                Ok((words, None))
            }
            Command::Shell(_) | Command::Heredoc(_) => {
                let script = instruction.script(file).unwrap_or_default();
                if matches!(command, Command::Heredoc(_)) && script.starts_with(b"#!") {
                    return Ok((vec![SCRIPT.to_owned()], Some(script.into_owned())));
                }
                let mut words = shell(self);
                words.push(String::from_utf8_lossy(&script).into_owned());
                Ok((words, None))
            }
        }
    }

    fn wanted(&self, mount: ResolvedMount) -> Result<Wanted, Error> {
        let name = |path: &Option<String>| {
            path.as_deref().and_then(|path| path.rsplit('/').next()).unwrap_or_default().to_owned()
        };
        let target = match (&mount.target, mount.kind) {
            (Some(target), _) => target.clone(),
            (None, MountKind::Secret) => format!("/run/secrets/{}", secret_id(&mount)),
            (None, MountKind::Ssh) => "/run/buildkit/ssh_agent.0".to_owned(),
            (None, _) => return Err(Error::value("--mount", name(&mount.source), "it has no target")),
        };
        let target = view::absolute(&self.config.working_dir, &target);
        if target == "/" {
            return Err(Error::value("--mount", target, "the root itself is no target"));
        }
        let origin = mount.from.as_deref().map(|from| self.origin(from)).transpose()?;
        Ok(Wanted { mount, target, origin })
    }

    /// What of a mount decides what the step makes.
    fn describe(&self, key: &mut Key, wanted: &Wanted) -> Result<(), Error> {
        let mount = &wanted.mount;
        key.add("mount", format!("{:?}", mount.kind));
        key.add("target", &wanted.target);
        key.add("read only", [u8::from(mount.read_only)]);
        key.add("looks", format!("{:?} {:?} {:?} {:?}", mount.mode, mount.uid, mount.gid, mount.size));
        key.add("env", format!("{:?}", mount.env));
        let source = mount.source.as_deref().unwrap_or("/");
        match (mount.kind, &wanted.origin) {
            (MountKind::Bind, Some(origin)) => {
                key.add("from", &origin.key);
                key.add("source", source);
            }
            (MountKind::Bind, None) => {
                let tree = &self.session.tree;
                let selected = tree.select(&literal(source), &everything())?;
                let digests = tree.digests(&selected.items, Some(&self.session.facts))?;
                for (item, digest) in selected.items.iter().zip(digests) {
                    key.add("path", item.to.as_os_str().as_encoded_bytes());
                    key.add("mode", item.mode.to_le_bytes());
                    key.add("kind", format!("{:?}", item.kind));
                    key.add("digest", digest);
                }
            }
            _ => key.add("id", mount.id.as_deref().unwrap_or_default()),
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments, reason = "they are what a command consists of")]
    fn execute(
        &mut self,
        argv: &[String],
        arguments: Vec<(String, String)>,
        script: Option<&[u8]>,
        network: StepNetwork,
        wanted: &[Wanted],
        key: &str,
        number: usize,
    ) -> Result<(), Error> {
        let session = self.session;
        let root = self.root(&self.files.layers.clone())?;
        let who = identity(root.mount.as_fd(), &self.config.user)?;
        let mut env: Vec<String> = self.config.env.clone();
        let has = |env: &[String], name: &str| env.iter().any(|known| known.split('=').next() == Some(name));
        if !has(&env, "PATH") {
            env.insert(0, format!("PATH={DEFAULT_PATH}"));
        }
        for (name, value) in arguments {
            if !has(&env, &name) {
                env.push(format!("{name}={value}"));
            }
        }
        if !has(&env, "HOME") {
            env.push(format!("HOME={}", who.home));
        }
        let mut held = Held::default();
        let mut mounts = self.files_of_every_step(&root)?;
        let mut stubs = Stubs::default();
        for directory in ["/proc", "/dev", "/sys"] {
            stubs.need(root.mount.as_fd(), directory, false)?;
        }
        for file in ["/etc/hosts", "/etc/resolv.conf"] {
            stubs.need(root.mount.as_fd(), file, true)?;
        }
        for (at, wanted) in wanted.iter().enumerate() {
            let Some((mount, is_file)) = self.mount(wanted, at, &root, &mut held, &mut env, &who)? else {
                continue;
            };
            if !wanted.target.starts_with("/dev/") {
                stubs.need(root.mount.as_fd(), &wanted.target, is_file)?;
            }
            mounts.push(mount);
        }
        if let Some(script) = script {
            let path = root.work.path("script");
            write(&path, script, 0o755)?;
            mounts.push(Mount::bind(path, SCRIPT, MountFlags::READ_ONLY));
        }
        let working_dir =
            if self.config.working_dir.is_empty() { "/".to_owned() } else { self.config.working_dir.clone() };
        let step = RunStep {
            root: root.mount.try_clone().map_err(Error::io("use", &root.upper))?,
            argv: argv.to_vec(),
            env,
            working_dir,
            user: who.user,
            mounts,
            network,
            stop: &|| session.is_over().is_err(),
        };
        let output = session.builder.output;
        let code = session
            .builder
            .runner
            .run(step, &mut |bytes| output.event(Event::Output { step: number, bytes }))?;
        drop(held);
        if code != 0 {
            return Err(Error::Exit { command: argv.join(" "), code });
        }
        stubs.clean(&root.upper)?;
        self.commit(root, key)
    }

    /// `/etc/hosts` and `/etc/resolv.conf`.
    fn files_of_every_step(&self, root: &Root) -> Result<Vec<Mount>, Error> {
        let mut hosts =
            "127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_owned();
        for (name, address) in &self.session.build.extra_hosts {
            // writing to a string does not fail
            let _ = writeln!(hosts, "{address}\t{name}");
        }
        let mut mounts = Vec::new();
        for (name, text) in [("hosts", hosts.as_str()), ("resolv.conf", &self.session.build.resolv_conf)] {
            let path = root.work.path(name);
            write(&path, text.as_bytes(), 0o644)?;
            mounts.push(Mount::bind(path, format!("/etc/{name}"), MountFlags::READ_ONLY));
        }
        Ok(mounts)
    }

    /// A mount for the step, and whether it is of a file; none for a secret that need not be there.
    fn mount(
        &self,
        wanted: &Wanted,
        at: usize,
        root: &Root,
        held: &mut Held,
        env: &mut Vec<String>,
        who: &Identity,
    ) -> Result<Option<(Mount, bool)>, Error> {
        let mount = &wanted.mount;
        let flags = if mount.read_only { MountFlags::READ_ONLY } else { MountFlags::empty() };
        let bind =
            |source, flags| Mount::new(&wanted.target, NsKind::Bind { source, recursive: false }, flags);
        let build = self.session.build;
        match mount.kind {
            MountKind::Tmpfs => {
                let mut tmpfs = Filesystem::new("tmpfs").option("mode", "1777");
                if let Some(size) = mount.size {
                    tmpfs = tmpfs.option("size", size.to_string());
                }
                let flags = MountFlags::NO_SUID | MountFlags::NO_DEV;
                Ok(Some((Mount::filesystem(&wanted.target, tmpfs, flags), false)))
            }
            MountKind::Cache => {
                let id = mount.id.as_deref().filter(|id| !id.is_empty()).unwrap_or(&wanted.target);
                let alone = mount.sharing == Some(Sharing::Locked);
                let own = mount.sharing == Some(Sharing::Private);
                let (path, lock, is_new) = self.session.builder.cache.mount(id, alone, own)?;
                held.locks.push(lock);
                if is_new {
                    if let Some(origin) = &wanted.origin {
                        let tree = self.session.files_of(origin, "the cache's source")?;
                        fill(&tree, mount.source.as_deref().unwrap_or("/"), &path)?;
                    }
                    let looks = (mount.uid.unwrap_or(0), mount.gid.unwrap_or(0), mount.mode.unwrap_or(0o755));
                    look(&path, looks)?;
                }
                Ok(Some((bind(BindSource::Path(path), flags), false)))
            }
            MountKind::Secret => {
                let id = secret_id(mount);
                let Some(secret) = build.secrets.get(&id) else {
                    return if mount.required { Err(Error::SecretMissing(id)) } else { Ok(None) };
                };
                if let Some(name) = &mount.env {
                    let name = if name.is_empty() { &id } else { name };
                    let value = String::from_utf8_lossy(secret);
                    env.retain(|known| known.split('=').next() != Some(name));
                    env.push(format!("{name}={value}"));
                    if mount.target.is_none() {
                        return Ok(None);
                    }
                }
                let looks = (mount.uid.unwrap_or(0), mount.gid.unwrap_or(0), mount.mode.unwrap_or(0o400));
                let fallback = root.work.path(&format!("secret-{at}"));
                let source = secret_file(held, at, secret, looks, &fallback)?;
                Ok(Some((
                    bind(source, MountFlags::READ_ONLY | MountFlags::NO_SUID | MountFlags::NO_DEV),
                    true,
                )))
            }
            MountKind::Ssh => {
                let id = mount.id.as_deref().filter(|id| !id.is_empty()).unwrap_or("default");
                let Some(socket) = build.ssh.get(id) else {
                    return if mount.required {
                        Err(Error::value("--mount=type=ssh", id, "no agent of this id was given"))
                    } else {
                        Ok(None)
                    };
                };
                let _ = who;
                env.push(format!("SSH_AUTH_SOCK={}", wanted.target));
                Ok(Some((bind(BindSource::Path(socket.clone()), MountFlags::empty()), true)))
            }
            MountKind::Bind => self.bind(wanted, at, root).map(Some),
        }
    }

    fn bind(&self, wanted: &Wanted, at: usize, root: &Root) -> Result<(Mount, bool), Error> {
        let mount = &wanted.mount;
        let source = literal(mount.source.as_deref().unwrap_or("/"));
        let flags = if mount.read_only { MountFlags::READ_ONLY } else { MountFlags::empty() };
        let tree = match &wanted.origin {
            Some(origin) => self.session.files_of(origin, "the mount's source")?,
            None => std::sync::Arc::clone(&self.session.tree),
        };
        let path = view::absolute("/", mount.source.as_deref().unwrap_or("/"));
        let found = view::open(tree.root.as_fd(), &path, OFlags::PATH)
            .map_err(|_| Error::SourceMissing { path: path.clone(), place: tree.place.clone() })?;
        let stat = rustix::fs::fstat(&found).map_err(Error::root("look at", &path))?;
        let is_file = view::kind(&stat) != rustix::fs::FileType::Directory;
        let bind = |source| Mount::new(&wanted.target, NsKind::Bind { source, recursive: false }, flags);
        if mount.read_only && tree.is_context && tree.ignore.is_empty() {
            return Ok((bind(BindSource::Descriptor(found)), is_file));
        }
        if mount.read_only && !tree.is_context {
            let clone = OpenTreeFlags::OPEN_TREE_CLONE
                | OpenTreeFlags::OPEN_TREE_CLOEXEC
                | OpenTreeFlags::AT_EMPTY_PATH;
            // before Linux 6.15 a mount that is attached nowhere cannot be cloned: then its files are copied
            if let Ok(clone) = open_tree(&found, "", clone) {
                return Ok((bind(BindSource::Detached(clone)), is_file));
            }
        }
        // what the step writes there is nobody's, and what is left out is not seen
        let copy = root.work.path(&format!("bind-{at}"));
        fs::create_dir(&copy).map_err(Error::io("create", &copy))?;
        fill(&tree, &source, &copy)?;
        let source = if is_file { copy.join(path.rsplit('/').next().unwrap_or_default()) } else { copy };
        Ok((bind(BindSource::Path(source)), is_file))
    }
}

fn everything() -> Selection<'static> {
    static NOTHING: std::sync::OnceLock<Ignore> = std::sync::OnceLock::new();
    Selection { exclude: NOTHING.get_or_init(Ignore::default), parents: false, into_directory: true }
}

/// A path in which no wildcard is meant.
fn literal(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for letter in path.chars() {
        if matches!(letter, '*' | '?' | '[' | '\\') {
            text.push('\\');
        }
        text.push(letter);
    }
    text
}

/// Copies files of a tree into a directory.
fn fill(tree: &Tree, source: &str, directory: &Path) -> Result<(), Error> {
    let selected = tree.select(source, &everything())?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(directory, flags, Mode::empty())
        .map_err(|errno| Error::io("open", directory)(errno.into()))?;
    let looks = Looks::default();
    let mut placer = Placer::new(root.as_fd(), &looks);
    placer.place(tree, &selected.items, "/")?;
    placer.finish()
}

fn secret_id(mount: &ResolvedMount) -> String {
    let name = |path: &Option<String>| {
        path.as_deref()
            .and_then(|path| path.rsplit('/').next())
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
    };
    let given = mount.id.clone().filter(|id| !id.is_empty());
    given.or_else(|| mount.source.clone()).or_else(|| name(&mount.target)).unwrap_or_default()
}

/// A file with a secret, in memory; on kernels that cannot bind such a file in the step's scratch space, for as long as it runs.
fn secret_file(
    held: &mut Held,
    at: usize,
    secret: &[u8],
    (uid, gid, mode): (u32, u32, u32),
    fallback: &Path,
) -> Result<BindSource, Error> {
    let failed =
        |source: std::io::Error| Error::Surroundings { action: "keep a secret", source: source.into() };
    if held.memory.is_none() {
        held.memory = Some(view::memory().map_err(failed)?);
    }
    let Some(memory) = &held.memory else { return Err(failed(std::io::ErrorKind::Other.into())) };
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = rustix::fs::openat(memory, format!("{at}"), flags, Mode::RUSR)
        .map_err(|errno| failed(errno.into()))?;
    let mut file = File::from(file);
    std::io::Write::write_all(&mut file, secret).map_err(failed)?;
    std::os::unix::fs::fchown(&file, Some(uid), Some(gid)).map_err(failed)?;
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode)).map_err(|errno| failed(errno.into()))?;
    let clone =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if let Ok(clone) = open_tree(&file, "", clone) {
        return Ok(BindSource::Detached(clone));
    }
    // before Linux 6.15 a mount that is attached nowhere cannot be cloned
    let private = File::options().write(true).create_new(true).mode(0o400).open(fallback);
    private
        .and_then(|mut file| std::io::Write::write_all(&mut file, secret))
        .map_err(Error::io("write", fallback))?;
    look(fallback, (uid, gid, mode))?;
    Ok(BindSource::Path(fallback.to_owned()))
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Error> {
    fs::write(path, bytes).map_err(Error::io("write", path))?;
    look(path, (0, 0, mode))
}

fn look(path: &Path, (uid, gid, mode): (u32, u32, u32)) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    std::os::unix::fs::chown(path, Some(uid), Some(gid))
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .map_err(Error::io("set the owner of", path))
}
