//! Good practice, as hadolint's users know it: package managers, users, downloads.

use crate::code::Code;
use crate::diagnostic::Diagnostic;
use crate::dockerfile::clip;
use crate::edit::Edit;
use crate::graph::Target;
use crate::instruction::{Instruction, Kind, Source};
use crate::lint::{Linter, Variables};
use crate::mount::MountKind;
use crate::reference;
use crate::shell::{self, Script, unquote};
use crate::span::Span;

/// What is remembered within a stage.
#[derive(Default)]
pub(crate) struct Practice {
    /// The last `USER`, if it is root.
    root: Option<(usize, Span)>,
    /// The instruction before, if it is a `RUN` that could be joined, with its flags as text.
    run: Option<Vec<u8>>,
    wget: Option<Span>,
    curl: Option<Span>,
}

/// A package manager's installing command.
struct Manager {
    programs: &'static [&'static str],
    verbs: &'static [&'static str],
    /// Flags that take the next word along.
    valued: &'static [&'static str],
    /// What tells a version from a name.
    version: &'static [&'static str],
    pin: Option<Code>,
}

const MANAGERS: [Manager; 9] = [
    Manager {
        programs: &["apt-get", "apt"],
        verbs: &["install"],
        valued: &["-t", "--target-release", "-o", "--option", "-c"],
        version: &["=", "/"],
        pin: Some(Code::PinAptVersions),
    },
    Manager {
        programs: &["apk"],
        verbs: &["add"],
        valued: &["-t", "--virtual", "-X", "--repository", "-p", "--root", "--arch"],
        version: &["=", "<", ">", "~"],
        pin: Some(Code::PinApkVersions),
    },
    Manager {
        programs: &["pip", "pip3"],
        verbs: &["install"],
        valued: &[
            "-r",
            "--requirement",
            "-c",
            "--constraint",
            "-e",
            "--editable",
            "-i",
            "--index-url",
            "--extra-index-url",
            "-f",
            "--find-links",
            "-t",
            "--target",
            "--prefix",
            "--root",
            "--trusted-host",
        ],
        version: &["==", ">=", "<=", "~=", "!=", ">", "<", "@", "/", ".txt", ".whl", ".tar"],
        pin: Some(Code::PinPipVersions),
    },
    Manager {
        programs: &["npm"],
        verbs: &["install", "i", "add"],
        valued: &["--prefix", "--registry", "-C"],
        version: &["/", "#", ".tgz"],
        pin: Some(Code::PinNpmVersions),
    },
    Manager {
        programs: &["gem"],
        verbs: &["install", "i"],
        valued: &["-v", "--version", "-i", "--install-dir", "--source", "-s"],
        version: &[":", ".gem"],
        pin: Some(Code::PinGemVersions),
    },
    Manager { programs: &["yum"], verbs: &["install"], valued: &[], version: &[], pin: None },
    Manager { programs: &["dnf", "microdnf"], verbs: &["install"], valued: &[], version: &[], pin: None },
    Manager { programs: &["zypper"], verbs: &["install", "in"], valued: &[], version: &[], pin: None },
    Manager { programs: &["yarn"], verbs: &["install"], valued: &[], version: &[], pin: None },
];

