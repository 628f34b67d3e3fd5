//! Dockerfiles built from end to end, on an image of busybox.

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use support::{Host, until};

/// A host with the image `bb`, and a context.
struct Kitchen {
    host: Host,
}

impl Kitchen {
    fn new() -> Option<Self> {
        Host::with_image().map(|host| Self { host })
    }

    fn context(&self) -> PathBuf {
        let path = self.host.path("context");
        fs::create_dir_all(&path).unwrap();
        path
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.context().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn try_build(&self, dockerfile: &str, args: &[&str]) -> Output {
        self.write("Dockerfile", dockerfile);
        let context = self.context();
        let args = [&["build"], args, &[context.to_str().unwrap()]].concat();
        self.host.output(&args)
    }

    /// What a build that must succeed says.
    fn build(&self, dockerfile: &str, args: &[&str]) -> String {
        let output = self.try_build(dockerfile, args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        said
    }

    /// What a build that must fail says.
    fn fails(&self, dockerfile: &str, args: &[&str]) -> String {
        let output = self.try_build(dockerfile, args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "it succeeded: {said}");
        said
    }

    /// What a command in a container of an image prints.
    fn run(&self, image: &str, command: &[&str]) -> String {
        let args = [&["run", "--rm", "--network", "none", image], command].concat();
        self.host.ok(&args)
    }

    fn sh(&self, image: &str, script: &str) -> String {
        self.run(image, &["sh", "-c", script])
    }

    fn id(&self, image: &str) -> String {
        self.host.ok(&["images", "-q", "--no-trunc", image]).trim().to_owned()
    }

    fn config(&self, image: &str) -> String {
        self.host.ok(&["image", "inspect", image])
    }
}

fn cached(said: &str) -> usize {
    said.matches("CACHED").count()
}

#[test]
fn every_instruction_has_its_effect_on_files_and_configuration() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.write("app/main.txt", "main");
    kitchen.write("app/sub/deep.txt", "deep");
    kitchen.write("one.txt", "one");
    kitchen.write("two.txt", "two");
    let said = kitchen.build(
        r#"ARG BASE=bb
FROM $BASE
MAINTAINER somebody
LABEL a=b "c d"="e f"
ENV GREETING=hello NAME="two words"
ARG VERSION=1
ARG PLAIN
RUN echo "$GREETING $VERSION $PLAIN" > /said
RUN ["touch", "/exec $GREETING"]
WORKDIR /srv
WORKDIR app
COPY app .
COPY one.txt two.txt texts/
COPY o*.txt /wild/
COPY --chown=web:extra --chmod=640 one.txt /owned
COPY --chown=7 one.txt /numbered
COPY <<EOF /here
$GREETING from here
EOF
RUN <<EOF
echo first > /doc
echo second >> /doc
EOF
RUN <<'EOF' cat > /piped
as $it is
EOF
RUN <<EOF
#!/bin/cat
a script of its own
EOF
VOLUME /data
EXPOSE 80 53/udp 8000-8001
STOPSIGNAL SIGQUIT
HEALTHCHECK --interval=5s --retries=3 CMD true
SHELL ["/bin/sh", "-ec"]
RUN true; chmod 1777 /tmp
USER web
RUN id -u > /tmp/who
ENTRYPOINT ["/bin/sh", "-c"]
CMD echo $GREETING
"#,
        &["-t", "all:1", "--build-arg", "PLAIN=given", "--label", "own=label"],
    );
    assert!(said.contains("[1/") && said.contains("naming to docker.io/library/all:1"), "{said}");
    let sh = |script: &str| {
        let root =
            ["run", "--rm", "--network", "none", "-u", "0", "--entrypoint", "", "all:1", "sh", "-c", script];
        kitchen.host.ok(&root)
    };
    assert_eq!(sh("cat /said"), "hello 1 given\n");
    assert_eq!(sh("ls '/exec $GREETING'"), "/exec $GREETING\n");
    assert_eq!(sh("pwd; cat main.txt sub/deep.txt texts/one.txt texts/two.txt"), "/srv/app\nmaindeeponetwo");
    assert_eq!(sh("ls /wild"), "one.txt\n");
    let owned = sh("ls -ln /owned");
    let words: Vec<&str> = owned.split_whitespace().collect();
    assert_eq!((words[0], words[2], words[3]), ("-rw-r-----", "33", "55"), "{owned}");
    let numbered = sh("ls -ln /numbered");
    assert_eq!(numbered.split_whitespace().skip(2).take(2).collect::<Vec<_>>(), ["7", "7"], "{numbered}");
    assert_eq!(sh("cat /here /doc /piped"), "hello from here\nfirst\nsecond\nas $it is\n");
    assert_eq!(sh("cat /tmp/who"), "33\n");
    assert!(said.contains("a script of its own"), "{said}");
    let config: String = kitchen.config("all:1").split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "somebody",
        "\"a\": \"b\"",
        "\"c d\": \"e f\"",
        "\"own\": \"label\"",
        "GREETING=hello",
        "NAME=two words",
        "\"80/tcp\"",
        "\"53/udp\"",
        "\"8001/tcp\"",
        "\"/data\"",
        "SIGQUIT",
        "\"web\"",
        "/srv/app",
        "CMD-SHELL",
    ] {
        assert!(config.contains(part), "{part} is missing: {config}");
    }
    assert!(!config.contains("\"VERSION=1\""), "an ARG is no variable of the image");
    let history = kitchen.host.ok(&["history", "--no-trunc", "all:1"]);
    assert!(history.contains("RUN |2 VERSION=1 PLAIN=given /bin/sh -c echo"), "{history}");
    assert!(history.contains("COPY app . # buildkit"), "{history}");
    assert!(history.contains("ENTRYPOINT [\"/bin/sh\" \"-c\"]"), "{history}");
    kitchen.host.leaves_nothing();
}

