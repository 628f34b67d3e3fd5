//! The registry client, against Debian's docker-registry and against servers that mean harm
//! (../shared/ATTACKS.md, *Registries*).
#![cfg(feature = "registry")]

mod archive;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use archive::archive;
use container_image::{
    Credential, Credentials, Digest, Error, Http, HttpOptions, Image, Import, Platform, Progress, Pull,
    Reference, Registry, Store,
};

struct Place {
    _directory: tempfile::TempDir,
    store: Store,
    other: Store,
}

fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path().join("one")).unwrap();
    let other = Store::open(directory.path().join("other")).unwrap();
    Place { _directory: directory, store, other }
}

fn image(store: &Store, size: usize) -> Image {
    let mut seed = 0x9e37_79b9u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        seed as u8
    })
    .take(size)
    .collect();
    store.import(archive().file("f", &noise).end().as_slice(), Import::default()).unwrap()
}

fn client() -> Registry {
    let options = HttpOptions {
        connect: Duration::from_secs(5),
        stall: Duration::from_secs(5),
        ..HttpOptions::default()
    };
    Registry::new(Http::new(&options).unwrap()).retries(3, Duration::from_millis(1))
}

fn silent(_: Progress) {}

// ---------------------------------------------------------------- Debian's registry

struct Server {
    child: Child,
    address: String,
    directory: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `user` with the password `secret`.
const HTPASSWD: &str = "user:$2b$04$NgT78RHBjQFt3xz9./i6tuFQMdF6NQ7SHvFEwV1uJQU3QpB58LAxu\n";

/// Starts docker-registry; none, loudly, where it is not installed.
fn docker_registry(with_password: bool) -> Option<Server> {
    let directory = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let root = directory.path().display();
    let auth = if with_password {
        fs::write(directory.path().join("htpasswd"), HTPASSWD).unwrap();
        format!("auth: {{htpasswd: {{realm: test, path: {root}/htpasswd}}}}\n")
    } else {
        String::new()
    };
    let config = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {root}/data}}, delete: {{enabled: true}}}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n{auth}"
    );
    fs::write(directory.path().join("config.yml"), config).unwrap();
    let child = Command::new("docker-registry")
        .arg("serve")
        .arg(directory.path().join("config.yml"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(child) = child else {
        eprintln!("skipped: docker-registry is not installed");
        return None;
    };
    let server = Server { child, address: format!("127.0.0.1:{port}"), directory };
    let begun = Instant::now();
    while TcpStream::connect(&server.address).is_err() {
        assert!(begun.elapsed() < Duration::from_secs(30), "docker-registry does not listen");
        std::thread::sleep(Duration::from_millis(10));
    }
    Some(server)
}

#[test]
fn an_image_goes_to_a_registry_and_comes_back_the_same() {
    let Some(server) = docker_registry(false) else { return };
    let Place { _directory, store, other } = place();
    let sent = image(&store, 300_000);
    let name: Reference = format!("{}/team/web:1", server.address).parse().unwrap();
    let client = client();
    let events = Mutex::new(Vec::new());
    let note = |event| events.lock().unwrap().push(event);
    let digest = client.push(&store, &sent, &name, None, &note).unwrap();
    assert_eq!(digest, sent.descriptor.digest);
    assert_eq!(client.resolve(&name).unwrap().digest, digest);
    assert_eq!(client.tags(&name).unwrap(), ["1"]);

    let received = client.pull(&other, &name, &Pull::default(), &note).unwrap();
    assert_eq!(received, sent);
    other.tag(&name, &received.descriptor).unwrap();
    assert_eq!(other.check(true).unwrap(), []);
    let by_digest: Reference = format!("{}/team/web@{digest}", server.address).parse().unwrap();
    assert_eq!(client.pull(&other, &by_digest, &Pull::default(), &silent).unwrap().id, sent.id);
    let layer = &sent.manifest.layers[0];
    let whole = Progress::Moving { digest: layer.digest.clone(), done: layer.size, total: layer.size };
    let events = events.into_inner().unwrap();
    assert_eq!(events.iter().filter(|event| **event == whole).count(), 2, "sent, and received");

    // a second push sends nothing; another repository takes the blobs from the first
    let events = Mutex::new(Vec::new());
    let note = |event| events.lock().unwrap().push(event);
    client.push(&store, &sent, &name, None, &note).unwrap();
    assert!(events.lock().unwrap().contains(&Progress::Exists(layer.digest.clone())));
    let copy: Reference = format!("{}/copy:2", server.address).parse().unwrap();
    client.push(&store, &sent, &copy, Some(&name), &note).unwrap();
    assert!(events.lock().unwrap().contains(&Progress::Mounted(layer.digest.clone())));

    assert_eq!(client.delete(&name).unwrap(), digest);
    assert!(matches!(client.resolve(&name), Err(Error::NotFound { .. })));
    assert!(matches!(client.pull(&other, &name, &Pull::default(), &silent), Err(Error::NotFound { .. })));
    assert!(server.directory.path().join("data").exists());
}

#[test]
fn a_registry_with_a_password_takes_the_right_one_only_and_no_error_shows_it() {
    let Some(server) = docker_registry(true) else { return };
    let Place { _directory, store, .. } = place();
    let sent = image(&store, 1000);
    let name: Reference = format!("{}/web:1", server.address).parse().unwrap();
    let with = |password: &str| {
        let mut credentials = Credentials::default();
        let password = password.to_owned();
        credentials.set(&server.address, Credential::Password { user: "user".to_owned(), password });
        client().credentials(credentials)
    };
    assert!(matches!(client().ping(&server.address), Err(Error::Unauthorized { .. })));
    let error = with("hunter2").ping(&server.address).unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error:?}");
    assert!(!format!("{error} {error:?} {:?}", with("hunter2")).contains("hunter2"));
    with("secret").ping(&server.address).unwrap();
    with("secret").push(&store, &sent, &name, None, &silent).unwrap();
    assert_eq!(with("secret").tags(&name).unwrap(), ["1"]);
}

