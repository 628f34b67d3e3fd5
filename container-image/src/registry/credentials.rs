use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::{Error, Reference};

/// By what a registry knows us. It is never shown, not in errors and not by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A name and a password.
    Password {
        /// The name.
        user: String,
        /// The password.
        password: String,
    },
    /// A token by which others are got (OAuth 2 *refresh token*).
    IdentityToken(String),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(…)")
    }
}

impl Credential {
    /// What a program `docker-credential-NAME` answers to `get`; none if it is no such answer.
    pub fn of_helper(answer: &str) -> Option<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Answer {
            username: String,
            secret: String,
        }
        let Answer { username, secret } = serde_json::from_str(answer).ok()?;
        // the protocol's word for a token in the place of a password
        Some(if username == "<token>" {
            Self::IdentityToken(secret)
        } else {
            Self::Password { user: username, password: secret }
        })
    }

    /// The value of an `Authorization` header, where a password is known.
    pub(super) fn basic(&self) -> Option<String> {
        match self {
            Self::Password { user, password } => {
                Some(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
            }
            Self::IdentityToken(_) => None,
        }
    }
}

/// Who runs programs that know credentials. A library that starts programs, in an environment it did not choose, would be a
/// surprise: the caller does it.
pub trait Helper: Send + Sync {
    /// Runs `docker-credential-PROGRAM get` with the registry's address on standard input, and reads the answer, for which
    /// [`Credential::of_helper`] is there. None if the program knows nobody there.
    fn find(&self, program: &str, registry: &str) -> std::io::Result<Option<Credential>>;
}

/// The credentials of a `config.json` of Docker or an `auth.json` of podman and skopeo, whose text the caller gives.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    entries: BTreeMap<String, Credential>,
    helpers: BTreeMap<String, String>,
    default_helper: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ConfigFile {
    auths: BTreeMap<String, AuthEntry>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct AuthEntry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

impl Credentials {
    /// Reads the text of the file. Entries without credentials are passed over.
    ///
    /// # Errors
    ///
    /// [`Error::Document`] if it is not JSON of that form; the error does not repeat what is in it.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let file: ConfigFile = serde_json::from_str(text).map_err(|source| hidden(&source))?;
        let mut credentials = Self {
            helpers: file.cred_helpers,
            default_helper: file.creds_store.filter(|name| !name.is_empty()),
            ..Self::default()
        };
        for (key, entry) in file.auths {
            let pair = entry.auth.as_deref().and_then(|auth| {
                let bytes = STANDARD.decode(auth.trim()).ok()?;
                let text = String::from_utf8(bytes).ok()?;
                let (user, password) = text.split_once(':')?;
                // podman fills up with NULs
                Some((user.to_owned(), password.trim_end_matches('\0').to_owned()))
            });
            let pair = pair.or_else(|| Some((entry.username?, entry.password?)));
            let token = entry.identitytoken.filter(|token| !token.is_empty()).map(Credential::IdentityToken);
            let credential = token.or_else(|| {
                let (user, password) = pair.filter(|(user, _)| !user.is_empty())?;
                Some(Credential::Password { user, password })
            });
            if let Some(credential) = credential {
                credentials.entries.insert(normalize(&key), credential);
            }
        }
        Ok(credentials)
    }

    /// Adds or replaces the credential of a registry, `host[:port]`.
    pub fn set(&mut self, registry: &str, credential: Credential) {
        self.entries.insert(normalize(registry), credential);
    }

    /// The credential for an image: of its repository, of a path above it, or of its registry.
    pub fn find(&self, reference: &Reference) -> Option<&Credential> {
        let full = format!("{}/{}", reference.domain(), reference.path());
        let mut key = full.as_str();
        loop {
            if let Some(credential) = self.entries.get(key) {
                return Some(credential);
            }
            key = key.rsplit_once('/')?.0;
        }
    }

    /// The program `docker-credential-NAME` that the file names for a registry. Running it is the caller's choice.
    pub fn helper(&self, registry: &str) -> Option<&str> {
        self.helpers.get(registry).or(self.default_helper.as_ref()).map(String::as_str)
    }
}

