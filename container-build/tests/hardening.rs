//! Contexts, archives and roots of steps that are made to reach out of where they are.

use std::fmt::Write;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use container_build::{Context, Error, RunStep, Runner};
use rustix::fs::{AtFlags, Mode, OFlags};

use bench::Bench;

mod bench;

/// "Runs" `link TARGET NAME`, `write NAME CONTENT`, `fifo NAME` and `sparse NAME` in the root of the step.
struct Scripted;

impl Runner for Scripted {
    fn run(&self, step: RunStep<'_>, _: &mut dyn FnMut(&[u8])) -> Result<i32, Error> {
        let words: Vec<&str> = step.argv.iter().map(String::as_str).collect();
        let root = step.root.as_fd();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let parent = |name: &str| {
            if let Some((above, _)) = name.rsplit_once('/') {
                let _ = rustix::fs::mkdirat(root, above, Mode::RWXU);
            }
        };
        match words.as_slice() {
            ["link", target, name] => {
                parent(name);
                let _ = rustix::fs::unlinkat(root, *name, AtFlags::empty());
                rustix::fs::symlinkat(*target, root, *name).unwrap();
            }
            ["write", name, content] => {
                parent(name);
                let file = rustix::fs::openat(root, *name, flags, Mode::RUSR).unwrap();
                rustix::io::write(&file, content.as_bytes()).unwrap();
            }
            ["sparse", name] => {
                parent(name);
                let file = rustix::fs::openat(root, *name, flags, Mode::RUSR).unwrap();
                rustix::fs::ftruncate(&file, 1 << 30).unwrap();
            }
            ["fifo", name] => {
                parent(name);
                rustix::fs::mknodat(root, *name, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
            }
            other => panic!("{other:?} is no command of this test"),
        }
        Ok(0)
    }
}

impl Bench<Scripted> {
    /// A directory that no build has a way to.
    fn outside(&self) -> PathBuf {
        let outside = self.directory.path().join("outside");
        fs::create_dir_all(&outside).unwrap();
        outside
    }

    /// What is wrong, with all causes.
    fn refused(&self, dockerfile: &str) -> String {
        let error = self.build(dockerfile).unwrap_err();
        let mut text = String::new();
        let mut at: Option<&dyn std::error::Error> = Some(&error);
        while let Some(error) = at {
            let _ = write!(text, "{error}: ");
            at = error.source();
        }
        text
    }

    fn nothing_outside(&self) {
        assert_eq!(fs::read_dir(self.outside()).unwrap().count(), 0);
    }

    fn tar(&self, archive: &str, directory: &Path, args: &[&str]) {
        let mut command = std::process::Command::new("tar");
        command.arg("-C").arg(directory).arg("-cf").arg(self.context().join(archive)).args(args);
        assert!(command.status().unwrap().success());
    }
}

#[test]
fn a_link_of_the_image_leads_no_copy_out_of_its_root() {
    let Some(bench) = Bench::new(Scripted) else { return };
    fs::write(bench.context().join("f"), "content").unwrap();
    let outside = bench.outside();
    for (number, target) in
        [outside.to_str().unwrap().to_owned(), format!("../../../../../..{}", outside.display())]
            .iter()
            .enumerate()
    {
        let _ = bench.build(&format!(
            "FROM base\nRUN [\"link\", \"{target}\", \"door{number}\"]\nCOPY f /door{number}/f\nADD f /door{number}/g\n\
             COPY <<X /door{number}/h\nx\nX\nWORKDIR /door{number}/made\n"
        ));
        bench.nothing_outside();
    }
    // the file itself is a link: it is replaced, what it leads to is not
    let victim = outside.join("victim");
    fs::write(&victim, "mine").unwrap();
    bench.build(&format!("FROM base\nRUN [\"link\", \"{}\", \"f\"]\nCOPY f /f\n", victim.display())).unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "mine");
}

#[test]
fn a_link_of_a_stage_takes_nothing_from_the_host() {
    let Some(bench) = Bench::new(Scripted) else { return };
    let secret = bench.outside().join("secret");
    fs::write(&secret, "of the host").unwrap();
    let said = bench.refused(&format!(
        "FROM base AS a\nRUN [\"link\", \"{}\", \"s\"]\nFROM base\nCOPY --from=a /s /s\n",
        secret.display()
    ));
    assert!(said.contains("leads out or to nothing"), "{said}");
}

