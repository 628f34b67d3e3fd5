//! The registry client: the OCI distribution specification 1.1, over a [`Transport`].

mod address;
mod challenge;
mod credentials;
mod hosts;
mod pull;
mod push;
mod query;
mod session;
mod transport;

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::{Descriptor, Digest, Error, MAX_DOCUMENT, MediaType, Reference, Store};
use address::Origin;
pub use challenge::{Challenge, challenges};
pub use credentials::Helper;
pub use credentials::{Credential, Credentials};
pub use hosts::Hosts;
pub use pull::Pull;
pub use query::Found;
pub use transport::{Body, Http, HttpOptions, Request, Response, Transport};

/// Redirects that are followed for one request.
const MAX_REDIRECTS: usize = 5;
/// A token server's answer and a registry's error may have so many bytes.
const MAX_ANSWER: u64 = 256 << 10;
/// A tag list may have so many pages.
const MAX_PAGES: usize = 1000;

/// A client of registries. One serves any number of images, from any number of threads.
///
/// A registry is spoken to by https, save on this machine's loopback addresses and those that [`insecure`](Self::insecure)
/// names. Credentials go only to the registry they are for and to a token server of the same domain.
pub struct Registry {
    transport: Arc<dyn Transport>,
    credentials: Credentials,
    helper: Option<Box<dyn Helper>>,
    insecure: Vec<String>,
    hosts: HashMap<String, Hosts>,
    attempts: u32,
    back_off: Duration,
    stall: Duration,
    chunk: u64,
    tokens: Mutex<HashMap<String, String>>,
}

/// What happens during a pull or push, as it happens. Calls come from several threads.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// The name was resolved to this manifest or index.
    Resolved(Descriptor),
    /// The layers that belong to the image, the lowest first.
    Layers(Vec<Descriptor>),
    /// The blob is where it is wanted already.
    Exists(Digest),
    /// Bytes of a blob that are there by now.
    Moving {
        /// The blob.
        digest: Digest,
        /// Bytes done.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// An attempt failed and is repeated.
    Retrying {
        /// The blob.
        digest: Digest,
        /// Which attempt begins, from 2.
        attempt: u32,
    },
    /// The blob is whole and verified, or the registry has acknowledged it.
    Done(Digest),
    /// The registry took the blob from another of its repositories.
    Mounted(Digest),
    /// The layer is unpacked.
    Unpacked(Digest),
}