#[test]
fn an_unchanged_build_is_answered_by_the_cache_and_a_change_rebuilds_from_there() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.write("a", "1");
    kitchen.write("b", "1");
    let file = "FROM bb\nARG N=1\nRUN echo one > /one\nCOPY a /a\nRUN cat /a > /two\nCOPY b /b\nWORKDIR /w\n";
    let first = kitchen.build(file, &["-t", "c:1"]);
    assert_eq!(cached(&first), 0, "{first}");
    let id = kitchen.id("c:1");
    let again = kitchen.build(file, &["-t", "c:1"]);
    assert_eq!(cached(&again), 5, "{again}");
    assert_eq!(kitchen.id("c:1"), id, "the same image");
    // times do not count
    let a = fs::File::options().write(true).open(kitchen.context().join("a")).unwrap();
    a.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(cached(&kitchen.build(file, &["-t", "c:1"])), 5);
    // content does, from the step on that copies it
    kitchen.write("b", "2");
    assert_eq!(cached(&kitchen.build(file, &["-t", "c:1"])), 3);
    kitchen.write("a", "2");
    assert_eq!(cached(&kitchen.build(file, &["-t", "c:1"])), 1);
    assert_eq!(kitchen.sh("c:1", "cat /two"), "2");
    // and so does the mode
    fs::set_permissions(kitchen.context().join("b"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(cached(&kitchen.build(file, &["-t", "c:1"])), 3);
    // an argument counts from its declaration on, and what nobody declared does not
    assert_eq!(cached(&kitchen.build(file, &["--build-arg", "N=2"])), 0);
    assert_eq!(cached(&kitchen.build(file, &["--build-arg", "OTHER=2"])), 5);
    assert_eq!(cached(&kitchen.build(file, &["--no-cache"])), 0);
    // the images may go: the cache has its own
    let base = kitchen.id("bb");
    for line in kitchen.host.ok(&["images", "-q", "--no-trunc"]).lines() {
        if line != base {
            kitchen.host.output(&["rmi", "-f", line]);
        }
    }
    assert_eq!(cached(&kitchen.build(file, &["-t", "c:2"])), 5);
    assert_eq!(kitchen.sh("c:2", "cat /one /two"), "one\n2");
    kitchen.host.ok(&["builder", "prune", "-f"]);
    assert_eq!(cached(&kitchen.build(file, &["-t", "c:2"])), 0);
    kitchen.host.leaves_nothing();
}

#[test]
fn stages_take_from_each_other_and_only_what_the_target_needs_is_built() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.write("src", "source");
    let file = "FROM bb AS base\nENV X=from-base\nRUN echo base > /base\n\
        FROM base AS left\nCOPY src /src\nRUN cat /src /base > /left\n\
        FROM bb AS right\nRUN mkdir /d && echo right > /d/right && ln -s right /d/link\n\
        FROM bb AS unneeded\nRUN exit 9\n\
        FROM bb AS last\nCOPY --from=left /left /\nCOPY --from=right /d /d\nCOPY --from=bb /etc/passwd /passwd\n\
        RUN --mount=from=right,source=/d,target=/mnt cat /mnt/right > /mounted\n";
    let said = kitchen.build(file, &["-t", "m:1"]);
    assert!(!said.contains("exit 9"), "{said}");
    assert_eq!(
        kitchen.sh("m:1", "cat /left /d/link /mounted; head -n 1 /passwd"),
        "sourcebase\nright\nright\nroot:x:0:0:root:/root:/bin/sh\n"
    );
    kitchen.build(file, &["-t", "m:left", "--target", "left"]);
    assert!(kitchen.config("m:left").contains("X=from-base"));
    // what is copied out of a stage counts, not how it came to be
    let changed = file.replace("echo base > /base", "echo base > /base; true");
    let said = kitchen.build(&changed, &["-t", "m:1"]);
    let copied = said.lines().find(|line| line.contains("COPY --from=left")).unwrap();
    let number = copied.split(' ').next().unwrap();
    assert!(said.contains(&format!("{number} CACHED")), "{said}");
    assert!(kitchen.fails(file, &["--target", "nothing"]).contains("target stage \"nothing\""));
    kitchen.host.leaves_nothing();
}

