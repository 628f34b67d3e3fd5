//! One request and its answer: credentials, redirects, retries.

use std::io::{Read, Seek, SeekFrom};
use std::sync::PoisonError;
use std::time::Duration;

use serde::Deserialize;

use super::address::{Origin, escape, resolve};
use super::{
    Body, Call, Counted, Credential, MAX_ANSWER, MAX_REDIRECTS, Paced, Payload, Registry, Request, Response,
    challenge, is_passing, plain, reason, refused,
};
use crate::document::decode;
use crate::{Error, Reference};

impl Registry {
    /// Sends a call, and makes an error of every status that was not expected.
    pub(super) fn expect(
        &self,
        reference: &Reference,
        call: &Call<'_>,
        statuses: &[u16],
    ) -> Result<Response, Error> {
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
        let mut scope = match call.actions {
            "catalog" => "registry:catalog:*".to_owned(),
            actions => format!("repository:{}:{actions}", reference.path()),
        };
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
                Payload::Part(store, blob, from, length, moved) => {
                    let mut input = store.open_blob(&blob.digest)?;
                    input
                        .seek(SeekFrom::Start(from))
                        .map_err(Error::io("read", store.blob_path(&blob.digest)))?;
                    Body::Stream(Box::new(Counted { input, count: from, moved }), length)
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
        let helped = match (&self.helper, self.credentials.helper(reference.domain())) {
            (Some(helper), Some(program)) => {
                let failed = |source| Error::Helper { program: program.to_owned(), source };
                helper.find(program, reference.domain()).map_err(failed)?
            }
            _ => None,
        };
        let credential = helped.as_ref().or_else(|| self.credentials.find(reference));
        let challenges: Vec<_> = response
            .headers
            .iter()
            .filter(|(name, _)| name == "www-authenticate")
            .flat_map(|(_, value)| challenge::challenges(value))
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
    pub(super) fn read(&self, response: Response, limit: u64, url: &str) -> Result<Vec<u8>, Error> {
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
    pub(super) fn again<T>(&self, mut attempt: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
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

    pub(super) fn pause(&self, tried: u32) {
        let factor = 1u32.checked_shl(tried - 1).unwrap_or(u32::MAX);
        std::thread::sleep(self.back_off.saturating_mul(factor).min(Duration::from_secs(10)));
    }
}
