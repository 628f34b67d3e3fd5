//! Stages, what they need, and the variables in them.

use std::collections::BTreeSet;

use dockerfile_parser::{
    Arguments, Code, EdgeKind, Globals, Graph, MountKind, Scope, Sharing, Target, parse,
};

const FILE: &str = "\
ARG VERSION=1.2
FROM golang:${VERSION} AS build
RUN --mount=type=bind,from=assets,target=/a make
FROM scratch AS assets
COPY . /
FROM alpine AS unused
FROM debian AS Base
ONBUILD COPY --from=assets / /x
FROM base
COPY --from=BUILD /a /a
COPY --from=docs /d /d
COPY --from=1 /b /b
";

#[test]
fn a_target_needs_its_base_its_copies_and_its_mounts_in_build_order() {
    let file = parse(FILE.as_bytes());
    let contexts = BTreeSet::from(["docs".to_owned()]);
    let graph = Graph::new(&file, &Arguments::default(), &contexts);
    assert!(graph.diagnostics().is_empty(), "{:?}", graph.diagnostics());
    assert_eq!(graph.needed(4), [3, 1, 0, 4]);
    assert_eq!(graph.needed(0), [1, 0]);
    assert_eq!(graph.needed(2), [2]);
    assert!(graph.needed(9).is_empty());
    assert_eq!(graph.find("BASE"), Some(3));
    assert_eq!(graph.find("4"), Some(4));
    assert_eq!(graph.find("nothing"), None);
    let stages = graph.stages();
    assert_eq!(stages[0].base, Target::Image("golang:1.2".into()));
    assert_eq!(stages[1].base, Target::Scratch);
    assert_eq!(stages[4].base, Target::Stage(3));
    let last: Vec<_> = stages[4].needs.iter().map(|edge| (edge.kind, edge.target.clone())).collect();
    assert_eq!(
        last,
        [
            (EdgeKind::Base, Target::Stage(3)),
            (EdgeKind::Copy, Target::Stage(0)),
            (EdgeKind::Copy, Target::Context("docs".into())),
            (EdgeKind::Copy, Target::Stage(1)),
        ]
    );
    assert_eq!(stages[3].onbuild.len(), 1);
}

#[test]
fn an_argument_from_outside_changes_the_base() {
    let file = parse(FILE.as_bytes());
    let mut arguments = Arguments::default();
    arguments.given.insert("VERSION".into(), "9".into());
    let graph = Graph::new(&file, &arguments, &BTreeSet::new());
    assert_eq!(graph.stages()[0].base, Target::Image("golang:9".into()));
}

#[test]
fn circles_are_found_and_do_not_hang() {
    let file = parse(
        b"FROM a AS x\nCOPY --from=y / /\nFROM a AS y\nCOPY --from=z / /\nFROM a AS z\nCOPY --from=x / /\n",
    );
    let graph = file.graph();
    let codes: Vec<_> = graph.diagnostics().iter().map(|found| found.code).collect();
    assert_eq!(codes, [Code::CircularDependency]);
    assert_eq!(graph.needed(0).len(), 3);
    let own = parse(b"FROM a AS x\nCOPY --from=x / /\n").graph();
    assert_eq!(own.diagnostics()[0].code, Code::CircularDependency);
}

#[test]
fn the_pictures_name_every_stage_and_image() {
    let graph = parse(FILE.as_bytes()).graph();
    let (dot, svg) = (graph.to_dot(), graph.to_svg());
    for name in ["build", "assets", "unused", "base", "stage 4", "golang:1.2", "debian"] {
        assert!(dot.contains(&format!("label=\"{name}\"")), "{name} in {dot}");
        assert!(svg.contains(&format!(">{name}</text>")), "{name} in {svg}");
    }
    assert_eq!(dot.matches("->").count(), svg.matches("marker-end").count());
}

#[test]
fn variables_have_the_scope_that_buildkit_gives_them() {
    let file = parse(
        b"ARG V=1\nARG W=$V.2\nFROM a AS x\nARG V\nENV A=$V B=$A\nENV A=x C=$A\nARG D=$C-d E=$D-e GIVEN=no\nFROM x\nENV F=$A$W\nARG BUILDKIT_SBOM_SCAN_STAGE=true\nARG TARGETARCH\n",
    );
    let mut arguments = Arguments::default();
    arguments.given.insert("GIVEN".into(), "yes".into());
    let globals = Globals::new(&file, &arguments);
    assert_eq!(globals.value("W"), Some("1.2"));
    assert_eq!(globals.value("TARGETPLATFORM"), Some("linux/amd64"));
    let mut scope = Scope::new(&file);
    scope.set("PATH", "/bin");
    for instruction in &file.instructions()[3..] {
        scope.apply(&file, instruction, &globals, &arguments).expect("all of it expands");
    }
    for (name, value) in [
        ("V", Some("1")),
        ("A", Some("x")),
        // a value of the same ENV is not seen yet
        ("B", Some("")),
        ("C", Some("1")),
        // those of the same ARG are
        ("E", Some("1-d-e")),
        ("GIVEN", Some("yes")),
        // a global argument is not seen without ARG
        ("F", Some("x")),
        ("W", None),
        ("TARGETARCH", Some("amd64")),
        ("BUILDKIT_SBOM_SCAN_STAGE", None),
        ("PATH", Some("/bin")),
    ] {
        assert_eq!(scope.value(name), value, "{name}");
    }
    let kept: BTreeSet<_> =
        scope.variables().filter(|(_, found)| !found.argument).map(|(name, _)| name).collect();
    assert_eq!(kept, BTreeSet::from(["A", "B", "C", "F", "PATH"]));
}

#[test]
fn a_mount_resolves_with_its_variables() {
    let file = parse(b"FROM a\nRUN --mount=type=$T,target=/x,sharing=locked,mode=0750,uid=7 --mount=type=secret,id=k,env=K,required a\nRUN --mount=type=tmpfs,target=/t,size=1.5k --mount=target=/b,rw b\n");
    let mut resolved = Vec::new();
    for instruction in &file.instructions()[1..] {
        let dockerfile_parser::Kind::Run(run) = &instruction.kind else { panic!("{instruction:?}") };
        for mount in &run.mounts {
            let mut expand = |text: &str| {
                dockerfile_parser::expand(text, '\\', &mut |name| (name == "T").then(|| "cache".into()), 1000)
            };
            resolved.push(mount.resolve(&file, &mut expand).expect("it is a mount"));
        }
    }
    let [cache, secret, tmpfs, bind] = &resolved[..] else { panic!("{resolved:?}") };
    assert_eq!(
        (cache.kind, cache.sharing, cache.mode, cache.uid),
        (MountKind::Cache, Some(Sharing::Locked), Some(0o750), Some(7))
    );
    assert!(!cache.read_only && secret.read_only && secret.required && !tmpfs.read_only && !bind.read_only);
    assert_eq!(
        (secret.kind, secret.id.as_deref(), secret.env.as_deref()),
        (MountKind::Secret, Some("k"), Some("K"))
    );
    assert_eq!((tmpfs.kind, tmpfs.size), (MountKind::Tmpfs, Some(1536)));
    assert_eq!((bind.kind, bind.target.as_deref()), (MountKind::Bind, Some("/b")));
    let wrong = parse(b"FROM a\nRUN --mount=type=$T,size=1m a\n");
    assert!(wrong.diagnostics().is_empty(), "a variable may make it right");
    let dockerfile_parser::Kind::Run(run) = &wrong.instructions()[1].kind else { panic!() };
    assert!(run.mounts[0].resolve(&wrong, &mut |_| Ok("cache".into())).is_err());
}