#[test]
fn ignored_files_do_not_exist_for_a_build() {
    let Some(kitchen) = Kitchen::new() else { return };
    for name in ["keep", "drop.log", "keep.log", "node/x", "secret"] {
        kitchen.write(name, name);
    }
    kitchen.write(".dockerignore", "*.log\n!keep.log\nnode\nsecret\nDockerfile*\n.dockerignore\n");
    kitchen.build("FROM bb\nCOPY . /all/\n", &["-t", "i:1"]);
    assert_eq!(kitchen.sh("i:1", "ls /all"), "keep\nkeep.log\n");
    let said = kitchen.fails("FROM bb\nCOPY secret /\n", &[]);
    assert!(said.contains("secret") && said.contains(".dockerignore"), "{said}");
    // an ignored file may change
    assert_eq!(cached(&kitchen.build("FROM bb\nCOPY . /all/\n", &["-t", "i:1"])), 1);
    kitchen.write("secret", "changed");
    assert_eq!(cached(&kitchen.build("FROM bb\nCOPY . /all/\n", &["-t", "i:1"])), 1);
    kitchen.write("Dockerfile.dockerignore", "keep\nDockerfile*\n.dockerignore\n");
    kitchen.build("FROM bb\nCOPY . /all/\n", &["-t", "i:2"]);
    assert_eq!(kitchen.sh("i:2", "ls /all"), "drop.log\nkeep.log\nnode\nsecret\n");
    kitchen.host.leaves_nothing();
}