impl Credentials {
    /// The text of the file with a password for a registry, all else in it as it was.
    ///
    /// # Errors
    ///
    /// [`Error::Document`] as with [`parse`](Self::parse).
    pub fn with_login(text: &str, registry: &str, credential: &Credential) -> Result<String, Error> {
        let mut file = object(text)?;
        let entry = match credential {
            Credential::Password { user, password } => {
                serde_json::json!({ "auth": STANDARD.encode(format!("{user}:{password}")) })
            }
            Credential::IdentityToken(token) => serde_json::json!({ "auth": "", "identitytoken": token }),
        };
        let auths = file.entry("auths").or_insert_with(|| serde_json::json!({}));
        if let Some(auths) = auths.as_object_mut() {
            auths.retain(|key, _| normalize(key) != normalize(registry));
            auths.insert(key(registry), entry);
        } else {
            *auths = serde_json::json!({ key(registry): entry });
        }
        Ok(format!("{:#}\n", serde_json::Value::Object(file)))
    }

    /// The text of the file without what it knows for a registry; none if that is nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Document`] as with [`parse`](Self::parse).
    pub fn without_login(text: &str, registry: &str) -> Result<Option<String>, Error> {
        let mut file = object(text)?;
        let Some(auths) = file.get_mut("auths").and_then(serde_json::Value::as_object_mut) else {
            return Ok(None);
        };
        let before = auths.len();
        auths.retain(|key, _| normalize(key) != normalize(registry));
        let is_changed = auths.len() != before;
        Ok(is_changed.then(|| format!("{:#}\n", serde_json::Value::Object(file))))
    }
}

fn object(text: &str) -> Result<serde_json::Map<String, serde_json::Value>, Error> {
    serde_json::from_str(text).map_err(|source| hidden(&source))
}

/// The place of a mistake, and not serde's own words, which may hold a value of the file.
fn hidden(source: &serde_json::Error) -> Error {
    let (line, column) = (source.line(), source.column());
    Error::Document {
        what: "file of credentials",
        object: "config.json".to_owned(),
        source: serde::de::Error::custom(format!("line {line}, column {column}")),
    }
}

/// As Docker writes it.
fn key(registry: &str) -> String {
    match normalize(registry).as_str() {
        "docker.io" => "https://index.docker.io/v1/".to_owned(),
        other => other.to_owned(),
    }
}

/// Keys have grown over the years: `https://index.docker.io/v1/` and `docker.io` are one.
fn normalize(key: &str) -> String {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let key = key.trim_end_matches('/');
    let key = key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2")).unwrap_or(key);
    match key {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        key => key.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_found_by_the_longest_path_and_are_never_shown() {
        let text = r#"{"auths":{"https://index.docker.io/v1/":{"auth":"dXNlcjpzZWNyZXQ="},"h:5000":{"auth":"YTpi"},
            "h:5000/team":{"username":"c","password":"d"},"t":{"auth":"eDp5","identitytoken":"tok"},"empty":{}},
            "credHelpers":{"gcr.io":"gcloud"}}"#;
        let credentials = Credentials::parse(text).unwrap();
        let find = |name: &str| credentials.find(&name.parse().unwrap()).cloned();
        let password = |user: &str, password: &str| Credential::Password {
            user: user.into(),
            password: password.into(),
        };
        assert_eq!(find("ubuntu"), Some(password("user", "secret")));
        assert_eq!(find("h:5000/x"), Some(password("a", "b")));
        assert_eq!(find("h:5000/team/x"), Some(password("c", "d")));
        assert_eq!(find("quay.io/x"), None);
        assert_eq!(credentials.helper("gcr.io"), Some("gcloud"));
        let login = Credentials::with_login(text, "docker.io", &password("u", "p")).unwrap();
        let again = Credentials::parse(&login).unwrap();
        assert_eq!(again.find(&"ubuntu".parse().unwrap()), Some(&password("u", "p")));
        assert_eq!(again.helper("gcr.io"), Some("gcloud"), "the rest stays");
        let logout = Credentials::without_login(&login, "docker.io").unwrap().unwrap();
        assert_eq!(Credentials::parse(&logout).unwrap().find(&"ubuntu".parse().unwrap()), None);
        assert_eq!(Credentials::without_login(&logout, "docker.io").unwrap(), None);
        assert!(!format!("{credentials:?}").contains("secret"));
        let broken = Credentials::parse(r#"{"auths":{"h":{"auth":5,"password":"secret"}}}"#).unwrap_err();
        assert!(!format!("{broken:?}").contains("secret"));
    }
}
