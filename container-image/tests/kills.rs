//! Crash-only: a process that is killed at any moment during pull, unpack, commit, collection and removal leaves a store
//! that checks clean, and nothing that was acknowledged is lost. The same of a full disk at any page.
//!
//! `DUNNAGE_KILLS=1000` sets the number of kills, `DUNNAGE_KILL_SEED` the moments.
#![cfg(feature = "registry")]

mod archive;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use archive::archive;
use container_image::{
    Commit, Diff, Error, Finding, Http, HttpOptions, Image, Import, Limits, Pull, Reference, Registry,
    Snapshots, Store,
};

const WORK: &str = "DUNNAGE_KILL_WORK";
const OPERATIONS: [&str; 5] = ["pull", "unpack", "commit", "collect", "remove"];

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut random = Random(seed * 2 + 0x9e37_79b9_7f4a_7c15);
    (0..length).map(|_| random.below(256) as u8).collect()
}

fn name(text: &str) -> Reference {
    text.parse().unwrap()
}

/// An image of two layers with folders and links.
fn image(store: &Store, seed: u64) -> Image {
    let mut bytes = archive().directory("d");
    for number in 0..20u64 {
        bytes = bytes.file(&format!("d/f{number}"), &noise(seed + number, 3000));
    }
    let base = store.import(bytes.hard_link("d/again", "d/f0").end().as_slice(), Import::default()).unwrap();
    let upper = tempfile::tempdir().unwrap();
    fs::write(upper.path().join("added"), noise(seed, 60_000)).unwrap();
    store
        .commit(Some(&base), &Diff::of_upper(upper.path(), &[] as &[&Path]).unwrap(), Commit::default())
        .unwrap()
}

fn open(root: &Path) -> (Store, Snapshots) {
    (Store::open(root.join("images")).unwrap(), Snapshots::open(root.join("snapshots")).unwrap())
}

/// A registry of one repository, which serves what a store has. It ends with the test's process.
fn serve(source: Store) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let source = source.clone();
            std::thread::spawn(move || answer(&source, stream));
        }
    });
    address
}

fn answer(source: &Store, mut stream: TcpStream) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let mut begin = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if let Some(range) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
            begin = range.trim().trim_end_matches('-').parse().ok()?;
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let path = first.split(' ').nth(1)?;
    let (kind, target) = path.strip_prefix("/v2/web/")?.split_once('/')?;
    let (media_type, digest) = match (kind, target.parse()) {
        ("manifests", Err(_)) => {
            let named = source.find(&format!("web:{target}")).ok()?;
            (named.image.descriptor.media_type.as_str().to_owned(), named.image.descriptor.digest)
        }
        (_, digest) => ("application/octet-stream".to_owned(), digest.ok()?),
    };
    let bytes = fs::read(source.blob_path(&digest)).ok()?;
    let status = if begin > 0 {
        format!("206 Partial\r\ncontent-range: bytes {begin}-{}/{}", bytes.len() - 1, bytes.len())
    } else {
        "200 OK".to_owned()
    };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {media_type}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        bytes.len() - begin
    );
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(&bytes[begin..]).ok()
}

// ---------------------------------------------------------------- the one that is killed

fn say(line: &str) {
    // a reader that is gone has killed us, or will
    let _ = std::io::stdout().write_all(format!("\nDID {line}\n").as_bytes());
    let _ = std::io::stdout().flush();
}