impl Practice {
    /// A new stage.
    pub(crate) fn begin(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn from(linter: &mut Linter<'_>, stage: usize) {
        let stage = &linter.graph.stages()[stage];
        let Target::Image(name) = &stage.base else { return };
        let Some(instruction) = linter.file.instructions().get(stage.from) else { return };
        let Kind::From(from) = &instruction.kind else { return };
        let Some(word) = &from.image else { return };
        linter.at(stage.from);
        // what an argument decides is the caller's
        if word.text(linter.file).contains('$') {
            return;
        }
        match reference::tag(name) {
            (None, false) => {
                let message = format!("'{}' without a tag is whatever is newest at the time", clip(name));
                linter.say(Code::UntaggedImage, word.span, message);
            }
            (Some("latest"), false) => {
                let message =
                    format!("'{}' is whatever is newest at the time; a version is better", clip(name));
                linter.say(Code::LatestTag, word.span, message);
            }
            _ => {}
        }
    }

    pub(crate) fn instruction(
        &mut self,
        linter: &mut Linter<'_>,
        index: usize,
        workdir: bool,
        pipefail: bool,
        variables: &Variables,
    ) {
        let Some(instruction) = linter.file.instructions().get(index) else { return };
        let file = linter.file;
        let before = self.run.take();
        match &instruction.kind {
            Kind::Run(_) => {
                if instruction.heredocs.is_empty() {
                    let flags = flags(linter, instruction);
                    if before.as_ref() == Some(&flags) {
                        linter.say(
                            Code::MultipleRun,
                            instruction.keyword,
                            "RUN after RUN: one RUN would make one layer",
                        );
                    }
                    self.run = Some(flags);
                }
                if let Some(script) = Script::of(file, instruction) {
                    self.script(linter, instruction, &script, pipefail, variables);
                }
            }
            Kind::User(Some(word)) => {
                let text = word.text(file);
                let user = unquote(text.split(':').next().unwrap_or_default());
                self.root = matches!(user, "root" | "0").then_some((index, word.span));
            }
            Kind::Copy(copy) => destination(linter, copy.destination.as_ref(), workdir),
            Kind::Add(add) => {
                destination(linter, add.destination.as_ref(), workdir);
                let plain = |source: &Source| source.heredoc.is_none() && is_plain(&source.word.text(file));
                if !add.sources.is_empty() && add.sources.iter().all(plain) && instruction.flags.is_empty() {
                    let upper = file.slice(instruction.keyword).first().is_some_and(u8::is_ascii_uppercase);
                    let new = if upper { "COPY" } else { "copy" };
                    linter.emit(
                        Diagnostic::new(
                            Code::UseCopy,
                            instruction.keyword,
                            "ADD of plain files: COPY does the same and no more",
                        )
                        .suggest("use COPY", Edit::replace(instruction.keyword, new)),
                    );
                }
            }
            Kind::Env(pairs) if pairs.len() > 1 => {
                let names: std::collections::HashSet<_> =
                    pairs.iter().map(|pair| pair.name.text(file)).collect();
                for pair in pairs {
                    let value = pair.value.text(file);
                    let own = used(&value).into_iter().find(|name| {
                        *name != pair.name.text(file)
                            && names.contains(*name)
                            && !variables_had(variables, name, &names)
                    });
                    if let Some(name) = own {
                        let message =
                            format!("'${}' is set by this very ENV, so it is not seen here yet", clip(name));
                        linter.say(Code::SelfReferenceInEnv, pair.value.span, message);
                    }
                }
            }
            _ => {}
        }
    }

    /// The end of a stage.
    pub(crate) fn end(&mut self, linter: &mut Linter<'_>) {
        if let Some((index, span)) = self.root {
            linter.at(index);
            linter.say(Code::LastUserRoot, span, "the last USER is root, so what runs in the container is");
        }
    }

    fn script(
        &mut self,
        linter: &mut Linter<'_>,
        instruction: &Instruction,
        script: &Script<'_>,
        pipefail: bool,
        variables: &Variables,
    ) {
        let commands = shell::commands(&script.text);
        let text = &*script.text;
        let cached = cache_targets(linter, instruction);
        let mut fails = pipefail;
        let mut apt = None;
        let (mut yum, mut dnf, mut zypper, mut yarn) = (None, None, None, None);
        let mut piped: Option<&str> = None;
        for (at, command) in commands.iter().enumerate() {
            let Some((program, arguments)) = command.program() else { continue };
            let name = program.rsplit('/').next().unwrap_or(program);
            if command.piped {
                piped.get_or_insert(program);
            }
            match name {
                "set" => fails |= arguments.contains(&"pipefail"),
                "sudo" => linter.say(
                    Code::NoSudo,
                    script.span(program),
                    "sudo is not needed in a build: RUN is root unless USER says otherwise",
                ),
                "cd" if at == 0 => linter.say(
                    Code::UseWorkdir,
                    script.span(program),
                    "cd lasts until the end of this RUN; WORKDIR lasts",
                ),
                "ssh" | "vim" | "shutdown" | "service" | "ps" | "free" | "top" | "kill" | "mount"
                | "ifconfig" | "systemctl" | "reboot" => {
                    linter.say(
                        Code::UselessCommand,
                        script.span(program),
                        format!("{name} makes little sense in a build"),
                    );
                }
                "apt" => {
                    let fault = Diagnostic::new(
                        Code::UseAptGet,
                        script.span(program),
                        "apt is for people; apt-get is stable for scripts",
                    );
                    let span = script.span(program);
                    linter.emit(if program == "apt" {
                        fault.suggest("use apt-get", Edit::replace(span, "apt-get"))
                    } else {
                        fault
                    });
                }
                "useradd" => useradd(linter, script, program, arguments),
                "wget" => {
                    self.wget.get_or_insert(script.span(program));
                    let quiet = arguments.iter().any(|word| {
                        matches!(*word, "-q" | "--quiet" | "-nv" | "--no-verbose" | "-o" | "-a")
                            || word.starts_with("--progress")
                            || word.starts_with("-q")
                            || word.starts_with("--output-file")
                    });
                    if !quiet {
                        linter.emit(
                            Diagnostic::new(
                                Code::WgetProgress,
                                script.span(program),
                                "wget draws its progress into the build's log",
                            )
                            .suggest(
                                "use --progress=dot:giga",
                                Edit::insert(script.span(program).end, " --progress=dot:giga"),
                            ),
                        );
                    }
                }
                "curl" => {
                    self.curl.get_or_insert(script.span(program));
                }
                "ln" if arguments.iter().any(|word| unquote(word) == "/bin/sh") => {
                    linter.say(
                        Code::UseShell,
                        script.span(program),
                        "SHELL chooses another shell without changing /bin/sh",
                    );
                }
                _ => {}
            }
            // python -m pip
            let (name, arguments) = match (name, arguments) {
                (_, ["-m", "pip", rest @ ..]) if name.starts_with("python") => ("pip", rest),
                _ => (name, arguments),
            };
            let Some(manager) = MANAGERS.iter().find(|manager| manager.programs.contains(&name)) else {
                continue;
            };
            let Some(verb) = arguments.iter().position(|word| !word.starts_with('-')) else { continue };
            if name == "apt-get" && arguments[verb] == "update" {
                apt.get_or_insert(script.span(program));
            }
            if !manager.verbs.contains(&arguments[verb]) {
                continue;
            }
            let place = script.span(arguments[verb]);
            match manager.programs[0] {
                "apt-get" => {
                    apt.get_or_insert(script.span(program));
                    if !assumes_yes(arguments, &["--assume-yes", "--yes", "-qq", "--quiet=2", "-q=2"]) {
                        linter.emit(
                            Diagnostic::new(
                                Code::AptAssumeYes,
                                place,
                                "apt-get install without -y waits for an answer",
                            )
                            .suggest("add -y", Edit::insert(place.end, " -y")),
                        );
                    }
                    let recommends = arguments.iter().any(|word| {
                        *word == "--no-install-recommends" || word.contains("APT::Install-Recommends")
                    });
                    if !recommends {
                        linter.emit(
                            Diagnostic::new(
                                Code::AptNoRecommends,
                                place,
                                "apt-get install also installs what is only recommended",
                            )
                            .suggest(
                                "add --no-install-recommends",
                                Edit::insert(place.end, " --no-install-recommends"),
                            ),
                        );
                    }
                }
                "apk"
                    if !arguments.contains(&"--no-cache")
                        && !cached.iter().any(|path| {
                            path.starts_with("/var/cache/apk") || path.starts_with("/etc/apk/cache")
                        }) =>
                {
                    linter.emit(
                        Diagnostic::new(Code::ApkNoCache, place, "apk add leaves its index in the layer")
                            .suggest("add --no-cache", Edit::insert(place.end, " --no-cache")),
                    );
                }
                "pip" => {
                    let off = arguments.contains(&"--no-cache-dir")
                        || variables.has("PIP_NO_CACHE_DIR")
                        || command.words.iter().any(|word| word.starts_with("PIP_NO_CACHE_DIR="))
                        || cached.iter().any(|path| path.contains("/.cache"));
                    if !off {
                        linter.emit(
                            Diagnostic::new(Code::PipNoCache, place, "pip leaves its downloads in the layer")
                                .suggest("add --no-cache-dir", Edit::insert(place.end, " --no-cache-dir")),
                        );
                    }
                }
                "yum" | "dnf" | "zypper" => {
                    let (code, slot) = match manager.programs[0] {
                        "yum" => (Code::YumAssumeYes, &mut yum),
                        "dnf" => (Code::DnfAssumeYes, &mut dnf),
                        _ => (Code::ZypperAssumeYes, &mut zypper),
                    };
                    slot.get_or_insert(place);
                    if !assumes_yes(arguments, &["--assumeyes", "--non-interactive", "-n", "--no-confirm"]) {
                        linter.emit(
                            Diagnostic::new(
                                code,
                                place,
                                format!("{name} install without -y waits for an answer"),
                            )
                            .suggest("add -y", Edit::insert(place.end, " -y")),
                        );
                    }
                }
                "yarn" => {
                    yarn.get_or_insert(place);
                }
                _ => {}
            }
            pins(linter, script, manager, arguments, verb);
        }
        if let Some(place) = apt
            && !text.contains("/var/lib/apt/lists")
            && !cached
                .iter()
                .any(|path| path.starts_with("/var/lib/apt") || path.starts_with("/var/cache/apt"))
        {
            linter.say(
                Code::CleanAptLists,
                place,
                "the package lists stay in the layer: rm -rf /var/lib/apt/lists/*",
            );
        }
        for (place, code, cleaned, what) in [
            (
                yum,
                Code::CleanYum,
                text.contains("yum clean all") || text.contains("/var/cache/yum"),
                "yum clean all",
            ),
            (
                dnf,
                Code::CleanDnf,
                text.contains("dnf clean all")
                    || text.contains("/var/cache/dnf")
                    || text.contains("/var/cache/libdnf5"),
                "dnf clean all",
            ),
            (
                zypper,
                Code::CleanZypper,
                text.contains("zypper clean") || text.contains("zypper cc"),
                "zypper clean",
            ),
            (
                yarn,
                Code::CleanYarn,
                text.contains("yarn cache clean") || cached.iter().any(|path| path.contains("yarn")),
                "yarn cache clean",
            ),
        ] {
            if let Some(place) = place
                && !cleaned
            {
                linter.say(code, place, format!("downloads stay in the layer: {what}"));
            }
        }
        if let Some(program) = piped
            && !fails
        {
            let message = "only the last command of a pipe decides; 'set -o pipefail' or a SHELL with it makes all count";
            linter.say(Code::PipefailMissing, script.span(program), message);
        }
        if let (Some(wget), Some(curl)) = (self.wget, self.curl) {
            linter.say(
                Code::WgetAndCurl,
                if wget.start > curl.start { wget } else { curl },
                "wget and curl in one stage: one of them would do",
            );
            self.wget = None;
            self.curl = None;
        }
    }
}

/// Whether a later name in an `ENV` had a value before that `ENV`; its own definition does not count.
fn variables_had(
    variables: &Variables,
    name: &str,
    names: &std::collections::HashSet<std::borrow::Cow<'_, str>>,
) -> bool {
    variables.count(name) > usize::from(names.contains(name))
}

/// The flags of an instruction as text.
fn flags(linter: &Linter<'_>, instruction: &Instruction) -> Vec<u8> {
    let mut out = Vec::new();
    for flag in &instruction.flags {
        out.extend_from_slice(linter.file.slice(flag.span));
        out.push(0);
    }
    out
}

fn cache_targets(linter: &Linter<'_>, instruction: &Instruction) -> Vec<String> {
    let Kind::Run(run) = &instruction.kind else { return Vec::new() };
    run.mounts
        .iter()
        .filter(|mount| matches!(mount.kind, Some(MountKind::Cache | MountKind::Tmpfs)))
        .filter_map(|mount| mount.target.as_ref())
        .map(|word| word.text(linter.file).into_owned())
        .collect()
}

/// A relative destination where nothing says relative to what.
fn destination(linter: &mut Linter<'_>, word: Option<&crate::word::Word>, workdir: bool) {
    let Some(word) = word.filter(|_| !workdir) else { return };
    let text = word.text(linter.file);
    let path = text.trim_matches(['"', '\'']);
    if path.starts_with(['/', '$', '\\']) || path.as_bytes().get(1) == Some(&b':') || path.is_empty() {
        return;
    }
    let message = format!("'{}' is relative, and no WORKDIR says to what", clip(path));
    linter.say(Code::RelativeDestination, word.span, message);
}

/// Whether `ADD` does nothing with it that `COPY` would not.
#[allow(clippy::case_sensitive_file_extension_comparisons)] // as the file system does
fn is_plain(source: &str) -> bool {
    const ARCHIVES: [&str; 12] =
        [".tar", ".tgz", ".tbz", ".tbz2", ".txz", ".tzst", ".gz", ".bz2", ".xz", ".zst", ".lzma", ".Z"];
    !source.contains("://")
        && !source.starts_with("git@")
        && !source.ends_with(".git")
        && !source.contains(['$', '*', '?', '['])
        && !ARCHIVES.iter().any(|ending| source.ends_with(ending))
}

/// Names that follow a `$`.
fn used(value: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for at in memchr::memchr_iter(b'$', value.as_bytes()) {
        if at > 0 && value.as_bytes()[at - 1] == b'\\' {
            continue;
        }
        let rest = value.get(at + 1..).unwrap_or_default();
        let rest = rest.strip_prefix('{').unwrap_or(rest);
        let end = rest.find(|ch: char| !ch.is_alphanumeric() && ch != '_').unwrap_or(rest.len());
        if end > 0 {
            names.push(&rest[..end]);
        }
    }
    names
}

fn assumes_yes(arguments: &[&str], long: &[&str]) -> bool {
    arguments.iter().any(|word| {
        long.contains(word) || word.starts_with('-') && !word.starts_with("--") && word[1..].contains('y')
    })
}

fn useradd(linter: &mut Linter<'_>, script: &Script<'_>, program: &str, arguments: &[&str]) {
    let mut high = false;
    let mut off = false;
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        off |= *word == "--no-log-init"
            || word.starts_with('-') && !word.starts_with("--") && word.contains('l');
        let id = match *word {
            "-u" | "--uid" => words.next().copied(),
            word => word.strip_prefix("--uid=").or_else(|| word.strip_prefix("-u")),
        };
        high |= id.is_some_and(|id| id.len() > 5 && id.bytes().all(|byte| byte.is_ascii_digit()));
    }
    if high && !off {
        let span = script.span(program);
        linter.emit(
            Diagnostic::new(
                Code::UseraddHighId,
                span,
                "useradd with a high id writes a huge sparse log without -l",
            )
            .suggest("add -l", Edit::insert(span.end, " -l")),
        );
    }
}