/// The server dies in the middle of a blob, and the client with it; the next client goes on where the first one broke off.
#[test]
fn a_pull_goes_on_in_another_process_after_the_server_died_in_the_middle_of_a_blob() {
    let content = content(300_000);
    let Place { _directory, other, .. } = place();
    let (digest, layer) = (content.layer.0.clone(), content.layer.1.clone());
    let content = Arc::new(content);
    let (kept, bytes) = (Arc::clone(&content), layer.clone());
    let dying = Hostile::new(move |asked, stream| {
        if !kept.answer(asked, stream) {
            answer(stream, 200, &[("content-length", &bytes.len().to_string())], &bytes[..120_000]);
        }
    });
    let once = client().retries(1, Duration::ZERO);
    let error = once.pull(&other, &dying.name(), &Pull::default(), &silent).unwrap_err();
    assert!(matches!(error, Error::Transport { .. }), "{error:?}");
    drop(dying);
    let part = other.root().join("incoming").join(format!("part-{}", digest.hex()));
    let there = fs::metadata(&part).unwrap().len();
    assert!(there > 0 && there <= 120_000, "{there}");
    assert!(!other.has_blob(&digest), "half a blob is visible");

    // a store that is opened anew stands for another process: all that is known is in the file
    let again = Store::open(other.root()).unwrap();
    let asked_for = Arc::new(Mutex::new(Vec::new()));
    let (kept, bytes, noted) = (Arc::clone(&content), layer.clone(), Arc::clone(&asked_for));
    let alive = Hostile::new(move |asked, stream| {
        if kept.answer(asked, stream) {
            return;
        }
        noted.lock().unwrap().push(range_start(asked));
        let start = range_start(asked).unwrap_or(0);
        let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
        let length = (bytes.len() - start).to_string();
        answer(stream, 206, &[("content-range", &range), ("content-length", &length)], &bytes[start..]);
    });
    once.pull(&again, &alive.name(), &Pull::default(), &silent).unwrap();
    assert_eq!(*asked_for.lock().unwrap(), [Some(there as usize)]);
    assert_eq!(fs::read(again.blob_path(&digest)).unwrap(), layer);
    assert!(!part.exists());

    // what is in the file may be wrong: then all of it comes again
    fs::remove_file(again.blob_path(&digest)).unwrap();
    fs::write(&part, vec![0; there as usize]).unwrap();
    asked_for.lock().unwrap().clear();
    once.pull(&again, &alive.name(), &Pull::default(), &silent).unwrap();
    assert_eq!(fs::read(again.blob_path(&digest)).unwrap(), layer);
    assert_eq!(asked_for.lock().unwrap().len(), 2);
}