#[test]
fn databases_of_users_that_are_no_files_are_refused() {
    let Some(bench) = Bench::new(Scripted) else { return };
    fs::write(bench.context().join("f"), "").unwrap();
    for (command, reason) in [
        ("\"fifo\", \"etc/passwd\"", "not a regular file"),
        ("\"sparse\", \"etc/passwd\"", "more than"),
        ("\"link\", \"/proc/self/environ\", \"etc/passwd\"", "no matching entry"),
    ] {
        let said = bench.refused(&format!("FROM base\nRUN [{command}]\nCOPY --chown=root f /f\n"));
        assert!(said.contains(reason), "{command}: {said}");
    }
}

#[test]
fn archives_reach_nothing_outside_of_their_destination() {
    let Some(bench) = Bench::new(Scripted) else { return };
    let tree = bench.directory.path().join("tree");
    fs::create_dir_all(tree.join("real")).unwrap();
    fs::write(tree.join("real/f"), "x").unwrap();
    let outside = bench.outside();
    // a link, then a file through it
    symlink(&outside, tree.join("door")).unwrap();
    let through = "s,^real/f,door/f,";
    bench.tar("a.tar", &tree, &["--transform", through, "door", "real/f"]);
    let _ = bench.build("FROM base\nADD a.tar /x/\n");
    bench.nothing_outside();
    bench.tar("b.tar", &tree, &["-P", "--transform", "s,^real/f,/../../f,", "real/f"]);
    assert!(bench.refused("FROM base\nADD b.tar /x/\n").contains("climbs out"));
    // what an earlier layer has made a link
    bench.tar("c.tar", &tree, &["--transform", "s,^real,sub,", "real/f"]);
    let link = format!("RUN [\"link\", \"{}\", \"x/sub\"]", outside.display());
    let _ = bench.build(&format!("FROM base\n{link}\nADD c.tar /x/\n"));
    bench.nothing_outside();
}

#[test]
fn a_context_is_left_by_no_path() {
    let Some(bench) = Bench::new(Scripted) else { return };
    let secret = bench.outside().join("secret");
    fs::write(&secret, "of the host").unwrap();
    let context = bench.context();
    symlink(&secret, context.join("absolute")).unwrap();
    symlink("../outside/secret", context.join("relative")).unwrap();
    symlink("../outside", context.join("folder")).unwrap();
    symlink("/", context.join("root")).unwrap();
    for source in [
        "absolute",
        "relative",
        "folder/secret",
        "root/etc/passwd",
        "../outside/secret",
        "root/../../outside/*",
    ] {
        for keyword in ["COPY", "ADD"] {
            let said = bench.refused(&format!("FROM base\n{keyword} {source} /x\n"));
            assert!(!said.contains("of the host"), "{said}");
        }
        bench.refused(&format!(
            "FROM base\nRUN --mount=source={source},target=/x [\"write\", \"a\", \"b\"]\n"
        ));
    }
}

#[test]
fn patterns_that_multiply_are_matched_in_bounded_time() {
    let Some(bench) = Bench::new(Scripted) else { return };
    let context = bench.context();
    let deep = context.join(["a"; 60].join("/"));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("f"), "").unwrap();
    fs::write(context.join(".dockerignore"), format!("{}b\n{}b\n", "**/a/".repeat(50), "*a".repeat(200)))
        .unwrap();
    bench.build("FROM base\nCOPY . /all/\n").unwrap();
}

#[test]
fn a_context_from_an_archive_is_held_to_its_own_folder() {
    let Some(bench) = Bench::new(Scripted) else { return };
    let tree = bench.directory.path().join("tree");
    fs::create_dir_all(&tree).unwrap();
    symlink(bench.outside(), tree.join("door")).unwrap();
    fs::write(tree.join("f"), "x").unwrap();
    bench.tar("evil.tar", &tree, &["--transform", "s,^f,door/f,", "door", "f"]);
    let archive = fs::File::open(bench.context().join("evil.tar")).unwrap();
    // the link may be followed inside or give way: nothing of it is anywhere else
    drop(Context::archive(archive, &bench.cache));
    bench.nothing_outside();
    assert_eq!(fs::read_dir(bench.cache.root().join("work")).unwrap().count(), 0, "nothing is left of it");
    assert!(Context::archive([0x1f, 0x8b, 8, 0].as_slice(), &bench.cache).is_err());
}
