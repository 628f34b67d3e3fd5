//! What a bundle would do, and which line of its configuration says so.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use container_ns::{StepKind, StepLine};
use oci_spec::runtime::Spec;

use crate::lines::Lines;
use crate::{ContainerId, Error, Runtime, config, create};

impl Runtime {
    /// What a bundle would do, in order and in words, without doing any of it. Each step names the place in `config.json` that asks for
    /// it, and its line, such as `[process.capabilities, line 31]`; a step without is what every container gets.
    pub fn explain(&self, bundle: &Path) -> Result<String, Error> {
        let bundle = fs::canonicalize(bundle).map_err(Error::file("open bundle", bundle))?;
        let (spec, bytes) = config::load(&bundle)?;
        let id = ContainerId::new("ID")?;
        let cgroup = config::cgroup(&spec, &id)?;
        // as it is written: a mount at `/` has not been moved to the front yet
        let written = spec.clone();
        let prepared = create::prepare(spec, &bundle)?;
        let places = Places { written: &written, moved: &prepared.spec, lines: Lines::of(&bytes) };
        let mut text = format!("     cgroup: {cgroup}{}\n", places.tell(&["linux.cgroupsPath".to_owned()]));
        let devices = written.linux().as_ref().and_then(|linux| linux.net_devices().as_ref());
        for (name, device) in devices.into_iter().flatten() {
            let to = device.name().as_deref().filter(|to| !to.is_empty()).unwrap_or(name);
            let place = places.tell(&[format!("linux.netDevices.{name}")]);
            let _ = writeln!(text, "     net device: {name} as {to}{place}");
        }
        if let Some(hooks) = written.hooks() {
            let lists = [("prestart", hooks.prestart()), ("createRuntime", hooks.create_runtime())];
            for (kind, list) in lists {
                for (index, hook) in list.iter().flatten().enumerate() {
                    let place = places.tell(&[format!("hooks.{kind}[{index}]")]);
                    let _ = writeln!(text, "     hook {kind}: {}{place}", hook.path().display());
                }
            }
        }
        let plan = prepared.sandbox.compile()?;
        let whole = plan.explain();
        let (mut steps, mut hooks) = (plan.steps(), [0, 0]);
        for (number, line) in whole.lines().enumerate() {
            text.push_str(line);
            if number == 0 {
                text.push_str(&places.tell(&["linux.namespaces".to_owned()]));
            } else if let Some(step) = steps.next() {
                text.push_str(&places.tell(&places.of(&step, &mut hooks)));
            }
            text.push('\n');
        }
        Ok(text)
    }
}

struct Places<'a> {
    written: &'a Spec,
    moved: &'a Spec,
    lines: Lines,
}