#[test]
#[ignore = "started by the test that kills it"]
fn works_until_it_is_killed() {
    let Ok(work) = std::env::var(WORK) else { return };
    let mut words = work.split('|');
    let (operation, root) = (words.next().unwrap(), PathBuf::from(words.next().unwrap()));
    let (address, seed): (_, u64) = (words.next().unwrap(), words.next().unwrap().parse().unwrap());
    let (store, snapshots) = open(&root);
    let tag = |text: &str, image: &Image| {
        say(&format!("tagging {text} {}", image.descriptor.digest));
        store.tag(&name(text), &image.descriptor).unwrap();
        say(&format!("tagged {text} {}", image.descriptor.digest));
    };
    say("ready");
    for round in 0.. {
        match operation {
            "pull" => {
                let lease = store.lease().unwrap();
                let client = Registry::new(Http::new(&HttpOptions::default()).unwrap());
                let from = name(&format!("{address}/web:{}", round % 3));
                let limits = Limits::default();
                let pulled = client
                    .pull_unpacked(&store, &snapshots, &from, &Pull::default(), &limits, &|_| {})
                    .unwrap()
                    .0;
                tag(&format!("pulled:{}", (seed + round) % 4), &pulled);
                drop(lease);
                let old = format!("pulled:{}", (seed + round) % 4);
                say(&format!("removing {old}"));
                store.remove_name(&name(&old)).unwrap();
                say(&format!("removed {old}"));
                store.sweep().unwrap();
                snapshots.sweep(&kept(&store)).unwrap();
            }
            "unpack" => {
                for image in kept(&store) {
                    snapshots.unpack(&store, &image, &Limits::default()).unwrap();
                }
                snapshots.sweep(&[]).unwrap();
            }
            "commit" => {
                let lease = store.lease().unwrap();
                let base = store.find("base:1").unwrap().image;
                let upper = tempfile::tempdir_in(&root).unwrap();
                fs::write(upper.path().join("new"), noise(seed + round, 50_000)).unwrap();
                let diff = Diff::of_upper(upper.path(), &[] as &[&Path]).unwrap();
                let made = store.commit(Some(&base), &diff, Commit::default()).unwrap();
                tag(&format!("made:{}", (seed + round) % 5), &made);
                drop(lease);
            }
            "collect" => {
                store.put_blob(&noise(seed + round, 20_000)).unwrap();
                store.sweep().unwrap();
                snapshots.sweep(&kept(&store)).unwrap();
            }
            _ => {
                let victim = format!("made:{}", (seed + round) % 5);
                if store.find(&victim).is_ok() {
                    say(&format!("removing {victim}"));
                    store.remove_name(&name(&victim)).unwrap();
                    say(&format!("removed {victim}"));
                    store.sweep().unwrap();
                }
                let lease = store.lease().unwrap();
                let made = image(&store, seed + round + 100);
                tag(&victim, &made);
                drop(lease);
            }
        }
    }
}

fn kept(store: &Store) -> Vec<Image> {
    store.images().unwrap().into_iter().map(|named| named.image).collect()
}

// ---------------------------------------------------------------- the one that kills

/// What each name must stand for: one of these digests, or nothing if there is an empty one.
type Ledger = BTreeMap<String, Vec<String>>;

fn note(ledger: &mut Ledger, said: &str) {
    for line in said.lines().filter_map(|line| line.strip_prefix("DID ")) {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["tagging", name, digest] => {
                ledger
                    .entry((*name).to_owned())
                    .or_insert_with(|| vec![String::new()])
                    .push((*digest).to_owned());
            }
            ["tagged", name, digest] => drop(ledger.insert((*name).to_owned(), vec![(*digest).to_owned()])),
            ["removing", name] => ledger.entry((*name).to_owned()).or_default().push(String::new()),
            ["removed", name] => drop(ledger.insert((*name).to_owned(), vec![String::new()])),
            _ => {}
        }
    }
}

fn listing(root: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() {
                open.push(entry.path());
            }
            let size = if metadata.is_dir() { 0 } else { metadata.len() };
            found.push((entry.path().strip_prefix(root).unwrap().to_owned(), size));
        }
    }
    found.sort();
    found
}

