use std::io::{self, Read};
use std::time::Duration;

use ureq::http;

/// A request to a registry.
pub struct Request<'a> {
    /// `GET`, `HEAD`, `POST`, `PUT`, `DELETE`.
    pub method: &'static str,
    /// The whole address.
    pub url: &'a str,
    /// Names and values. Some of them are secret: they belong into no log.
    pub headers: Vec<(&'static str, String)>,
    /// What is sent.
    pub body: Body<'a>,
}

/// What a request sends.
pub enum Body<'a> {
    /// Nothing.
    Empty,
    /// A few bytes.
    Bytes(&'a [u8]),
    /// So many bytes of a stream.
    Stream(Box<dyn Read + Send + 'a>, u64),
}

/// A registry's answer.
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Names, in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// What comes, read as it comes.
    pub body: Box<dyn Read + Send>,
}

impl Response {
    /// The first header of the name, which is given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }
}

/// Who carries requests, so that an embedder can bring an HTTP client of their own.
///
/// It must not follow redirects, for the client decides where credentials go; must give answers of every status; and
/// must end a connection on which nothing moves.
pub trait Transport: Send + Sync {
    /// Sends a request and returns the answer once its headers are there.
    fn send(&self, request: Request<'_>) -> io::Result<Response>;
}

/// How the HTTP client that comes with this crate connects.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// How long making a connection may take.
    pub connect: Duration,
    /// How long nothing may move on a connection.
    pub stall: Duration,
    /// Take any certificate. Whoever is between can then read and change everything.
    pub accept_any_certificate: bool,
    /// Certificates in PEM to trust instead of those that the machine trusts.
    pub roots: Option<Vec<u8>>,
    /// Our own certificate, with those above it, and its key, in one PEM text, for registries that ask who we are.
    pub identity: Option<Vec<u8>>,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            stall: Duration::from_secs(60),
            accept_any_certificate: false,
            roots: None,
            identity: None,
        }
    }
}

/// The HTTP client that comes with this crate: HTTP 1.1, TLS by rustls, no proxy.
#[derive(Debug, Clone)]
pub struct Http {
    agent: ureq::Agent,
}

impl Http {
    /// A client without connections yet.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if `roots` has no certificate in PEM, or `identity` no certificate or no key.
    pub fn new(options: &HttpOptions) -> io::Result<Self> {
        let mut tls = ureq::tls::TlsConfig::builder().disable_verification(options.accept_any_certificate);
        let mut roots = Vec::new();
        match &options.roots {
            Some(pem) => {
                for item in ureq::tls::parse_pem(pem) {
                    let item = item.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
                    roots.extend(certificate(item));
                }
                if roots.is_empty() {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidInput,
                        "there is no certificate in the PEM text",
                    ));
                }
            }
            // one that cannot be read is trusted by nobody
            None => roots.extend(ureq::tls::parse_pem(&system_roots()).flatten().filter_map(certificate)),
        }
        if let Some(pem) = &options.identity {
            tls = tls.client_cert(Some(identity(pem)?));
        }
        tls = tls.root_certs(ureq::tls::RootCerts::new_with_certs(&roots));
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            // the default would read the environment
            .proxy(None)
            .tls_config(tls.build())
            .timeout_connect(Some(options.connect))
            .timeout_recv_response(Some(options.stall))
            .timeout_per_read(Some(options.stall))
            .timeout_per_write(Some(options.stall))
            .max_response_header_size(64 << 10)
            .user_agent(concat!("dunnage/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self { agent: config.into() })
    }
}

fn identity(pem: &[u8]) -> io::Result<ureq::tls::ClientCert> {
    let invalid = |reason| io::Error::new(io::ErrorKind::InvalidInput, reason);
    let (mut chain, mut key) = (Vec::new(), None);
    for item in ureq::tls::parse_pem(pem) {
        match item.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))? {
            ureq::tls::PemItem::Certificate(certificate) => chain.push(certificate),
            ureq::tls::PemItem::PrivateKey(found) => key = Some(found),
            _ => {}
        }
    }
    let key = key.ok_or_else(|| invalid("there is no private key in the PEM text"))?;
    if chain.is_empty() {
        return Err(invalid("there is no certificate beside the private key"));
    }
    Ok(ureq::tls::ClientCert::new_with_certs(&chain, key))
}

fn certificate(item: ureq::tls::PemItem<'static>) -> Option<ureq::tls::Certificate<'static>> {
    match item {
        ureq::tls::PemItem::Certificate(certificate) => Some(certificate),
        _ => None,
    }
}

/// What the machine trusts, as its distribution keeps it; nothing where there is no such file, and then no https.
fn system_roots() -> Vec<u8> {
    const BUNDLES: [&str; 4] = [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
        "/etc/ssl/cert.pem",
    ];
    BUNDLES.iter().find_map(|path| std::fs::read(path).ok()).unwrap_or_default()
}

fn cause(error: ureq::Error) -> io::Error {
    match error {
        ureq::Error::Timeout(_) => io::Error::new(io::ErrorKind::TimedOut, "nothing came in time"),
        ureq::Error::HostNotFound => io::Error::new(io::ErrorKind::NotFound, "the host has no address"),
        other => other.into_io(),
    }
}

impl Transport for Http {
    fn send(&self, request: Request<'_>) -> io::Result<Response> {
        let invalid = |_| io::Error::new(io::ErrorKind::InvalidInput, "the address or a header is not valid");
        let mut builder = http::Request::builder().method(request.method).uri(request.url);
        for (name, value) in &request.headers {
            builder = builder.header(*name, value);
        }
        let answer = match request.body {
            Body::Empty if matches!(request.method, "GET" | "HEAD" | "DELETE") => {
                self.agent.run(builder.body(()).map_err(invalid)?)
            }
            Body::Empty => self.agent.run(builder.body(&[][..]).map_err(invalid)?),
            Body::Bytes(bytes) => self.agent.run(builder.body(bytes).map_err(invalid)?),
            Body::Stream(stream, length) => {
                let mut stream = stream.take(length);
                let builder = builder.header("content-length", length);
                let body = ureq::SendBody::from_reader(&mut stream);
                self.agent.run(builder.body(body).map_err(invalid)?)
            }
        };
        let (parts, body) = answer.map_err(cause)?.into_parts();
        let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
        };
        Ok(Response {
            status: parts.status.as_u16(),
            headers: parts.headers.iter().filter_map(header).collect(),
            body: Box::new(body.into_reader()),
        })
    }
}