impl Places<'_> {
    /// The first of these places that the document has, in brackets.
    fn tell(&self, places: &[String]) -> String {
        let found = places.iter().find_map(|place| Some((place, self.lines.line(place)?)));
        found.map_or_else(String::new, |(place, line)| format!("  [{place}, line {line}]"))
    }

    /// Where a step may come from; the nearest first.
    fn of(&self, step: &StepLine<'_>, hooks: &mut [usize; 2]) -> Vec<String> {
        use StepKind as K;
        let one = |place: &str| vec![place.to_owned()];
        let linux = self.written.linux().as_ref();
        let at = |list: &str, index: Option<usize>| {
            index.map(|i| vec![format!("{list}[{i}]")]).unwrap_or_default()
        };
        if let Some(index) = step.mount {
            return self.mount(index);
        }
        match step.kind {
            K::JoinCgroup => one("linux.cgroupsPath"),
            K::JoinNamespace | K::NewNamespace | K::SecondClone => {
                let named = |one: &oci_spec::runtime::LinuxNamespace| {
                    let kind = one.typ().to_string();
                    step.object.starts_with(if kind == "network" { "net" } else { &kind })
                };
                let list = linux.and_then(|linux| linux.namespaces().as_ref());
                let mut places = at("linux.namespaces", list.and_then(|list| list.iter().position(named)));
                places.push("linux.namespaces".to_owned());
                places
            }
            K::AwaitIdMaps => one("linux.uidMappings"),
            K::TimeOffset => one("linux.timeOffsets"),
            K::OomScore => one("process.oomScoreAdj"),
            K::Hostname => one("hostname"),
            K::Domainname => one("domainname"),
            K::Root => {
                let root = self
                    .written
                    .mounts()
                    .iter()
                    .flatten()
                    .position(|mount| mount.destination() == Path::new("/"));
                root.map_or_else(
                    || vec!["root.path".to_owned(), "root".to_owned()],
                    |index| at("mounts", Some(index)),
                )
            }
            K::ReadOnlyRoot => one("root.readonly"),
            K::HostPropagation | K::RootPropagation => one("linux.rootfsPropagation"),
            K::Device => {
                let list = linux.and_then(|linux| linux.devices().as_ref());
                let path = step.object.split(' ').next().unwrap_or_default();
                at(
                    "linux.devices",
                    list.and_then(|list| list.iter().position(|one| one.path() == Path::new(path))),
                )
            }
            K::MaskPath | K::ReadOnlyPath => {
                let (name, list) = if step.kind == K::MaskPath {
                    ("linux.maskedPaths", linux.and_then(|linux| linux.masked_paths().as_ref()))
                } else {
                    ("linux.readonlyPaths", linux.and_then(|linux| linux.readonly_paths().as_ref()))
                };
                at(
                    name,
                    list.and_then(|list| {
                        list.iter().position(|path| Path::new("/").join(path) == Path::new(step.object))
                    }),
                )
            }
            K::Sysctl => {
                let name = step.object.split(" = ").next().unwrap_or_default();
                vec![format!("linux.sysctl.{name}"), "linux.sysctl".to_owned()]
            }
            K::Hook => {
                let (slot, kind) = if step.object.starts_with("startContainer") {
                    (1, "startContainer")
                } else {
                    (0, "createContainer")
                };
                let index = hooks.get_mut(slot).map(|count| std::mem::replace(count, *count + 1));
                at(&format!("hooks.{kind}"), index)
            }
            K::Rlimit => {
                let limits = self.written.process().as_ref().and_then(|process| process.rlimits().as_ref());
                let kind = step.object.split(' ').next().unwrap_or_default();
                at(
                    "process.rlimits",
                    limits.and_then(|list| list.iter().position(|one| one.typ().to_string() == kind)),
                )
            }
            K::Terminal => vec!["process.consoleSize".to_owned(), "process.terminal".to_owned()],
            K::WorkingDirectory => one("process.cwd"),
            K::Personality => one("linux.personality"),
            K::MemoryPolicy => one("linux.memoryPolicy"),
            K::Scheduler => one("process.scheduler"),
            K::IoPriority => one("process.ioPriority"),
            K::BoundingSet => {
                vec!["process.capabilities.bounding".to_owned(), "process.capabilities".to_owned()]
            }
            K::Capabilities => one("process.capabilities"),
            K::AmbientSet => {
                vec!["process.capabilities.ambient".to_owned(), "process.capabilities".to_owned()]
            }
            K::User => one("process.user"),
            K::Umask => one("process.user.umask"),
            K::NoNewPrivileges => one("process.noNewPrivileges"),
            K::Label => vec!["process.apparmorProfile".to_owned(), "process.selinuxLabel".to_owned()],
            K::Seccomp => {
                vec!["linux.seccomp".to_owned(), format!("annotations.{}", crate::SECCOMP_PROFILE_ANNOTATION)]
            }
            K::FindProgram | K::Execute => one("process.args"),
            _ => Vec::new(),
        }
    }

    /// The place of one of the sandbox's mounts: the one at `/` is none of them, and stands first in what was moved.
    fn mount(&self, index: usize) -> Vec<String> {
        let list = |spec: &Spec| spec.mounts().clone().unwrap_or_default();
        let (moved, written) = (list(self.moved), list(self.written));
        let at_root = usize::from(moved.first().is_some_and(|mount| mount.destination() == Path::new("/")));
        let Some(mount) = moved.get(index + at_root) else { return Vec::new() };
        // of equal mounts, the first as the first
        let nth = moved.iter().take(index + at_root).filter(|other| *other == mount).count();
        let equal = written.iter().enumerate().filter(|(_, other)| *other == mount);
        equal.map(|(place, _)| format!("mounts[{place}]")).skip(nth).take(1).collect()
    }
}