#[test]
fn nothing_acknowledged_is_lost_by_a_kill_at_any_moment() {
    let kills: u64 = std::env::var("DUNNAGE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let seed = std::env::var("DUNNAGE_KILL_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(7);
    let place = tempfile::tempdir().unwrap();
    let (source, _) = open(&place.path().join("source"));
    for tag in 0..3u64 {
        let made = image(&source, tag + 1);
        source.tag(&name(&format!("web:{tag}")), &made.descriptor).unwrap();
    }
    let address = serve(source);
    let root = place.path().join("store");
    let (store, snapshots) = open(&root);
    let base = image(&store, 50);
    store.tag(&name("base:1"), &base.descriptor).unwrap();
    let reference: Vec<_> = snapshots
        .unpack(&store, &base, &Limits::default())
        .unwrap()
        .iter()
        .map(|path| listing(path))
        .collect();
    let mut ledger = Ledger::from([("base:1".to_owned(), vec![base.descriptor.digest.to_string()])]);
    let mut random = Random(seed);
    for round in 0..kills {
        let operation = OPERATIONS[(round % 5) as usize];
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "works_until_it_is_killed", "--nocapture"])
            .env(WORK, format!("{operation}|{}|{address}|{}", root.display(), random.below(1000)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut said = String::new();
        while !said.ends_with("DID ready\n") {
            assert!(output.read_line(&mut said).unwrap() > 0, "{operation} did not begin: {said}");
        }
        // any moment will do: the shorter ones are the more likely
        let span = 1 + random.below(40_000);
        std::thread::sleep(Duration::from_micros(random.below(span)));
        child.kill().unwrap();
        child.wait().unwrap();
        output.read_to_string(&mut said).unwrap();
        note(&mut ledger, &said);
        let context = format!("round {round}, {operation}, seed {seed}");

        let damage = |finding: &Finding| matches!(finding, Finding::Missing { .. } | Finding::Damaged(_));
        let findings = store.check(true).unwrap();
        assert!(!findings.iter().any(damage), "{context}: {findings:?}");
        for (text, expected) in &mut ledger {
            let found = match store.find(text) {
                Ok(named) => named.image.descriptor.digest.to_string(),
                Err(Error::ImageMissing(_)) => String::new(),
                Err(error) => panic!("{context}: {text}: {error}"),
            };
            assert!(expected.contains(&found), "{context}: {text} is {found:?}, and was to be {expected:?}");
            *expected = vec![found];
        }
        store.sweep().unwrap().expect("nobody has a lease any more");
        snapshots.sweep(&kept(&store)).unwrap();
        assert_eq!(store.check(true).unwrap(), [], "{context}");
        assert_eq!(snapshots.abandoned().unwrap(), [] as [PathBuf; 0], "{context}");
        for incoming in ["images/incoming", "snapshots/incoming"] {
            let left: Vec<_> =
                fs::read_dir(root.join(incoming)).unwrap().map(|it| it.unwrap().path()).collect();
            assert!(left.is_empty(), "{context}: {left:?}");
        }
        for entry in fs::read_dir(root.join("snapshots")).unwrap() {
            let path = entry.unwrap().path();
            assert!(path.with_extension("").exists(), "{context}: {} lies alone", path.display());
        }
        let again = snapshots.unpack(&store, &base, &Limits::default()).unwrap();
        let again: Vec<_> = again.iter().map(|path| listing(path)).collect();
        assert_eq!(again, reference, "{context}");
    }
}

// ---------------------------------------------------------------- a full disk

struct Disk(tempfile::TempDir);

impl Disk {
    fn of(bytes: u64) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let options = std::ffi::CString::new(format!("size={bytes}")).unwrap();
        let flags = rustix::mount::MountFlags::empty();
        match rustix::mount::mount("tmpfs", directory.path(), "tmpfs", flags, options.as_c_str()) {
            Ok(()) => Some(Self(directory)),
            Err(errno) => {
                eprintln!("skipped: a tmpfs cannot be mounted: {errno}");
                None
            }
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.0.path(), rustix::mount::UnmountFlags::DETACH);
    }
}

fn is_full(error: &Error) -> bool {
    let mut source: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = source {
        if error.downcast_ref::<std::io::Error>().is_some_and(|error| error.raw_os_error() == Some(28)) {
            return true;
        }
        source = error.source();
    }
    false
}

#[test]
fn a_disk_that_is_full_at_any_page_gives_a_clear_error_and_shows_nothing_half_made() {
    let bytes =
        archive().directory("d").file("d/one", &noise(1, 30_000)).file("d/two", &noise(2, 30_000)).end();
    let (mut failed, mut finished) = (0, 0);
    for page in 1..90u64 {
        let Some(disk) = Disk::of(page * 4096) else { return };
        let outcome = (|| {
            let store = Store::open(disk.0.path().join("images"))?;
            let snapshots = Snapshots::open(disk.0.path().join("snapshots"))?;
            let lease = store.lease()?;
            let image = store.import(bytes.as_slice(), Import::default())?;
            store.tag(&name("web:1"), &image.descriptor)?;
            drop(lease);
            snapshots.unpack(&store, &image, &Limits::default())?;
            let upper = tempfile::tempdir().unwrap();
            fs::write(upper.path().join("new"), noise(3, 40_000)).unwrap();
            let diff = Diff::of_upper(upper.path(), &[] as &[&Path])?;
            let made = store.commit(Some(&image), &diff, Commit::default())?;
            store.tag(&name("made:1"), &made.descriptor)
        })();
        match outcome {
            Ok(()) => finished += 1,
            Err(error) => {
                assert!(is_full(&error), "{page} pages: {error:?}");
                failed += 1;
            }
        }
        // whoever comes after, with the disk as full as it is
        let (Ok(store), Ok(snapshots)) =
            (Store::open(disk.0.path().join("images")), Snapshots::open(disk.0.path().join("snapshots")))
        else {
            continue;
        };
        let images = store.images().unwrap();
        for named in &images {
            for (layer, _) in named.image.layers() {
                assert!(store.has_blob(&layer.digest), "{page} pages");
            }
            if let Some(layers) = snapshots.layers(&named.image) {
                assert_eq!(fs::metadata(layers[0].join("d/two")).unwrap().len(), 30_000, "{page} pages");
            }
        }
        let _ = store.sweep().unwrap();
        assert_eq!(store.check(true).unwrap(), [], "{page} pages");
        let left = fs::read_dir(disk.0.path().join("images/incoming")).unwrap().count();
        assert_eq!(left, 0, "{page} pages");
        assert!(snapshots.abandoned().unwrap().is_empty(), "{page} pages");
    }
    assert!(failed > 20 && finished > 5, "{failed} failed, {finished} finished");
}