#[test]
fn mounts_of_a_step_are_there_and_leave_nothing_in_the_layer() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.write("file", "bound");
    kitchen.write(".dockerignore", "Dockerfile\n");
    let token = kitchen.host.path("token");
    fs::write(&token, "hush-hush").unwrap();
    let secret = format!("id=token,src={}", token.display());
    let said = kitchen.build(
        "FROM bb\n\
         RUN --mount=type=secret,id=token test $(cat /run/secrets/token) = $(echo hush)-hush\n\
         RUN --mount=type=secret,id=token,env=TOKEN test $TOKEN = $(echo hush)-hush && test ! -e /run/secrets\n\
         RUN --mount=type=secret,id=absent test ! -e /run/secrets/absent\n\
         RUN --mount=type=tmpfs,target=/fast touch /fast/x && mount | grep -q /fast\n\
         RUN --mount=type=cache,target=/cache echo kept > /cache/kept\n\
         RUN --mount=type=cache,target=/cache cat /cache/kept > /was-kept\n\
         RUN --mount=target=/ctx test -e /ctx/file && test ! -e /ctx/Dockerfile && ! touch /ctx/new 2>/dev/null\n\
         RUN --mount=source=file,target=/ctx/f,rw echo more >> /ctx/f\n\
         RUN --network=none test $(ip -o link | grep -c eth) = 0\n",
        &["-t", "s:1", "--secret", &secret],
    );
    assert!(!said.contains("hush-hush"), "{said}");
    assert_eq!(kitchen.sh("s:1", "ls / | grep -e cache -e fast -e ctx -e run; cat /was-kept"), "kept\n");
    assert_eq!(fs::read_to_string(kitchen.context().join("file")).unwrap(), "bound");
    assert!(!holds(&kitchen.host.path("root"), b"hush-hush"), "a secret is in the engine's directory");
    let said = kitchen.fails("FROM bb\nRUN --mount=type=secret,id=absent,required=true true\n", &[]);
    assert!(said.contains("\"absent\""), "{said}");
    let said = kitchen.fails("FROM bb\nRUN --mount=type=ssh,required=true true\n", &[]);
    assert!(said.contains("no agent"), "{said}");
    kitchen.host.leaves_nothing();
}

/// True if a file under a path has these bytes in it.
fn holds(path: &Path, bytes: &[u8]) -> bool {
    let Ok(metadata) = fs::symlink_metadata(path) else { return false };
    if metadata.is_dir() {
        return fs::read_dir(path).unwrap().flatten().any(|entry| holds(&entry.path(), bytes));
    }
    metadata.is_file()
        && metadata.len() < 1 << 20
        && fs::read(path).unwrap().windows(bytes.len()).any(|part| part == bytes)
}

#[test]
fn a_step_that_fails_shows_its_line_and_output_and_leaves_nothing() {
    let Some(kitchen) = Kitchen::new() else { return };
    let file = "FROM bb\nRUN echo fine\nRUN echo before the end; exit 7\nRUN true\n";
    let said = kitchen.fails(file, &["-t", "f:1"]);
    for part in
        [" before the end\n", "   3 | >>> RUN echo before the end; exit 7", "exit code: 7", "Dockerfile:3"]
    {
        assert!(said.contains(part), "{part:?} is missing: {said}");
    }
    assert_eq!(kitchen.id("f:1"), "");
    assert_eq!(cached(&kitchen.build(&file.replace("exit 7", "exit 0"), &[])), 1);
    let said = kitchen.fails("FROM bb\nRUN [\"/nothing\"]\n", &[]);
    assert!(said.contains("exit code: 127"), "{said}");
    let said = kitchen.fails("FROM bb\nCOPY nothing /\n", &[]);
    assert!(said.contains("\"nothing\" is not in the build context"), "{said}");
    let said = kitchen.fails("FROM bb\nFLY\n", &[]);
    assert!(said.contains("FLY"), "{said}");
    let said = kitchen.fails("FROM bb\nCOPY a ${Y:?missing}\n", &[]);
    assert!(said.contains("Y: missing"), "{said}");
    kitchen.host.leaves_nothing();
}

