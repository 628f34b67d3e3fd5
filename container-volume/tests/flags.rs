//! `-v` and `--mount`, as Docker reads them.

use std::path::{Path, PathBuf};

use container_volume::{Error, Mount, MountSpec, Propagation, Recursion, Relabel};

fn v(text: &str) -> Result<MountSpec, Error> {
    MountSpec::from_volume_flag(text, Path::new("/work"))
}

fn m(text: &str) -> Result<MountSpec, Error> {
    MountSpec::from_mount_flag(text, Path::new("/work"))
}

#[test]
fn a_volume_flag_names_a_volume_a_path_or_nothing() {
    let name = |spec: MountSpec| match spec.mount {
        Mount::Volume { name, .. } => name,
        _ => panic!(),
    };
    assert_eq!(name(v("/data").unwrap()), None);
    assert_eq!(name(v("data:/data").unwrap()).as_deref(), Some("data"));
    let source = |text| match v(text).unwrap().mount {
        Mount::Bind { source, create, .. } => {
            assert!(create);
            source
        }
        _ => panic!("{text}"),
    };
    assert_eq!(source("/srv:/data"), PathBuf::from("/srv"));
    assert_eq!(source("./html:/data"), PathBuf::from("/work/./html"));
    assert_eq!(source("../html:/data"), PathBuf::from("/work/../html"));
    assert_eq!(source(".:/data"), PathBuf::from("/work/."));
    assert_eq!(v("a1:/x//y/./z/../w/").unwrap().target, PathBuf::from("/x/y/w"));
}

#[test]
fn a_volume_flags_options_are_typed() {
    let spec = v("/srv:/data:ro,z,rslave").unwrap();
    assert!(spec.read_only);
    assert!(matches!(
        spec.mount,
        Mount::Bind { propagation: Propagation::RSlave, relabel: Some(Relabel::Shared), .. }
    ));
    assert!(matches!(v("data:/data:nocopy,rw").unwrap().mount, Mount::Volume { nocopy: true, .. }));
    assert!(!v("data:/data:cached").unwrap().read_only);
}

#[test]
fn a_wrong_volume_flag_is_told_with_option_and_value() {
    for (text, part) in [
        ("", "target"),
        ("data", "not absolute"),
        ("data:data", "not absolute"),
        (":/data", "source"),
        ("/", "root"),
        ("/a:/..", "root"),
        ("a:/x:rw:ro", "three parts"),
        ("data:/x:rw,ro", "contradicts"),
        ("data:/x:rshared", "\"rshared\""),
        ("/srv:/x:nocopy", "\"nocopy\""),
        ("data:/x:foo", "\"foo\""),
        ("data:/x:", "no such option"),
        ("-rf:/x", "begin with"),
        ("a b:/x", "allowed"),
        ("x:/y", "shorter"),
        ("~/x:/y", "begin with"),
    ] {
        let error = v(text).unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn a_mount_flag_knows_every_key() {
    let spec = m("type=volume,src=data,dst=/data,volume-nocopy,volume-subpath=a/b,volume-driver=local,\"volume-opt=o=addr=1,rw\",volume-opt=type=nfs,volume-label=x=y,volume-label=z,ro").unwrap();
    assert!(spec.read_only);
    let Mount::Volume { name, nocopy, subpath, driver, options, labels } = spec.mount else { panic!() };
    assert_eq!((name.as_deref(), nocopy, subpath.as_deref()), (Some("data"), true, Some(Path::new("a/b"))));
    assert_eq!(
        (driver.as_deref(), options["o"].as_str(), options["type"].as_str()),
        (Some("local"), "addr=1,rw", "nfs")
    );
    assert_eq!((labels["x"].as_str(), labels["z"].as_str()), ("y", ""));
    let bind = m(
        "type=bind,source=/srv,target=/data,readonly=true,bind-propagation=rprivate,bind-recursive=readonly",
    )
    .unwrap();
    assert!(matches!(bind.mount, Mount::Bind { recursive: Recursion::ReadOnly, create: false, .. }));
    assert!(matches!(
        m("type=bind,source=x,target=/data,bind-nonrecursive=1,bind-create-src").unwrap().mount,
        Mount::Bind { recursive: Recursion::Disabled, create: true, .. }
    ));
    let tmpfs = m("type=tmpfs,destination=/run,tmpfs-size=64m,tmpfs-mode=1770").unwrap();
    assert_eq!(tmpfs.mount, Mount::Tmpfs { size: Some(64 << 20), mode: Some(0o1770) });
    assert!(matches!(m("target=/data").unwrap().mount, Mount::Volume { name: None, .. }));
}

#[test]
fn a_wrong_mount_flag_is_told_with_option_and_value() {
    for (text, part) in [
        ("", "key"),
        ("type=bind", "target"),
        ("type=bind,target=/x", "source"),
        ("type=tmpfs,source=a,target=/x", "a tmpfs has none"),
        ("type=npipe,target=/x", "\"npipe\""),
        ("type=volume,target=/x,foo=bar", "\"foo\""),
        ("type=volume,target=/x,tmpfs-size=1m", "\"tmpfs-size\""),
        ("type=tmpfs,target=/x,tmpfs-size=1.5m", "\"1.5m\""),
        ("type=tmpfs,target=/x,tmpfs-size=99999999999t", "tmpfs-size"),
        ("type=tmpfs,target=/x,tmpfs-mode=9", "\"9\""),
        ("type=tmpfs,target=/x,tmpfs-mode=17777", "tmpfs-mode"),
        ("type=volume,target=/x,readonly=maybe", "\"maybe\""),
        ("type=volume,target=/x,volume-subpath=../y", "\"../y\""),
        ("type=volume,target=/x,volume-subpath=/y", "\"/y\""),
        ("type=volume,target=/x,volume-opt=o", "volume-opt"),
        ("type=bind,source=/a,target=/x,bind-propagation=no", "\"no\""),
        ("type=bind,source=/a,target=/x,bind-recursive=readonly", "rprivate"),
        ("type=volume,target", "\"target\""),
        ("\"type=volume,target=/x", "quote"),
        ("ty\"pe=volume,target=/x", "quote"),
        ("type=volume,target=x", "not absolute"),
        ("type=volume,source=../../etc,target=/x", "begin with"),
        ("type=volume,target=/x,consistency=odd", "\"odd\""),
    ] {
        let error = m(text).unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn a_spec_goes_through_json_and_back() {
    for spec in [v("/srv:/data:ro,Z").unwrap(), v("data:/x").unwrap(), m("type=tmpfs,target=/x").unwrap()] {
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(serde_json::from_str::<MountSpec>(&text).unwrap(), spec, "{text}");
    }
}

#[test]
fn hostile_flags_are_refused_quickly_and_told_shortly() {
    for text in [
        "x".repeat(1 << 20),
        ":".repeat(1 << 20),
        ",".repeat(1 << 20),
        "\"".repeat(1 << 20),
        "type=".repeat(1 << 18),
    ] {
        for error in [v(&text).unwrap_err(), m(&text).unwrap_err()] {
            assert!(error.to_string().len() < 2000);
        }
    }
}