#[test]
fn mirrors_are_asked_first_and_what_they_lack_or_falsify_comes_from_the_registry() {
    let whole = Arc::new(content(50_000));
    let (kept, bytes) = (Arc::clone(&whole), whole.layer.1.clone());
    let registry = Hostile::new(move |asked, stream| {
        if !kept.answer(asked, stream) {
            answer(stream, 200, &[], &bytes);
        }
    });
    let hosts = |mirror: &Hostile, capabilities: &str| {
        container_image::Hosts::parse(&format!(
            "[host.\"http://{}\"]\ncapabilities = [{capabilities}]\n",
            mirror.address
        ))
        .unwrap()
    };
    let name = registry.name();
    let secret = || {
        let mut credentials = Credentials::default();
        let password = "hunter2".to_owned();
        credentials.set(name.domain(), Credential::Password { user: "user".to_owned(), password });
        client().retries(1, Duration::ZERO).credentials(credentials)
    };

    // one that has all of it: the registry is not asked at all
    let (kept, bytes) = (Arc::clone(&whole), whole.layer.1.clone());
    let full = Hostile::new(move |asked, stream| {
        if !kept.answer(asked, stream) {
            answer(stream, 200, &[], &bytes);
        }
    });
    let Place { _directory, store, other } = place();
    let pull = |client: Registry, store: &Store| client.pull(store, &name, &Pull::default(), &silent);
    pull(secret().mirrors(name.domain(), hosts(&full, "\"pull\", \"resolve\"")), &store).unwrap();
    assert_eq!((registry.count(), full.count()), (0, 3));

    // one that lies about the layer, knows no tags, and asks for a password: it gets none, and the registry gives the rest
    let (kept, lie) = (Arc::clone(&whole), vec![0; whole.layer.1.len()]);
    let false_one = Hostile::new(move |asked, stream| {
        if asked.path.ends_with(kept.config.0.as_str()) {
            answer(stream, 401, &[("www-authenticate", "Basic realm=\"x\"")], b"");
        } else {
            answer(stream, 200, &[], &lie);
        }
    });
    pull(secret().mirrors(name.domain(), hosts(&false_one, "\"pull\"")), &other).unwrap();
    let asked = false_one.log.lock().unwrap();
    assert!(
        !asked.iter().any(|asked| asked.path.contains("/manifests/")),
        "it was asked what a tag stands for"
    );
    assert!(!asked.is_empty() && asked.iter().all(|asked| asked.header("authorization").is_none()));
    assert_eq!(fs::read(other.blob_path(&whole.layer.0)).unwrap(), whole.layer.1);
}

#[test]
fn two_pulls_of_one_image_at_once_fetch_each_blob_once() {
    let whole = content(400_000);
    let digest = whole.layer.0.clone();
    let server = Hostile::new(move |asked, stream| {
        if !whole.answer(asked, stream) {
            answer(stream, 200, &[], &whole.layer.1);
        }
    });
    let Place { _directory, other, .. } = place();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            // each opens the store for itself, as processes do
            let store = Store::open(other.root()).unwrap();
            let name = server.name();
            scope.spawn(move || client().pull(&store, &name, &Pull::default(), &silent).unwrap());
        }
    });
    let log = server.log.lock().unwrap();
    assert_eq!(log.iter().filter(|asked| asked.path.ends_with(digest.as_str())).count(), 1);
}

#[test]
fn a_blob_goes_in_pieces_to_a_registry_of_debian() {
    let Some(server) = docker_registry(false) else { return };
    let Place { _directory, store, other } = place();
    let sent = image(&store, 300_000);
    let name: Reference = format!("{}/pieces:1", server.address).parse().unwrap();
    let seen = Mutex::new(Vec::new());
    let note = |event| {
        if let Progress::Moving { done, .. } = event {
            seen.lock().unwrap().push(done);
        }
    };
    client().chunked(70_000).push(&store, &sent, &name, None, &note).unwrap();
    assert_eq!(client().pull(&other, &name, &Pull::default(), &silent).unwrap(), sent);
    let seen = seen.into_inner().unwrap();
    assert!(seen.contains(&70_000) && seen.contains(&280_000), "{seen:?}");
}