/// Packages without versions: one finding a command, at the first.
#[allow(clippy::case_sensitive_file_extension_comparisons)] // as the file system does
fn pins(linter: &mut Linter<'_>, script: &Script<'_>, manager: &Manager, arguments: &[&str], verb: usize) {
    let Some(code) = manager.pin else { return };
    let mut skip = false;
    let mut listed = false;
    let mut loose = None;
    for word in arguments.iter().skip(verb + 1) {
        if std::mem::take(&mut skip) {
            continue;
        }
        if word.starts_with('-') {
            skip = manager.valued.contains(word);
            // the version or the list comes by flag
            listed |= matches!(*word, "-r" | "--requirement" | "-c" | "--constraint" | "-v" | "--version");
            continue;
        }
        let plain = unquote(word);
        let redirect =
            plain.contains(['>', '<']) && !manager.version.contains(&"<") || plain.starts_with(['>', '<']);
        if plain.is_empty()
            || redirect
            || plain.starts_with(['$', '.', '`'])
            || plain.ends_with(".deb")
            || plain.contains("$(")
        {
            continue;
        }
        let pinned = manager.version.iter().any(|mark| plain.contains(mark))
            && !(code == Code::PinNpmVersions && plain.starts_with('@'))
            || code == Code::PinNpmVersions && plain.get(1..).is_some_and(|rest| rest.contains('@'))
            || plain.contains('$');
        if !pinned {
            loose.get_or_insert(*word);
        }
    }
    if let Some(word) = loose
        && !listed
    {
        let message = format!("{} without a version: '{}'", manager.programs[0], clip(unquote(word)));
        linter.say(code, script.span(word), message);
    }
}