/// What a request sends, again if need be.
#[derive(Clone, Copy)]
enum Payload<'a> {
    Nothing,
    Bytes(&'a [u8]),
    /// So many bytes of a blob from an offset; how much of the blob was sent is told.
    Part(&'a Store, &'a Descriptor, u64, u64, &'a (dyn Fn(u64) + Sync)),
}

/// A request before it knows its credentials.
struct Call<'a> {
    method: &'static str,
    url: String,
    headers: Vec<(&'static str, String)>,
    payload: Payload<'a>,
    /// `pull`, `pull,push`, `pull,delete`, and perhaps a second repository to pull from.
    actions: &'static str,
    also: Option<&'a str>,
}

impl Registry {
    /// A client over `transport` with nobody's credentials.
    pub fn new(transport: impl Transport + 'static) -> Self {
        Self {
            transport: Arc::new(transport),
            credentials: Credentials::default(),
            helper: None,
            insecure: Vec::new(),
            hosts: HashMap::new(),
            attempts: 5,
            back_off: Duration::from_millis(500),
            stall: Duration::from_secs(60),
            chunk: u64::MAX,
            tokens: Mutex::default(),
        }
    }

    /// With credentials.
    #[must_use]
    pub fn credentials(self, credentials: Credentials) -> Self {
        Self { credentials, ..self }
    }

    /// Asks the programs that the credentials name, `docker-credential-NAME`, by the way the caller runs them. A registry
    /// for which a program is named is asked about only there.
    #[must_use]
    pub fn helper(self, helper: impl Helper + 'static) -> Self {
        Self { helper: Some(Box::new(helper)), ..self }
    }

    /// Speaks plain http to these registries, `host[:port]`: everybody on the way can read and change everything.
    #[must_use]
    pub fn insecure(self, registries: Vec<String>) -> Self {
        Self { insecure: registries, ..self }
    }

    /// Fetches images of `registry`, `host[:port]`, from its mirrors first. A mirror that has something not, or does not
    /// answer, is passed over; each gets its own credentials only. What a tag stands for is believed of those that may
    /// say it, everything else is verified.
    #[must_use]
    pub fn mirrors(mut self, registry: &str, hosts: Hosts) -> Self {
        let plain = hosts.mirrors.iter().chain(&hosts.server).filter(|host| host.insecure);
        self.insecure.extend(plain.map(|host| host.name.clone()));
        self.hosts.insert(registry.to_owned(), hosts);
        self
    }

    /// The names under which what `reference` names can be had, mirrors first. `by_tag`: from those that may resolve tags.
    fn sources(&self, reference: &Reference, by_tag: bool) -> Result<Vec<Reference>, Error> {
        let Some(hosts) = self.hosts.get(reference.domain()) else {
            return Ok(vec![reference.clone()]);
        };
        let text = reference.to_string();
        let path = text.strip_prefix(reference.domain()).unwrap_or(&text);
        let mut names = Vec::new();
        for mirror in hosts.mirrors.iter().filter(|host| host.pull && (host.resolve || !by_tag)) {
            names.push(format!("{}{path}", mirror.name).parse()?);
        }
        names.push(match &hosts.server {
            Some(server) => format!("{}{path}", server.name).parse()?,
            None => reference.clone(),
        });
        Ok(names)
    }

    /// How often a request is tried that fails on the way or by a server's fault, and how long the first pause is, which
    /// doubles up to ten seconds. The default is five times, and half a second.
    #[must_use]
    pub fn retries(self, attempts: u32, back_off: Duration) -> Self {
        Self { attempts: attempts.max(1), back_off, ..self }
    }

    /// Sends blobs in pieces of at most so many bytes, for servers on the way that take no larger ones. By default a blob
    /// goes in one piece; what broke off is gone on with in either way, if the registry knows how far it came.
    #[must_use]
    pub fn chunked(self, bytes: u64) -> Self {
        Self { chunk: bytes.max(1), ..self }
    }

    /// In how long at least a few kilobytes of a blob must come, else the connection is given up. The default is a minute.
    #[must_use]
    pub fn stall(self, stall: Duration) -> Self {
        Self { stall, ..self }
    }

    /// Asks whether the registry takes us: what `login` does.
    ///
    /// # Errors
    ///
    /// [`Error::Unauthorized`]
    pub fn ping(&self, registry: &str) -> Result<(), Error> {
        let reference: Reference = format!("{registry}/ping").parse()?;
        let call = Call::new("GET", format!("{}/v2/", self.base(registry)), "");
        self.expect(&reference, &call, &[200]).map(drop)
    }

    /// The descriptor of what a name stands for, without fetching it.
    pub fn resolve(&self, reference: &Reference) -> Result<Descriptor, Error> {
        self.manifest(reference, &target(reference), None).map(|(descriptor, _)| descriptor)
    }

    /// Removes a manifest, by the digest of `reference` or the one its tag stands for. All its tags go with it.
    pub fn delete(&self, reference: &Reference) -> Result<Digest, Error> {
        let digest = match reference.digest() {
            Some(digest) => digest.clone(),
            None => self.resolve(reference)?.digest,
        };
        let url = format!("{}/v2/{}/manifests/{digest}", self.base(reference.domain()), reference.path());
        self.expect(reference, &Call::new("DELETE", url, "pull,push,delete"), &[202, 200])?;
        Ok(digest)
    }

    /// A manifest or index, verified as far as something was promised.
    fn manifest(
        &self,
        reference: &Reference,
        target: &str,
        expected: Option<&Descriptor>,
    ) -> Result<(Descriptor, Vec<u8>), Error> {
        let url = format!("{}/v2/{}/manifests/{target}", self.base(reference.domain()), reference.path());
        let accept = [
            MediaType::ImageIndex,
            MediaType::ImageManifest,
            MediaType::DockerManifestList,
            MediaType::DockerManifest,
        ];
        let accept = accept.map(|media_type| media_type.as_str().to_owned()).join(", ");
        let mut call = Call::new("GET", url.clone(), "pull");
        call.headers.push(("accept", accept));
        self.again(|| {
            let response = self.expect(reference, &call, &[200])?;
            let media_type = response.header("content-type").unwrap_or_default();
            let media_type =
                MediaType::from(media_type.split(';').next().unwrap_or_default().trim().to_owned());
            let said = response.header("docker-content-digest").map(str::to_owned);
            let bytes = self.read(response, MAX_DOCUMENT, &url)?;
            let found = Digest::of(&bytes);
            let wanted = match (expected, reference.digest().filter(|digest| digest.as_str() == target)) {
                (Some(expected), _) => Some(expected.digest.clone()),
                (None, Some(digest)) => Some(digest.clone()),
                (None, None) => said.map(|said| said.parse()).transpose()?,
            };
            if let Some(wanted) = wanted.filter(|wanted| *wanted != found) {
                return Err(Error::DigestMismatch { expected: wanted, found });
            }
            if !media_type.is_manifest() && !media_type.is_index() {
                return Err(Error::MediaType { object: found, media_type: media_type.as_str().to_owned() });
            }
            if let Some(expected) = expected {
                let size = bytes.len() as u64;
                if expected.size != size {
                    return Err(Error::SizeMismatch { digest: found, expected: expected.size, found: size });
                }
            }
            crate::document::check_kind(&media_type, &found, &bytes)?;
            Ok((Descriptor::new(media_type, found, bytes.len() as u64), bytes))
        })
    }

    /// Scheme and host of a registry.
    fn base(&self, domain: &str) -> String {
        let host = if domain == "docker.io" { "registry-1.docker.io" } else { domain };
        let loopback = Origin::of(&format!("http://{host}")).is_some_and(|origin| origin.is_loopback());
        let scheme =
            if loopback || self.insecure.iter().any(|name| name == domain) { "http" } else { "https" };
        format!("{scheme}://{host}")
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("insecure", &self.insecure).finish_non_exhaustive()
    }
}

impl Call<'_> {
    fn new(method: &'static str, url: String, actions: &'static str) -> Self {
        Self { method, url, headers: Vec::new(), payload: Payload::Nothing, actions, also: None }
    }
}

