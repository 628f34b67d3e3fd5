//! Certificates of registries and of ours, against `openssl s_server`.
#![cfg(feature = "registry")]

use std::fs;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use container_image::{Body, Http, HttpOptions, Request, Transport};

const FIVE: Duration = Duration::from_secs(5);

/// A certificate authority of our own, in a directory with what it has signed.
struct Authority(tempfile::TempDir);

impl Authority {
    /// With certificates of `names`. None, said aloud, without openssl.
    fn new(names: &[&str]) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let run = |words: &str| quiet(directory.path(), &words.split(' ').collect::<Vec<_>>()).status();
        if !run("version").is_ok_and(|status| status.success()) {
            eprintln!("skipped: openssl is not installed");
            return None;
        }
        let must = |words: String| assert!(run(&words).unwrap().success(), "openssl {words}");
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        fs::write(directory.path().join("names"), "subjectAltName=IP:127.0.0.1").unwrap();
        must(format!("req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=dnt -days 2"));
        for name in names {
            must(format!("req {key} -keyout {name}.key -out {name}.csr -subj /CN={name}"));
            must(format!(
                "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out {name}.pem -days 2 -extfile names"
            ));
        }
        Some(Self(directory))
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.0.path().join(name)).unwrap()
    }

    /// A server with the certificate `server`, that listens.
    fn serve(&self, more: &[&str]) -> Server {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let usual = ["s_server", "-www", "-quiet", "-cert", "server.pem", "-key", "server.key"];
        let mut command = quiet(self.0.path(), &usual);
        let child = command.args(more).args(["-accept", &port.to_string()]).spawn().unwrap();
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() && begun.elapsed() < FIVE * 4 {
            std::thread::yield_now();
        }
        Server { child, port }
    }
}

fn quiet(directory: &Path, words: &[&str]) -> Command {
    let mut command = Command::new("openssl");
    command.args(words).current_dir(directory);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

struct Server {
    child: Child,
    port: u16,
}

impl Server {
    /// The status of its answer to who trusts `roots` and shows `identity`.
    fn ask(&self, roots: Option<Vec<u8>>, identity: Option<Vec<u8>>) -> io::Result<u16> {
        let options = HttpOptions { connect: FIVE, stall: FIVE, roots, identity, ..HttpOptions::default() };
        let url = format!("https://127.0.0.1:{}/", self.port);
        let request = Request { method: "GET", url: &url, headers: Vec::new(), body: Body::Empty };
        Http::new(&options).and_then(|http| http.send(request)).map(|answer| answer.status)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_certificate_is_believed_only_if_its_authority_is_trusted() {
    let Some(authority) = Authority::new(&["server"]) else { return };
    let server = authority.serve(&[]);
    assert_eq!(server.ask(Some(authority.read("ca.pem")), None).unwrap(), 200);
    let unknown = server.ask(None, None).unwrap_err();
    assert!(unknown.to_string().to_lowercase().contains("certificate"), "{unknown}");
}

#[test]
fn a_registry_that_asks_who_we_are_gets_our_certificate() {
    let Some(authority) = Authority::new(&["server", "person"]) else { return };
    let server = authority.serve(&["-CAfile", "ca.pem", "-Verify", "1", "-verify_return_error"]);
    let ask = |identity| server.ask(Some(authority.read("ca.pem")), identity);
    assert_eq!(
        ask(Some([authority.read("person.pem"), authority.read("person.key")].concat())).unwrap(),
        200
    );
    assert!(ask(None).is_err(), "a server that wants a certificate took none");
    let keyless = ask(Some(authority.read("person.pem"))).unwrap_err();
    assert_eq!(keyless.kind(), io::ErrorKind::InvalidInput);
}