#[test]
fn an_upload_that_broke_off_goes_on_as_far_as_the_registry_says_it_came() {
    let Place { _directory, store, .. } = place();
    let sent = image(&store, 100_000);
    let layer = sent.manifest.layers[0].clone();
    let kept = Arc::new(Mutex::new(Vec::<u8>::new()));
    let (there, wanted) = (Arc::clone(&kept), layer.clone());
    let server = Hostile::new(move |asked, stream| {
        let mut kept = there.lock().unwrap();
        match asked.method.as_str() {
            "HEAD" => answer(stream, 404, &[], b""),
            "POST" => answer(stream, 202, &[("location", "/v2/web/blobs/uploads/one")], b""),
            "GET" => {
                let range = format!("0-{}", kept.len() - 1);
                answer(stream, 204, &[("location", "/v2/web/blobs/uploads/two"), ("range", &range)], b"");
            }
            "PUT" if asked.path.contains("/manifests/") => {
                answer(stream, 201, &[], b"");
            }
            "PUT" if asked.path.contains(wanted.digest.as_str()) && kept.is_empty() => {
                // the first 30,000 bytes come, and then the connection is gone
                asked.body[..30_000].clone_into(&mut kept);
            }
            "PATCH" => {
                assert_eq!(
                    asked.header("content-range"),
                    Some(format!("30000-{}", wanted.size - 1).as_str())
                );
                kept.extend_from_slice(&asked.body);
                answer(stream, 202, &[("location", "/v2/web/blobs/uploads/three")], b"");
            }
            _ => answer(stream, 201, &[], b""),
        }
    });
    let events = Mutex::new(Vec::new());
    let note = |event| events.lock().unwrap().push(event);
    client().push(&store, &sent, &server.name(), None, &note).unwrap();
    assert_eq!(*kept.lock().unwrap(), fs::read(store.blob_path(&layer.digest)).unwrap());
    let again = Progress::Retrying { digest: layer.digest, attempt: 2 };
    assert!(events.into_inner().unwrap().contains(&again));
}

/// skopeo is the witness: it reads what we pushed, and we read what it pushed.
#[test]
fn skopeo_and_we_read_each_others_pushes() {
    let Some(server) = docker_registry(false) else { return };
    if !Command::new("skopeo").arg("--version").stdout(Stdio::null()).status().is_ok_and(|s| s.success()) {
        eprintln!("skipped: skopeo is not installed");
        return;
    }
    let Place { _directory, store, other } = place();
    let sent = image(&store, 5000);
    let name: Reference = format!("{}/web:1", server.address).parse().unwrap();
    client().push(&store, &sent, &name, None, &silent).unwrap();
    let (from, to) = (format!("docker://{name}"), format!("docker://{}/theirs:1", server.address));
    let copy = Command::new("skopeo")
        .args(["copy", "-q", "--format", "v2s2", "--src-tls-verify=false", "--dest-tls-verify=false"])
        .args([&from, &to])
        .output()
        .unwrap();
    assert!(copy.status.success(), "{}", String::from_utf8_lossy(&copy.stderr));
    let theirs: Reference = format!("{}/theirs:1", server.address).parse().unwrap();
    let received = client().pull(&other, &theirs, &Pull::default(), &silent).unwrap();
    assert!(received.manifest.media_type.as_str().contains("docker"), "Docker's schema 2");
    assert_eq!(received.config.rootfs, sent.config.rootfs);
}

// ---------------------------------------------------------------- servers of our own

struct Asked {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Asked {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

type Handler = dyn Fn(&Asked, &mut TcpStream) + Send + Sync;

/// A server on loopback that answers as it is told, and remembers what it was asked.
struct Hostile {
    address: String,
    log: Arc<Mutex<Vec<Asked>>>,
    over: Arc<AtomicBool>,
}

impl Hostile {
    fn new(handler: impl Fn(&Asked, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (log, over) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let handler: Arc<Handler> = Arc::new(handler);
        let (log_there, over_there) = (log.clone(), over.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over_there.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { return };
                let (handler, log) = (handler.clone(), log_there.clone());
                std::thread::spawn(move || serve(stream, &*handler, &log));
            }
        });
        Self { address, log, over }
    }

    fn name(&self) -> Reference {
        format!("{}/web:1", self.address).parse().unwrap()
    }