/// Starts a build of a Dockerfile that says `running`, and kills it then.
fn kill_while_running(kitchen: &Kitchen, dockerfile: &str, meanwhile: impl FnOnce()) {
    kitchen.write("Dockerfile", dockerfile);
    let log = kitchen.host.path("log");
    let mut command = kitchen.host.command(&["build", kitchen.context().to_str().unwrap()]);
    let mut child = command.stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
    until("the step runs", || {
        fs::read_to_string(&log).unwrap().lines().any(|line| line.ends_with(" running")).then_some(())
    });
    meanwhile();
    // nsenter has become the program
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_build_that_is_killed_is_gone_on_with_from_its_last_finished_step() {
    let Some(kitchen) = Kitchen::new() else { return };
    let file = "FROM bb\nRUN echo one > /one\nRUN echo running; sleep 600\nRUN echo three > /three\n";
    kill_while_running(&kitchen, file, || {});
    let said = kitchen.build(&file.replace("sleep 600", "true"), &["-t", "k:1"]);
    assert_eq!(cached(&said), 1, "{said}");
    assert_eq!(kitchen.sh("k:1", "cat /one /three"), "one\nthree\n");
    kitchen.host.leaves_nothing();
}

#[test]
fn what_a_killed_build_has_left_is_found_and_mended() {
    let Some(kitchen) = Kitchen::new() else { return };
    kill_while_running(&kitchen, "FROM bb\nRUN echo running; sleep 600\n", || {
        // a build that lives is nothing to mend
        assert_eq!(kitchen.host.ok(&["system", "check", "--repair"]).trim(), "clean");
    });
    kitchen.host.fails(&["system", "check"]);
    kitchen.host.ok(&["system", "check", "--repair"]);
    kitchen.host.leaves_nothing();
}

#[test]
fn hostile_contexts_are_refused_with_a_reason() {
    let Some(kitchen) = Kitchen::new() else { return };
    let context = kitchen.context();
    symlink("/etc/hostname", context.join("out")).unwrap();
    symlink("../../../../etc", context.join("up")).unwrap();
    symlink("round", context.join("round")).unwrap();
    for name in ["out", "up/passwd", "../../../etc/passwd", "round"] {
        let said = kitchen.fails(&format!("FROM bb\nCOPY {name} /x\n"), &[]);
        assert!(said.contains("step COPY"), "{said}");
    }
    // a link in a directory is copied as it is
    fs::create_dir(context.join("links")).unwrap();
    symlink("/etc/hostname", context.join("links/out")).unwrap();
    kitchen.build("FROM bb\nCOPY links /links\n", &["-t", "h:1"]);
    assert!(kitchen.sh("h:1", "ls -l /links/out").contains("-> /etc/hostname"));
    for name in ["out", "up", "round"] {
        fs::remove_file(context.join(name)).unwrap();
    }
    let pipe = context.join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let said = kitchen.fails("FROM bb\nCOPY . /x\n", &[]);
    assert!(said.contains("a FIFO"), "{said}");
    let said = kitchen.fails("FROM bb\nCOPY pipe /x\n", &[]);
    assert!(said.contains("a FIFO"), "{said}");
    fs::remove_file(&pipe).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(context.join("socket")).unwrap();
    assert!(kitchen.fails("FROM bb\nCOPY socket /x\n", &[]).contains("a socket"));
    let huge = context.join("Dockerfile.huge");
    fs::File::create(&huge).unwrap().set_len(1 << 30).unwrap();
    let (_, said) = kitchen.host.fails(&["build", "-f", huge.to_str().unwrap(), context.to_str().unwrap()]);
    assert!(said.contains("more than 16777216 bytes"), "{said}");
    for url in ["https://example.com/x.git", "git@example.com:x"] {
        assert!(kitchen.host.fails(&["build", url]).1.contains("a context is a directory"));
    }
    kitchen.host.leaves_nothing();
}

#[test]
fn a_path_that_is_deeper_than_the_kernel_takes_is_refused() {
    let Some(kitchen) = Kitchen::new() else { return };
    let deep = kitchen.context().join("deep");
    fs::create_dir(&deep).unwrap();
    let mut directory = std::os::fd::OwnedFd::from(fs::File::open(&deep).unwrap());
    for _ in 0..3000 {
        rustix::fs::mkdirat(&directory, "d", rustix::fs::Mode::RWXU).unwrap();
        let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
        directory = rustix::fs::openat(&directory, "d", flags, rustix::fs::Mode::empty()).unwrap();
    }
    let said = kitchen.fails("FROM bb\nCOPY deep /x\n", &[]);
    assert!(std::process::Command::new("rm").arg("-rf").arg(deep).status().unwrap().success());
    assert!(said.contains("4095 bytes"), "{said}");
    kitchen.host.leaves_nothing();
}

#[test]
fn an_image_from_nothing_holds_one_static_program() {
    let Some(kitchen) = Kitchen::new() else { return };
    fs::copy("/bin/busybox", kitchen.context().join("busybox")).unwrap();
    let file = "FROM scratch\nCOPY busybox /echo\nENTRYPOINT [\"/echo\"]\nCMD [\"from\", \"nothing\"]\n";
    kitchen.build(file, &["-t", "z:1"]);
    assert_eq!(kitchen.run("z:1", &[]), "from nothing\n");
    kitchen.host.leaves_nothing();
}

#[test]
fn archives_are_unpacked_by_add_and_not_by_copy() {
    let Some(kitchen) = Kitchen::new() else { return };
    let context = kitchen.context();
    kitchen.write("tree/inner/file", "inside");
    let tar = |args: &[&str]| {
        let mut command = std::process::Command::new("tar");
        assert!(command.arg("-C").arg(context.join("tree")).args(args).status().unwrap().success());
    };
    let path = |name: &str| context.join(name).to_str().unwrap().to_owned();
    tar(&["-czf", &path("tree.tar.gz"), "."]);
    kitchen.build(
        "FROM bb\nADD tree.tar.gz /added/\nCOPY tree.tar.gz /copied/\nADD --unpack=false tree.tar.gz /plain.tgz\n\
         ADD Dockerfile /file\n",
        &["-t", "t:1"],
    );
    assert_eq!(
        kitchen.sh("t:1", "cat /added/inner/file; ls /copied; ls /plain.tgz; head -n 1 /file"),
        "insidetree.tar.gz\n/plain.tgz\nFROM bb\n"
    );
    // what climbs out of an archive goes nowhere
    tar(&["-cf", &path("evil.tar"), "--transform", "s,^,../../,", "-P", "inner/file"]);
    let said = kitchen.fails("FROM bb\nADD evil.tar /x/\n", &[]);
    assert!(said.contains("climbs out"), "{said}");
    kitchen.host.leaves_nothing();
}

#[test]
fn an_image_of_a_fixed_time_is_the_same_twice() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.write("a", "1");
    let file = "FROM bb\nCOPY a /x/a\nRUN mkdir /d && echo y > /d/y\n";
    let build = |tag: &str| {
        kitchen.build(file, &["-t", tag, "--no-cache", "--build-arg", "SOURCE_DATE_EPOCH=1000000000"]);
        kitchen.id(tag)
    };
    let first = build("e:1");
    let a = fs::File::options().write(true).open(kitchen.context().join("a")).unwrap();
    a.set_modified(std::time::SystemTime::now()).unwrap();
    assert_eq!(first, build("e:2"));
    assert!(kitchen.config("e:1").contains("2001-09-09T01:46:40"));
    kitchen.host.leaves_nothing();
}