/// What of a name stands in an address: its digest, else its tag.
fn target(reference: &Reference) -> String {
    reference
        .digest()
        .map_or_else(|| reference.tag().unwrap_or("latest").to_owned(), |digest| digest.as_str().to_owned())
}

/// True if the same request may work in a moment.
fn is_passing(error: &Error) -> bool {
    match error {
        Error::Transport { source, .. } => !matches!(
            source.kind(),
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::NotFound
        ),
        Error::Status { status, .. } => matches!(status, 408 | 429 | 500 | 502..=504),
        _ => false,
    }
}

fn refused(url: &str, reason: &'static str) -> Error {
    Error::Refused { object: plain(url), reason }
}

/// An address for messages: without query, which may hold secrets, and control characters.
fn plain(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let url = match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://{rest}"),
        _ => url.to_owned(),
    };
    url.chars().take(300).flat_map(char::escape_debug).collect()
}

/// What a registry says is wrong (distribution specification, *Error codes*), for messages.
fn reason(bytes: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    let text =
        value.pointer("/errors/0/message").or_else(|| value.get("details")).or_else(|| value.get("error"));
    let code = value.pointer("/errors/0/code").and_then(serde_json::Value::as_str);
    let text = text.and_then(serde_json::Value::as_str).or(code).unwrap_or("it does not say why");
    text.chars().take(200).flat_map(char::escape_debug).collect()
}

/// Gives up on a body that only drips: in every span of time some kilobytes must come.
struct Paced<R> {
    input: R,
    span: Duration,
    since: std::time::Instant,
    count: u64,
}

/// Bytes that must come in every span.
const PACE: u64 = 4096;

impl<R> Paced<R> {
    fn new(input: R, span: Duration) -> Self {
        Self { input, span, since: std::time::Instant::now(), count: 0 }
    }
}

impl<R: Read> Read for Paced<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.count += count as u64;
        if count > 0 && self.since.elapsed() > self.span {
            if self.count < PACE {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "it only drips"));
            }
            (self.since, self.count) = (std::time::Instant::now(), 0);
        }
        Ok(count)
    }
}

/// Tells how much was read.
struct Counted<'a, R> {
    input: R,
    count: u64,
    moved: &'a (dyn Fn(u64) + Sync),
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.count += count as u64;
        (self.moved)(self.count);
        Ok(count)
    }
}
