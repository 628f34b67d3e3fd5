//! Every folder of `testdata`: its files are loaded, and the canonical file and the findings compared with `expected`.
//!
//! `options` has a line for each setting: `env NAME=VALUE`, `profile NAME`, `file PATH`, `name NAME`. With the variable
//! `REFRESH` set, `expected` is written anew.
use std::fs;
use std::path::{Path, PathBuf};

use compose_model::{Loaded, Loader, MemoryFiles};

fn gather(files: MemoryFiles, folder: &Path, below: &Path) -> MemoryFiles {
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    names.into_iter().fold(files, |files, path| {
        let inner = below.join(path.file_name().unwrap());
        if path.is_dir() {
            gather(files, &path, &inner)
        } else {
            files.with(&inner, fs::read(&path).unwrap())
        }
    })
}

fn load(folder: &Path) -> Loaded {
    let files = gather(MemoryFiles::new(), folder, Path::new("/p"));
    let mut loader = Loader::new(&files).environment([("HOME", "/home/me")]);
    let mut paths: Vec<PathBuf> = Vec::new();
    for line in fs::read_to_string(folder.join("options")).unwrap_or_default().lines() {
        let (what, value) = line.split_once(' ').unwrap_or((line, ""));
        match what {
            "env" => loader = loader.environment([value.split_once('=').unwrap()]),
            "profile" => loader = loader.profiles([value]),
            "file" => paths.push(Path::new("/p").join(value)),
            "name" => loader = loader.project_name(value),
            other => panic!("{}: the option {other} is not known", folder.display()),
        }
    }
    loader.project_directory("/p").load(&paths)
}

fn report(loaded: &Loaded) -> String {
    let mut text =
        loaded.diagnostics.iter().fold(String::new(), |text, finding| text + &finding.to_string() + "\n");
    if loaded.is_ok() {
        text.push_str("---\n");
        text.push_str(&loaded.project.to_yaml());
    }
    text
}

fn folders() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut folders: Vec<PathBuf> =
        fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

#[test]
fn every_case_gives_what_is_expected() {
    let folders = folders();
    assert!(folders.len() >= 150, "only {} cases are there", folders.len());
    let mut wrong = Vec::new();
    for folder in folders {
        let got = report(&load(&folder));
        let path = folder.join("expected");
        if std::env::var_os("REFRESH").is_some() {
            fs::write(&path, &got).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        if got != expected {
            wrong.push(format!("{}\n--- expected\n{expected}--- got\n{got}", folder.display()));
        }
    }
    assert!(wrong.is_empty(), "{} cases differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_is_printed_loads_and_prints_the_same() {
    for folder in folders() {
        let loaded = load(&folder);
        if !loaded.is_ok() {
            continue;
        }
        let yaml = loaded.project.to_yaml();
        for (name, text) in [("yaml", yaml.clone()), ("json", loaded.project.to_json())] {
            let files = MemoryFiles::new().with("/p/compose.yaml", text.as_str());
            let again =
                Loader::new(&files).project_directory("/p").profiles(["*"]).load(&["/p/compose.yaml"]);
            let findings = report(&again);
            assert!(again.is_ok(), "{}, {name}: {findings}", folder.display());
            assert_eq!(again.project.to_yaml(), yaml, "{}, {name}", folder.display());
            for (name, service) in loaded.project.services.iter() {
                assert_eq!(
                    loaded.project.hash(service),
                    again.project.hash(again.project.services.get(name).unwrap()),
                    "{}",
                    folder.display()
                );
            }
        }
    }
}

#[test]
fn every_error_has_a_place_in_a_file() {
    for folder in folders() {
        let loaded = load(&folder);
        for finding in loaded.errors() {
            assert!(!finding.file.as_os_str().is_empty(), "{}: {finding}", folder.display());
            if let Some(source) =
                loaded.sources.source(finding.span.file).filter(|_| finding.span.start.line > 0)
            {
                let lines = source.text().lines().count() as u32 + 1;
                assert!(finding.span.start.line <= lines, "{}: {finding}", folder.display());
            }
        }
    }
}