#[test]
fn triggers_run_in_the_build_that_begins_with_the_image() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.write("a", "1");
    kitchen.build("FROM bb\nONBUILD COPY a /triggered\nONBUILD RUN echo ran > /ran\n", &["-t", "o:1"]);
    assert_eq!(kitchen.sh("o:1", "ls / | grep -e triggered -e ran; echo"), "\n");
    kitchen.build("FROM o:1\nRUN cat /triggered /ran > /both\n", &["-t", "o:2"]);
    assert_eq!(kitchen.sh("o:2", "cat /both"), "1ran\n");
    // they do not run once more
    kitchen.build("FROM o:2\nRUN rm /triggered\n", &["-t", "o:3"]);
    assert_eq!(kitchen.sh("o:3", "ls / | grep triggered; echo"), "\n");
    kitchen.host.leaves_nothing();
}

#[test]
fn dockerfiles_and_contexts_come_from_standard_input() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.write("a", "from the archive");
    kitchen.write("Dockerfile", "FROM bb\nCOPY a /a\n");
    let context = kitchen.context();
    let archive = kitchen.host.path("context.tar");
    let mut tar = std::process::Command::new("tar");
    assert!(tar.arg("-C").arg(&context).arg("-cf").arg(&archive).arg(".").status().unwrap().success());
    let from = |args: &[&str], input: &Path| {
        let mut command = kitchen.host.command(args);
        command.stdin(fs::File::open(input).unwrap());
        let output = support::finish(command, std::time::Duration::from_secs(60));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    from(&["build", "-t", "in:1", "-"], &archive);
    assert_eq!(kitchen.sh("in:1", "cat /a"), "from the archive");
    let file = kitchen.host.path("elsewhere");
    fs::write(&file, "FROM bb\nRUN echo stdin > /b\n").unwrap();
    from(&["build", "-t", "in:2", "-"], &file);
    assert_eq!(kitchen.sh("in:2", "cat /b"), "stdin\n");
    fs::write(&file, "FROM bb\nCOPY a /c\n").unwrap();
    let id = from(&["build", "-q", "-f", "-", context.to_str().unwrap()], &file);
    assert!(id.starts_with("sha256:"), "{id}");
    let tree = kitchen.host.path("tree");
    let output = format!("type=local,dest={}", tree.display());
    from(&["build", "-f", file.to_str().unwrap(), "-o", &output, context.to_str().unwrap()], &file);
    assert_eq!(fs::read_to_string(tree.join("c")).unwrap(), "from the archive");
    kitchen.host.leaves_nothing();
}

