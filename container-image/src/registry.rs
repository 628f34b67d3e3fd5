//! The registry client: the OCI distribution specification 1.1, over a [`Transport`].

mod address;
mod challenge;
mod credentials;
mod pull;
mod push;
mod transport;

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;

use crate::document::decode;
use crate::{Descriptor, Digest, Error, MAX_DOCUMENT, MediaType, Reference, Store};
use address::{Origin, escape, resolve};
pub use credentials::{Credential, Credentials};
pub use pull::Pull;
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
    insecure: Vec<String>,
    attempts: u32,
    back_off: Duration,
    stall: Duration,
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
}

/// What a request sends, again if need be.
#[derive(Clone, Copy)]
enum Payload<'a> {
    Nothing,
    Bytes(&'a [u8]),
    Blob(&'a Store, &'a Descriptor, &'a (dyn Fn(u64) + Sync)),
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
            insecure: Vec::new(),
            attempts: 5,
            back_off: Duration::from_millis(500),
            stall: Duration::from_secs(60),
            tokens: Mutex::default(),
        }
    }

    /// With credentials.
    #[must_use]
    pub fn credentials(self, credentials: Credentials) -> Self {
        Self { credentials, ..self }
    }

    /// Speaks plain http to these registries, `host[:port]`: everybody on the way can read and change everything.
    #[must_use]
    pub fn insecure(self, registries: Vec<String>) -> Self {
        Self { insecure: registries, ..self }
    }

    /// How often a request is tried that fails on the way or by a server's fault, and how long the first pause is, which
    /// doubles up to ten seconds. The default is five times, and half a second.
    #[must_use]
    pub fn retries(self, attempts: u32, back_off: Duration) -> Self {
        Self { attempts: attempts.max(1), back_off, ..self }
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

    /// All tags of the repository of `reference`.
    pub fn tags(&self, reference: &Reference) -> Result<Vec<String>, Error> {
        #[derive(Deserialize)]
        struct Page {
            tags: Option<Vec<String>>,
        }
        let origin = self.base(reference.domain());
        let mut url = format!("{origin}/v2/{}/tags/list", reference.path());
        let mut tags = Vec::new();
        for _ in 0..MAX_PAGES {
            let response = self.expect(reference, &Call::new("GET", url.clone(), "pull"), &[200])?;
            let next = response.header("link").and_then(|link| {
                let (address, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
                rest.contains("rel=\"next\"").then(|| resolve(&url, address)).flatten()
            });
            let bytes = self.read(response, MAX_DOCUMENT, &url)?;
            tags.extend(decode::<Page>("tag list", reference, &bytes)?.tags.unwrap_or_default());
            match next {
                // another host has no say in what this one's tags are
                Some(next) if Origin::of(&next) == Origin::of(&origin) => url = next,
                _ => return Ok(tags),
            }
        }
        Ok(tags)
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

    /// Sends a call, and makes an error of every status that was not expected.
    fn expect(&self, reference: &Reference, call: &Call<'_>, statuses: &[u16]) -> Result<Response, Error> {
        let response = self.send(reference, call)?;
        if statuses.contains(&response.status) {
            return Ok(response);
        }
        let status = response.status;
        let url = plain(&call.url);
        let mut text = Vec::new();
        // what the registry says of it is a convenience
        let _ = response.body.take(MAX_ANSWER).read_to_end(&mut text);
        match status {
            401 | 403 => {
                Err(Error::Unauthorized { registry: reference.domain().to_owned(), reason: reason(&text) })
            }
            404 => Err(Error::NotFound { object: url }),
            status => Err(Error::Status { object: url, status, reason: reason(&text) }),
        }
    }

    /// Sends a call with what credentials it needs, and follows redirects.
    fn send(&self, reference: &Reference, call: &Call<'_>) -> Result<Response, Error> {
        let home = self.base(reference.domain());
        let home = Origin::of(&home).ok_or_else(|| refused(&home, "it is no address of a registry"))?;
        let mut scope = format!("repository:{}:{}", reference.path(), call.actions);
        if let Some(other) = call.also {
            scope = format!("{scope} repository:{other}:pull");
        }
        let key = format!("{} {scope}", reference.domain());
        let mut url = call.url.clone();
        let mut asked = false;
        for _ in 0..=MAX_REDIRECTS + 1 {
            let origin = Origin::of(&url).ok_or_else(|| refused(&url, "it is neither http nor https"))?;
            let mut headers = call.headers.clone();
            if origin == home
                && let Some(token) = self.tokens.lock().unwrap_or_else(PoisonError::into_inner).get(&key)
            {
                headers.push(("authorization", token.clone()));
            }
            let failed = |source| Error::Transport { object: plain(&url), source };
            let body = match call.payload {
                Payload::Nothing => Body::Empty,
                Payload::Bytes(bytes) => Body::Bytes(bytes),
                Payload::Blob(store, blob, moved) => {
                    let file = Counted { input: store.open_blob(&blob.digest)?, count: 0, moved };
                    Body::Stream(Box::new(file), blob.size)
                }
            };
            let request = Request { method: call.method, url: &url, headers, body };
            let response = self.transport.send(request).map_err(failed)?;
            match response.status {
                401 if origin == home && !asked => {
                    asked = true;
                    let token = self.authenticate(reference, &home, &response, &scope)?;
                    self.tokens.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), token);
                }
                301 | 302 | 303 | 307 | 308 if matches!(call.method, "GET" | "HEAD") => {
                    let next = response.header("location").and_then(|location| resolve(&url, location));
                    let next = next.ok_or_else(|| refused(&url, "it redirects to nowhere"))?;
                    let target =
                        Origin::of(&next).ok_or_else(|| refused(&next, "it is neither http nor https"))?;
                    if let Some(reason) = origin.refuses(&target) {
                        return Err(refused(&next, reason));
                    }
                    url = next;
                }
                _ => return Ok(response),
            }
        }
        Err(refused(&call.url, "it redirects without end"))
    }

    /// Answers a challenge: the value of an `Authorization` header.
    fn authenticate(
        &self,
        reference: &Reference,
        home: &Origin,
        response: &Response,
        scope: &str,
    ) -> Result<String, Error> {
        let credential = self.credentials.find(reference);
        let challenges: Vec<_> = response
            .headers
            .iter()
            .filter(|(name, _)| name == "www-authenticate")
            .flat_map(|(_, value)| challenge::parse(value))
            .collect();
        let unauthorized = |reason: &str| Error::Unauthorized {
            registry: reference.domain().to_owned(),
            reason: reason.to_owned(),
        };
        if let Some(bearer) = challenges.iter().find(|challenge| challenge.scheme == "bearer") {
            let realm =
                bearer.parameters.get("realm").ok_or_else(|| unauthorized("it names no token server"))?;
            let server =
                Origin::of(realm).ok_or_else(|| refused(realm, "a token server must be http or https"))?;
            if let Some(reason) = home.refuses(&server) {
                return Err(refused(realm, reason));
            }
            if credential.is_some() && !home.trusts(&server) {
                return Err(refused(
                    realm,
                    "the token server belongs to another domain than the credentials",
                ));
            }
            let service = bearer.parameters.get("service").map_or("", String::as_str);
            return self.token(realm, service, scope, credential).map_err(|error| match error {
                Error::Status { status: 400..=403, reason, .. } => unauthorized(&reason),
                other => other,
            });
        }
        if challenges.iter().any(|challenge| challenge.scheme == "basic") {
            return credential
                .and_then(Credential::basic)
                .ok_or_else(|| unauthorized("it asks for a name and a password, and none are known"));
        }
        Err(unauthorized("it asks for a kind of credentials that is not supported"))
    }

    fn token(
        &self,
        realm: &str,
        service: &str,
        scope: &str,
        credential: Option<&Credential>,
    ) -> Result<String, Error> {
        #[derive(Deserialize)]
        struct Answer {
            token: Option<String>,
            access_token: Option<String>,
        }
        let mut headers = Vec::new();
        let mut url = realm.to_owned();
        let mut form = String::new();
        if let Some(Credential::IdentityToken(token)) = credential {
            form = format!(
                "grant_type=refresh_token&client_id=dunnage&service={}&scope={}&refresh_token={}",
                escape(service),
                escape(scope),
                escape(token)
            );
            headers.push(("content-type", "application/x-www-form-urlencoded".to_owned()));
        } else {
            url.push(if url.contains('?') { '&' } else { '?' });
            url = url + "service=" + &escape(service);
            for scope in scope.split(' ').filter(|scope| !scope.ends_with(':')) {
                url = url + "&scope=" + &escape(scope);
            }
            if let Some(basic) = credential.and_then(Credential::basic) {
                headers.push(("authorization", basic));
            }
        }
        let (method, body) =
            if form.is_empty() { ("GET", Body::Empty) } else { ("POST", Body::Bytes(form.as_bytes())) };
        let request = Request { method, url: &url, headers, body };
        let response = self
            .transport
            .send(request)
            .map_err(|source| Error::Transport { object: plain(realm), source })?;
        let status = response.status;
        let bytes = self.read(response, MAX_ANSWER, realm)?;
        if status != 200 {
            return Err(Error::Status { object: plain(realm), status, reason: reason(&bytes) });
        }
        let answer: Answer = decode("answer of the token server", plain(realm), &bytes)?;
        let token = answer.token.or(answer.access_token).unwrap_or_default();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(refused(realm, "its answer has no token"));
        }
        Ok(format!("Bearer {token}"))
    }

    /// A whole answer of at most `limit` bytes.
    fn read(&self, response: Response, limit: u64, url: &str) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let failed = |source| Error::Transport { object: plain(url), source };
        let mut body = Paced::new(response.body.take(limit + 1), self.stall);
        body.read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > limit {
            return Err(Error::Limit { entry: plain(url), what: "bytes of answer", limit });
        }
        Ok(bytes)
    }

    /// Tries again what failed on the way, after a pause.
    fn again<T>(&self, mut attempt: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
        let mut tried = 1;
        loop {
            match attempt() {
                Err(error) if tried < self.attempts && is_passing(&error) => {
                    self.pause(tried);
                    tried += 1;
                }
                result => return result,
            }
        }
    }

    fn pause(&self, tried: u32) {
        let factor = 1u32.checked_shl(tried - 1).unwrap_or(u32::MAX);
        std::thread::sleep(self.back_off.saturating_mul(factor).min(Duration::from_secs(10)));
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
