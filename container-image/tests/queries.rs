//! What registries are asked beside images: catalogue, referrers, search; and who we say we are: helpers.
#![cfg(feature = "registry")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use container_image::{
    Credential, Credentials, Digest, Error, Helper, Http, HttpOptions, Reference, Registry,
};

/// A server whose answers are a table: path and query, then status, further headers and body.
struct Server {
    address: String,
    asked: Arc<Mutex<Vec<(String, String)>>>,
}

type Answers = BTreeMap<String, (u16, String, String)>;

impl Server {
    fn new(answers: impl FnOnce(&str) -> Answers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (asked, answers) = (Arc::new(Mutex::new(Vec::new())), answers(&address));
        let log = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = answer(stream, &answers, &log);
            }
        });
        Self { address, asked }
    }
}

fn answer(
    mut stream: TcpStream,
    answers: &Answers,
    log: &Mutex<Vec<(String, String)>>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().unwrap_or(Ok(String::new()))?;
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut authorization = String::new();
    for line in lines {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("authorization: ") {
            line[line.len() - value.len()..].clone_into(&mut authorization);
        }
    }
    let key = if authorization.is_empty() { path.clone() } else { format!("{path} {authorization}") };
    let (status, headers, body) =
        answers.get(&key).or(answers.get(&path)).cloned().unwrap_or((404, String::new(), "{}".to_owned()));
    log.lock().unwrap().push((path, authorization));
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}

fn ok(path: &str, headers: &str, body: &str) -> (String, (u16, String, String)) {
    (path.to_owned(), (200, headers.to_owned(), body.to_owned()))
}

fn client() -> Registry {
    Registry::new(Http::new(&HttpOptions::default()).unwrap()).retries(1, Duration::ZERO)
}

#[test]
fn the_catalogue_is_read_page_by_page_and_not_from_another_host() {
    let server = Server::new(|_| {
        Answers::from([
            ok(
                "/v2/_catalog",
                "link: </v2/_catalog?last=b>; rel=\"next\"\r\n",
                r#"{"repositories":["a","b"]}"#,
            ),
            ok(
                "/v2/_catalog?last=b",
                "link: <http://localhost:1/v2/_catalog>; rel=\"next\"\r\n",
                r#"{"repositories":["team/c"]}"#,
            ),
        ])
    });
    assert_eq!(client().catalog(&server.address).unwrap(), ["a", "b", "team/c"]);
}

#[test]
fn referrers_come_from_their_endpoint_or_else_from_the_tag_that_stands_in() {
    let digest = Digest::of(b"an image");
    let index = |kind: &str| {
        let entry = |data: &[u8], kind: &str| {
            format!(
                r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{}","size":4,"artifactType":"{kind}"}}"#,
                Digest::of(data)
            )
        };
        format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{},{}]}}"#,
            entry(b"one", kind),
            entry(b"two", "application/other")
        )
    };
    let kind = "content-type: application/vnd.oci.image.index.v1+json\r\n";
    let modern = Server::new(|_| {
        Answers::from([ok(&format!("/v2/web/referrers/{digest}"), kind, &index("a/signature"))])
    });
    let name = |server: &Server| format!("{}/web@{digest}", server.address).parse::<Reference>().unwrap();
    let found = client().referrers(&name(&modern), None).unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].artifact_type.as_deref(), Some("a/signature"));

    let tag = format!("/v2/web/manifests/sha256-{}", digest.hex());
    let old = Server::new(|_| Answers::from([ok(&tag, kind, &index("a/signature"))]));
    let found = client().referrers(&name(&old), Some("a/signature")).unwrap();
    assert_eq!(found.iter().map(|entry| entry.digest.clone()).collect::<Vec<_>>(), [Digest::of(b"one")]);

    let none = Server::new(|_| Answers::new());
    assert_eq!(client().referrers(&name(&none), None).unwrap(), []);
}

#[test]
fn a_search_finds_what_the_hubs_answer_lists() {
    let server = Server::new(|_| {
        Answers::from([ok(
            "/v1/search?q=web%20server&n=2",
            "",
            r#"{"num_results":3,"results":[
                {"name":"nginx","description":"Official","star_count":9,"is_official":true,"is_automated":false},
                {"name":"team/web","description":"","star_count":0},{"name":"third"}]}"#,
        )])
    });
    let found = client().search(&server.address, "web server", 2).unwrap();
    assert_eq!(found.len(), 2, "no more than was asked for");
    assert_eq!((found[0].name.as_str(), found[0].stars, found[0].official), ("nginx", 9, true));
    assert!(!found[1].official);
}

struct Told;

impl Helper for Told {
    fn find(&self, program: &str, registry: &str) -> std::io::Result<Option<Credential>> {
        match program {
            "test" => Ok(Credential::of_helper(&format!(
                r#"{{"ServerURL":"{registry}","Username":"user","Secret":"hunter2"}}"#
            ))),
            _ => Err(std::io::ErrorKind::NotFound.into()),
        }
    }
}

#[test]
fn a_helper_is_asked_for_the_registries_that_the_file_names_it_for() {
    let server = Server::new(|_| {
        Answers::from([
            ("/v2/".to_owned(), (401, "www-authenticate: Basic realm=\"x\"\r\n".to_owned(), String::new())),
            ok("/v2/ Basic dXNlcjpodW50ZXIy", "", "{}"),
        ])
    });
    let with = |program: &str| {
        let file = format!(r#"{{"credHelpers":{{"{}":"{program}"}}}}"#, server.address);
        client().credentials(Credentials::parse(&file).unwrap()).helper(Told)
    };
    with("test").ping(&server.address).unwrap();
    let error = with("missing").ping(&server.address).unwrap_err();
    assert!(matches!(&error, Error::Helper { program, .. } if program == "missing"), "{error:?}");
    let asked = server.asked.lock().unwrap();
    assert_eq!(asked.iter().filter(|(_, authorization)| !authorization.is_empty()).count(), 1);
    assert_eq!(
        Credential::of_helper(r#"{"Username":"<token>","Secret":"x"}"#),
        Some(Credential::IdentityToken("x".to_owned()))
    );
    assert_eq!(Credential::of_helper("credentials not found"), None);
}