#[test]
fn links_modes_and_owners_are_kept_where_they_should_be() {
    let Some(kitchen) = Kitchen::new() else { return };
    let context = kitchen.context();
    kitchen.write("d/x/one", "1");
    kitchen.write("d/y/two", "2");
    kitchen.write("d/y/skip.txt", "3");
    symlink("x", context.join("d/link")).unwrap();
    fs::set_permissions(context.join("d/x/one"), fs::Permissions::from_mode(0o4751)).unwrap();
    kitchen.build(
        "FROM bb\nRUN mkdir -p /real/in && ln -s real /via\n\
         COPY d /plain\nCOPY --parents d/x/one d/./y/two /parents/\nCOPY --exclude=*.txt d/y /ex/\n\
         COPY --link d/x/one /via-link/one\nCOPY d/y/two /via/in/two\nCOPY --chmod=u=rwX,go=rX d /modes\n\
         COPY d/x/one /real/in\n",
        &["-t", "l:1"],
    );
    let sh = |script: &str| kitchen.sh("l:1", script);
    assert_eq!(sh("ls -l /plain/x/one").split(' ').next().unwrap(), "-rwsr-x--x");
    assert!(sh("ls -l /plain").contains("link -> x"));
    assert_eq!(sh("cat /parents/d/x/one /parents/y/two"), "12");
    assert_eq!(sh("ls /ex"), "two\n");
    assert_eq!(sh("cat /via-link/one /real/in/two /real/in/one"), "121");
    assert_eq!(sh("ls -l /modes/y/two").split(' ').next().unwrap(), "-rw-r--r--");
    kitchen.host.leaves_nothing();
}

