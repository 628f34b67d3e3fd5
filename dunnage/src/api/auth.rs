//! Credentials that a client sends along: `X-Registry-Auth` for one registry, `X-Registry-Config` for several.

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use container_engine::{Credential, Credentials, Registry};
use hyper::HeaderMap;
use serde_json::Value;

use super::Fault;
use super::route::Call;
use crate::command::login;

/// A client of a registry with the credentials of the request.
pub(super) fn registry(call: &Call, domain: &str) -> Result<Registry, Fault> {
    let credential = header(call.request.headers(), "X-Registry-Auth")?.as_ref().and_then(credential);
    let Some(credential) = credential else { return Ok(login::anonymous(domain)?) };
    let mut credentials = Credentials::default();
    credentials.set(domain, credential);
    Ok(login::anonymous(domain)?.credentials(credentials))
}

/// The credentials of a build: a mapping of registries.
pub(super) fn credentials(headers: &HeaderMap) -> Result<Credentials, Fault> {
    let mut credentials = Credentials::default();
    if let Some(Value::Object(registries)) = header(headers, "X-Registry-Config")? {
        for (domain, value) in &registries {
            // as a client's own file has it
            let domain = domain.trim_start_matches("https://").split('/').next().unwrap_or(domain);
            if let Some(credential) = credential(value) {
                credentials.set(if domain == "index.docker.io" { "docker.io" } else { domain }, credential);
            }
        }
    }
    Ok(credentials)
}

/// A header of base64 of JSON.
fn header(headers: &HeaderMap, name: &str) -> Result<Option<Value>, Fault> {
    let Some(header) = headers.get(name) else { return Ok(None) };
    let wrong = || Fault::bad(format!("{name} is not base64 of JSON"));
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let alphabets = [base64::alphabet::URL_SAFE, base64::alphabet::STANDARD];
    let mut decoded =
        alphabets.iter().filter_map(|alphabet| GeneralPurpose::new(alphabet, lenient).decode(header).ok());
    let bytes = decoded.next().ok_or_else(wrong)?;
    serde_json::from_slice(&bytes).map(Some).map_err(|_| wrong())
}

fn credential(value: &Value) -> Option<Credential> {
    let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    match (text("identitytoken"), text("username"), text("password")) {
        (token, ..) if !token.is_empty() => Some(Credential::IdentityToken(token)),
        (_, user, password) if !user.is_empty() => Some(Credential::Password { user, password }),
        _ => None,
    }
}