    fn count(&self) -> usize {
        self.log.lock().unwrap().len()
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(&self.address);
    }
}

fn serve(mut stream: TcpStream, handler: &Handler, log: &Mutex<Vec<Asked>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    if reader.read_line(&mut line).unwrap_or(0) == 0 {
        return;
    }
    let mut words = line.split(' ').map(str::to_owned);
    let mut asked = Asked {
        method: words.next().unwrap_or_default(),
        path: words.next().unwrap_or_default(),
        headers: Vec::new(),
        body: Vec::new(),
    };
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            asked.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let length = asked.header("content-length").and_then(|text| text.parse().ok()).unwrap_or(0u64);
    let _ = reader.take(length.min(1 << 20)).read_to_end(&mut asked.body);
    let again = Asked {
        method: asked.method.clone(),
        path: asked.path.clone(),
        headers: asked.headers.clone(),
        body: Vec::new(),
    };
    log.lock().unwrap().push(again);
    handler(&asked, &mut stream);
}

fn answer(stream: &mut TcpStream, status: u16, headers: &[(&str, &str)], body: &[u8]) {
    let mut text = format!("HTTP/1.1 {status} X\r\nconnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "content-length") {
        text = format!("{text}content-length: {}\r\n", body.len());
    }
    for (name, value) in headers {
        text = text + name + ": " + value + "\r\n";
    }
    text.push_str("\r\n");
    // the client may have gone away
    let _ = stream.write_all(text.as_bytes()).and_then(|()| stream.write_all(body));
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// What a well-behaved registry says about one image.
#[derive(Clone)]
struct Content {
    manifest: Vec<u8>,
    config: (Digest, Vec<u8>),
    layer: (Digest, Vec<u8>),
}

fn content(size: usize) -> Content {
    let Place { _directory, store, .. } = place();
    let image = image(&store, size);
    let read = |digest: &Digest| {
        let mut bytes = Vec::new();
        store.open_blob(digest).unwrap().read_to_end(&mut bytes).unwrap();
        (digest.clone(), bytes)
    };
    Content {
        manifest: read(&image.descriptor.digest).1,
        config: read(&image.id),
        layer: read(&image.manifest.layers[0].digest),
    }
}

impl Content {
    /// Answers for manifest and configuration; false for the layer.
    fn answer(&self, asked: &Asked, stream: &mut TcpStream) -> bool {
        if asked.path.contains("/manifests/") {
            answer(stream, 200, &[("content-type", MANIFEST)], &self.manifest);
        } else if asked.path.ends_with(self.config.0.as_str()) {
            answer(stream, 200, &[], &self.config.1);
        } else {
            return false;
        }
        true
    }
}

/// Pulls from a server whose answers for the layer are given, and tells what came of it.
fn pull_with(
    size: usize,
    client: &Registry,
    layer: impl Fn(&Asked, &[u8], &mut TcpStream) + Send + Sync + 'static,
) -> (Result<Image, Error>, Place, Hostile) {
    let content = content(size);
    let place = place();
    let bytes = content.layer.1.clone();
    let server = Hostile::new(move |asked, stream| {
        if !content.answer(asked, stream) {
            layer(asked, &bytes, stream);
        }
    });
    let result = client.pull(&place.other, &server.name(), &Pull::default(), &silent);
    if result.is_err() {
        // a download that broke off stays for the next pull, and nothing else
        for left in fs::read_dir(place.other.root().join("incoming")).unwrap() {
            let name = left.unwrap().file_name().into_string().unwrap();
            assert!(name.starts_with("part-"), "{name} is left half-made");
        }
        if !matches!(result, Err(Error::Transport { .. } | Error::Status { .. })) {
            assert_eq!(fs::read_dir(place.other.root().join("incoming")).unwrap().count(), 0, "{result:?}");
        }
    }
    let harmless = |finding: &container_image::Finding| {
        use container_image::Finding;
        matches!(finding, Finding::Unneeded(_) | Finding::Abandoned(_))
    };
    assert!(place.other.check(true).unwrap().iter().all(harmless), "something damaged is visible");
    (result, place, server)
}

fn range_start(asked: &Asked) -> Option<usize> {
    asked.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
}

fn partial(stream: &mut TcpStream, bytes: &[u8], start: usize) {
    let range = format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len());
    answer(stream, 206, &[("content-range", &range)], &bytes[start..]);
}

#[test]
fn a_pull_that_breaks_off_goes_on_where_it_was() {
    let length = |bytes: &[u8]| bytes.len().to_string();
    let (result, _place, server) =
        pull_with(400_000, &client(), move |asked, bytes, stream| match range_start(asked) {
            None => answer(stream, 200, &[("content-length", &length(bytes))], &bytes[..150_000]),
            Some(start) => partial(stream, bytes, start),
        });
    result.unwrap();
    let log = server.log.lock().unwrap();
    assert!(log.iter().any(|asked| range_start(asked).is_some_and(|start| start > 0)), "it began anew");
}

#[test]
fn a_server_that_knows_no_ranges_is_read_from_the_start() {
    let length = |bytes: &[u8]| bytes.len().to_string();
    let (result, ..) = pull_with(400_000, &client(), move |asked, bytes, stream| {
        let end = if asked.header("range").is_some() { bytes.len() } else { 150_000 };
        answer(stream, 200, &[("content-length", &length(bytes))], &bytes[..end]);
    });
    result.unwrap();
}

#[test]
fn wrong_ranges_and_content_that_changes_between_them_are_refused() {
    let cut = |bytes: &[u8], stream: &mut TcpStream| {
        answer(stream, 200, &[("content-length", &bytes.len().to_string())], &bytes[..150_000]);
    };
    let (result, ..) = pull_with(400_000, &client(), move |asked, bytes, stream| match range_start(asked) {
        None => cut(bytes, stream),
        // another start than was asked for
        Some(start) => partial(stream, bytes, start - 1),
    });
    assert!(matches!(result, Err(Error::Refused { .. })), "{result:?}");
    let (result, ..) = pull_with(400_000, &client(), move |asked, bytes, stream| match range_start(asked) {
        None => cut(bytes, stream),
        Some(start) => {
            let mut other = bytes.to_vec();
            other[300_000] ^= 1;
            partial(stream, &other, start);
        }
    });
    assert!(matches!(result, Err(Error::DigestMismatch { .. })), "{result:?}");
}

#[test]
fn content_that_is_other_or_longer_than_promised_is_refused() {
    let (result, ..) = pull_with(1000, &client(), |_, bytes, stream| {
        answer(stream, 200, &[], &vec![b'x'; bytes.len()]);
    });
    assert!(matches!(result, Err(Error::DigestMismatch { .. })), "{result:?}");
    let (result, ..) = pull_with(1000, &client(), |_, _, stream| {
        let head = b"HTTP/1.1 200 X\r\nconnection: close\r\n\r\n";
        let _ = stream.write_all(head);
        // without end, as far as the client listens
        while stream.write_all(&[0; 4096]).is_ok() {}
    });
    assert!(matches!(result, Err(Error::SizeMismatch { .. })), "{result:?}");
    let (result, _, server) = pull_with(1000, &client(), |_, _, stream| answer(stream, 503, &[], b""));
    assert!(matches!(result, Err(Error::Status { status: 503, .. })), "{result:?}");
    assert!(server.count() < 8, "retries have no end");
}

#[test]
fn a_server_that_stalls_or_drips_is_given_up() {
    let options = HttpOptions { stall: Duration::from_millis(150), ..HttpOptions::default() };
    let client = Registry::new(Http::new(&options).unwrap())
        .retries(1, Duration::ZERO)
        .stall(Duration::from_millis(150));
    let begun = Instant::now();
    let (result, ..) = pull_with(1000, &client, |_, _, stream| {
        // until the client closes the connection
        let _ = stream.read(&mut [0]);
    });
    assert!(matches!(result, Err(Error::Transport { .. })), "{result:?}");
    let (result, ..) = pull_with(100_000, &client, |_, bytes, stream| {
        answer(stream, 200, &[("content-length", &bytes.len().to_string())], b"");
        for byte in bytes {
            if stream.write_all(&[*byte]).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let Err(Error::Transport { source, .. }) = result else { panic!("{result:?}") };
    assert_eq!(source.kind(), std::io::ErrorKind::TimedOut);
    assert!(begun.elapsed() < Duration::from_secs(20));
}

fn with_password(server: &Hostile) -> Registry {
    let mut credentials = Credentials::default();
    let (user, password) = ("user".to_owned(), "hunter2".to_owned());
    credentials.set(&server.address, Credential::Password { user, password });
    client().credentials(credentials)
}

#[test]
fn credentials_do_not_follow_a_redirect() {
    let content = content(1000);
    let layer = content.layer.1.clone();
    let elsewhere = Hostile::new(move |_, stream| answer(stream, 200, &[], &layer));
    let address = elsewhere.address.clone();
    let server = Hostile::new(move |asked, stream| {
        if asked.header("authorization").is_none() {
            answer(stream, 401, &[("www-authenticate", "Basic realm=\"x\"")], b"");
        } else if !content.answer(asked, stream) {
            answer(stream, 307, &[("location", &format!("http://{address}/there"))], b"");
        }
    });
    let place = place();
    with_password(&server).pull(&place.other, &server.name(), &Pull::default(), &silent).unwrap();
    let log = elsewhere.log.lock().unwrap();
    assert_eq!(log.len(), 1);
    assert_eq!(log[0].header("authorization"), None, "credentials went to another host");
}

#[test]
fn redirects_to_files_and_without_end_are_refused() {
    for location in ["file:///etc/passwd", "ftp://x/y", "http://user:pw@127.0.0.1/x", "//"] {
        let location = location.to_owned();
        let (result, ..) = pull_with(1000, &client(), move |_, _, stream| {
            answer(stream, 302, &[("location", &location)], b"");
        });
        assert!(matches!(result, Err(Error::Refused { .. })), "{result:?}");
        assert!(!result.unwrap_err().to_string().contains("pw@"));
    }
    let (result, _, server) = pull_with(1000, &client(), |_, _, stream| {
        answer(stream, 302, &[("location", "/again")], b"");
    });
    assert!(matches!(result, Err(Error::Refused { .. })), "{result:?}");
    assert!(server.count() < 12);
}

#[test]
fn a_token_challenge_does_not_take_credentials_to_another_host() {
    let thief = Hostile::new(|_, stream| answer(stream, 200, &[], br#"{"token":"t"}"#));
    let port = thief.address.rsplit_once(':').unwrap().1.to_owned();
    let server = Hostile::new(move |_, stream| {
        let challenge = format!("Bearer realm=\"http://localhost:{port}/token\",service=\"x\"");
        answer(stream, 401, &[("www-authenticate", &challenge)], b"");
    });
    let error = with_password(&server).resolve(&server.name()).unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    assert_eq!(thief.count(), 0, "the other host was asked");
    assert!(!format!("{error:?}").contains("hunter2"));
}

#[test]
fn a_token_is_got_by_the_password_and_shown_to_the_registry() {
    let content = content(1000);
    let layer = content.layer.clone();
    let address = Arc::new(Mutex::new(String::new()));
    let own = address.clone();
    let server = Hostile::new(move |asked, stream| {
        if asked.path.starts_with("/token?") {
            assert!(asked.header("authorization").is_some_and(|value| value.starts_with("Basic ")));
            assert!(asked.path.contains("scope=repository:web:pull"), "{}", asked.path);
            answer(stream, 200, &[], br#"{"access_token":"abc"}"#);
        } else if asked.header("authorization") != Some("Bearer abc") {
            let realm = format!("Bearer realm=\"http://{}/token\",service=\"reg\"", own.lock().unwrap());
            answer(stream, 401, &[("www-authenticate", &realm)], b"");
        } else if !content.answer(asked, stream) {
            answer(stream, 200, &[], &layer.1);
        }
    });
    address.lock().unwrap().clone_from(&server.address);
    let place = place();
    with_password(&server).pull(&place.other, &server.name(), &Pull::default(), &silent).unwrap();
    let tokens = server.log.lock().unwrap().iter().filter(|asked| asked.path.starts_with("/token")).count();
    assert_eq!(tokens, 1, "one token serves the whole pull");
}

#[test]
fn gigantic_answers_and_headers_are_refused() {
    let endless = |content_type: &'static str| {
        Hostile::new(move |_, stream| {
            let head =
                format!("HTTP/1.1 200 X\r\nconnection: close\r\ncontent-type: {content_type}\r\n\r\n[");
            let _ = stream.write_all(head.as_bytes());
            while stream.write_all(&[b'['; 4096]).is_ok() {}
        })
    };
    let server = endless(MANIFEST);
    assert!(matches!(client().resolve(&server.name()), Err(Error::Limit { .. })));
    assert!(matches!(client().tags(&server.name()), Err(Error::Limit { .. })));
    let deep = Hostile::new(|_, stream| {
        answer(stream, 200, &[("content-type", MANIFEST)], &vec![b'['; 1 << 20]);
    });
    assert!(matches!(client().resolve(&deep.name()), Err(Error::Document { .. })));
    let headers = Hostile::new(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 X\r\n");
        while stream.write_all(b"x-filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n").is_ok() {}
    });
    assert!(client().retries(1, Duration::ZERO).resolve(&headers.name()).is_err());
}

#[test]
fn manifests_that_lie_are_refused() {
    const EMPTY: &[u8] = br#"{"schemaVersion":2,"manifests":[]}"#;
    const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    const FOREIGN: &[u8] = br#"{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json",
        "digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":0},
        "layers":[{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","size":1,
        "digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","urls":["http://127.0.0.1:1/"]}]}"#;
    let manifest = |bytes: &'static [u8], content_type: &'static str, digest: Option<String>| {
        let server = Hostile::new(move |_, stream| {
            let mut headers = vec![("content-type", content_type)];
            headers.extend(digest.as_deref().map(|digest| ("docker-content-digest", digest)));
            answer(stream, 200, &headers, bytes);
        });
        let place = place();
        let result = client().pull(&place.other, &server.name(), &Pull::default(), &silent);
        (result.unwrap_err(), server)
    };
    let wrong = Digest::of(b"other").to_string();
    assert!(matches!(manifest(EMPTY, INDEX, Some(wrong)).0, Error::DigestMismatch { .. }));
    assert!(matches!(manifest(EMPTY, INDEX, Some("sha256:../../x".into())).0, Error::Digest { .. }));
    assert!(matches!(manifest(EMPTY, MANIFEST, None).0, Error::Inconsistent { .. }));
    assert!(matches!(manifest(EMPTY, INDEX, None).0, Error::Platform { .. }));
    assert!(matches!(manifest(EMPTY, "text/html", None).0, Error::MediaType { .. }));
    let schema1 = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    assert!(matches!(manifest(br#"{"schemaVersion":1}"#, schema1, None).0, Error::MediaType { .. }));
    // a layer that is to come from elsewhere (CVE-2020-15157)
    let (error, server) = manifest(FOREIGN, MANIFEST, None);
    assert!(matches!(error, Error::MediaType { .. }), "{error:?}");
    assert_eq!(server.count(), 1, "something was fetched for a foreign layer");
}

#[test]
fn of_an_index_the_image_for_the_platform_is_fetched_and_nothing_else() {
    let content = content(1000);
    let layer = content.layer.clone();
    let (digest, size) = (Digest::of(&content.manifest), content.manifest.len());
    let other = Digest::of(b"another platform");
    let architecture = Platform::host().architecture;
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[
        {{"mediaType":"{MANIFEST}","digest":"{other}","size":16,"platform":{{"architecture":"mips","os":"linux"}}}},
        {{"mediaType":"{MANIFEST}","digest":"{digest}","size":{size},"platform":{{"architecture":"{architecture}","os":"linux"}}}}]}}"#
    );
    let index_digest = Digest::of(index.as_bytes());
    let server = Hostile::new(move |asked, stream| {
        if asked.path.ends_with("/manifests/1") {
            answer(
                stream,
                200,
                &[("content-type", "application/vnd.oci.image.index.v1+json")],
                index.as_bytes(),
            );
        } else if !content.answer(asked, stream) {
            answer(stream, 200, &[], &layer.1);
        }
    });
    let place = place();
    let image = client().pull(&place.other, &server.name(), &Pull::default(), &silent).unwrap();
    assert_eq!((image.descriptor.digest, image.manifest_descriptor.digest), (index_digest, digest));
    assert_eq!(server.count(), 4);
    let pull = Pull { platform: "linux/riscv64".parse().unwrap(), ..Pull::default() };
    let error = client().pull(&place.other, &server.name(), &pull, &silent).unwrap_err();
    assert!(matches!(error, Error::Platform { .. }));
}