#[test]
fn a_step_is_confined_as_a_container_is() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.build(
        "FROM bb\nRUN test $(grep CapEff /proc/self/status | grep -c 00000000a80425fb) = 1\n\
         RUN ! mount -t tmpfs none /tmp 2>/dev/null\n\
         RUN test $(cat /proc/kcore 2>/dev/null | head -c 1 | grep -c .) = 0\n\
         RUN ps > /ps && test $(grep -c . /ps) -lt 8\n\
         RUN ! touch /sys/x 2>/dev/null && ! echo x 2>/dev/null > /proc/sys/kernel/hostname\n\
         RUN ip -o addr | grep -q eth0 && ip route | grep -q default\n",
        &["-t", "x:1"],
    );
    kitchen.host.leaves_nothing();
}

#[test]
fn a_build_that_is_interrupted_stops_its_step_and_leaves_nothing() {
    let Some(kitchen) = Kitchen::new() else { return };
    kitchen.write("Dockerfile", "FROM bb\nRUN echo running; sleep 600\n");
    let log = kitchen.host.path("log");
    let mut command = kitchen.host.command(&["build", kitchen.context().to_str().unwrap()]);
    let mut child = command.stdout(Stdio::null()).stderr(fs::File::create(&log).unwrap()).spawn().unwrap();
    until("the step runs", || {
        fs::read_to_string(&log).unwrap().lines().any(|line| line.ends_with(" running")).then_some(())
    });
    let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let status = until("it ends", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(130), "{}", fs::read_to_string(&log).unwrap());
    kitchen.host.leaves_nothing();
}

/// A web server in the test's network, until it is dropped.
struct Server(std::process::Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_add_fetches_is_held_to_its_checksum() {
    let Some(kitchen) = Kitchen::new() else { return };
    let web = kitchen.host.path("web");
    fs::create_dir(&web).unwrap();
    fs::write(web.join("file.txt"), "fetched").unwrap();
    let mut server = kitchen.host.inside("/bin/busybox");
    server.args(["httpd", "-f", "-p", "127.0.0.1:8099", "-h", web.to_str().unwrap()]);
    let _server = Server(server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    until("the server listens", || {
        let mut ask = kitchen.host.inside("/bin/busybox");
        ask.args(["wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8099/file.txt"]).stderr(Stdio::null());
        ask.status().unwrap().success().then_some(())
    });
    let digest = container_engine::Digest::of(b"fetched");
    let url = "http://127.0.0.1:8099/file.txt";
    let file = format!("FROM bb\nADD --checksum={digest} {url} /dir/\nADD --chmod=644 {url}?x=y /named\n");
    kitchen.build(&file, &["-t", "u:1"]);
    assert_eq!(
        kitchen.sh("u:1", "cat /dir/file.txt /named; ls -l /dir/file.txt").split(' ').next().unwrap(),
        "fetchedfetched-rw-------"
    );
    assert_eq!(cached(&kitchen.build(&file, &["-t", "u:1"])), 2);
    let said = kitchen.fails(&file.replace(&digest.to_string()[7..15], "00000000"), &[]);
    assert!(said.contains("has the digest"), "{said}");
    let said = kitchen.fails("FROM bb\nADD http://127.0.0.1:8099/nothing /x\n", &[]);
    assert!(said.contains("404"), "{said}");
    let said = kitchen.fails("FROM bb\nADD https://example.com/x.git /x\n", &[]);
    assert!(said.contains("git repository"), "{said}");
    kitchen.host.leaves_nothing();
}
