use std::fmt;
use std::str::FromStr;

use crate::{Digest, Error};

const DEFAULT_DOMAIN: &str = "docker.io";
const DEFAULT_NAMESPACE: &str = "library/";
const MAX_NAME: usize = 255;
const MAX_TAG: usize = 128;

/// The name of an image: `[domain/]path[:tag][@digest]`.
///
/// The grammar is the distribution project's; short names are completed as Docker does it, so
/// `ubuntu` is `docker.io/library/ubuntu:latest` and `gongyz/ubuntu:18.04` is
/// `docker.io/gongyz/ubuntu:18.04`. A first part with a dot, a colon or upper-case letters, or
/// `localhost`, is a domain.
///
/// ```
/// use container_image::Reference;
///
/// let name: Reference = "ubuntu:18.04".parse()?;
/// assert_eq!(name.to_string(), "docker.io/library/ubuntu:18.04");
/// assert_eq!(name.familiar(), "ubuntu:18.04");
/// assert_eq!("127.0.0.1:5000/web".parse::<Reference>()?.domain(), "127.0.0.1:5000");
/// # Ok::<(), container_image::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Reference {
    /// Host and port of the registry.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository's path in the registry, `library/ubuntu`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag; `latest` where the text had neither tag nor digest.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, where the text had one.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The repository as people write it: without the default domain and namespace.
    pub fn familiar_repository(&self) -> String {
        if self.domain == DEFAULT_DOMAIN {
            // library/a/b is not a/b, which is another repository
            let bare = self.path.strip_prefix(DEFAULT_NAMESPACE).filter(|bare| !bare.contains('/'));
            match self.path.split_once('/') {
                // a.b/c alone would be of the registry a.b
                Some((first, _)) if bare.is_none() && is_domain(first) => {
                    format!("{}/{}", self.domain, self.path)
                }
                _ => bare.unwrap_or(&self.path).to_owned(),
            }
        } else {
            format!("{}/{}", self.domain, self.path)
        }
    }

    /// The name as people write it, with its tag or digest.
    pub fn familiar(&self) -> String {
        let mut text = self.familiar_repository();
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(digest.as_str());
        }
        text
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.domain, self.path)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(value: &str) -> Result<Self, Error> {
        parse(value).map_err(|reason| Error::Reference { value: value.chars().take(300).collect(), reason })
    }
}

fn parse(value: &str) -> Result<Reference, &'static str> {
    if value.is_empty() {
        return Err("it is empty");
    }
    let (rest, digest) = match value.split_once('@') {
        Some((rest, digest)) => {
            let digest = digest
                .parse::<Digest>()
                .map_err(|_| "what follows @ is not sha256: and 64 lower-case hexadecimal digits")?;
            (rest, Some(digest))
        }
        None => (value, None),
    };
    let (name, tag) = match rest.rsplit_once(':') {
        // a colon before the last slash belongs to the domain's port
        Some((name, tag)) if !tag.contains('/') => (name, Some(check_tag(tag)?)),
        _ => (rest, None),
    };
    let (domain, path) = match name.split_once('/') {
        Some((first, path)) if is_domain(first) => (check_domain(first)?, path.to_owned()),
        Some(_) => (DEFAULT_DOMAIN, name.to_owned()),
        None => (DEFAULT_DOMAIN, format!("{DEFAULT_NAMESPACE}{name}")),
    };
    let domain = if domain == "index.docker.io" { DEFAULT_DOMAIN } else { domain };
    let path = if domain == DEFAULT_DOMAIN && !path.contains('/') {
        format!("{DEFAULT_NAMESPACE}{path}")
    } else {
        path
    };
    if name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err("64 hexadecimal digits are an image id, not a name");
    }
    if domain.len() + 1 + path.len() > MAX_NAME {
        return Err("the repository name is longer than 255 bytes");
    }
    for component in path.split('/') {
        check_component(component)?;
    }
    let tag = match (tag, &digest) {
        (None, None) => Some("latest"),
        (tag, _) => tag,
    };
    Ok(Reference { domain: domain.to_owned(), path, tag: tag.map(str::to_owned), digest })
}

fn is_domain(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':', '[']) || first.bytes().any(|b| b.is_ascii_uppercase())
}

fn check_domain(domain: &str) -> Result<&str, &'static str> {
    const REASON: &str = "the registry is not a host name or address with an optional port";
    let (host, port) = match domain.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (domain, None),
    };
    if port.is_some_and(|port| port.parse::<u16>().is_err() || port.starts_with('+')) {
        return Err("the registry's port is not a number below 65536");
    }
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().map(|_| domain).map_err(|_| REASON);
    }
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if host.split('.').all(label) { Ok(domain) } else { Err(REASON) }
}

fn check_tag(tag: &str) -> Result<&str, &'static str> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let mut bytes = tag.bytes();
    match bytes.next() {
        None => return Err("the tag is empty"),
        Some(first) if !word(first) => return Err("a tag starts with a letter, a digit or _"),
        Some(_) => {}
    }
    if tag.len() > MAX_TAG {
        return Err("the tag is longer than 128 bytes");
    }
    if bytes.all(|b| word(b) || b == b'.' || b == b'-') {
        Ok(tag)
    } else {
        Err("a tag consists of letters, digits, _ . and -")
    }
}

/// One path component: runs of `[a-z0-9]`, separated by `.`, `_`, `__` or any number of `-`.
fn check_component(component: &str) -> Result<(), &'static str> {
    if component.is_empty() {
        return Err("a part of the name between slashes is empty");
    }
    if component.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err("a repository name must be lower-case");
    }
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    if !component.bytes().all(|b| letter(b) || matches!(b, b'.' | b'_' | b'-')) {
        return Err(
            "a repository name consists of lower-case letters, digits and single . _ __ or - between them",
        );
    }
    let well_separated = component
        .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .all(|separator| matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-'));
    let bytes = component.as_bytes();
    let ends = bytes.first().is_some_and(|&b| letter(b)) && bytes.last().is_some_and(|&b| letter(b));
    if well_separated && ends {
        Ok(())
    } else {
        Err("a part of the name starts or ends with a separator, or has two together")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_familiar_name_is_that_of_the_same_repository() {
        for text in [
            "ubuntu",
            "library/a/b",
            "docker.io/library/a/b/c:1",
            "a/b",
            "docker.io/a.b/c",
            "docker.io/localhost/x",
            "localhost/library/x",
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.familiar().parse::<Reference>().unwrap(), reference, "{text}");
        }
    }

    #[test]
    fn short_names_are_completed_as_docker_does_it() {
        for (text, full, familiar) in [
            ("ubuntu", "docker.io/library/ubuntu:latest", "ubuntu:latest"),
            ("ubuntu:18.04", "docker.io/library/ubuntu:18.04", "ubuntu:18.04"),
            ("gongyz/ubuntu:18.04", "docker.io/gongyz/ubuntu:18.04", "gongyz/ubuntu:18.04"),
            ("docker.io/ubuntu", "docker.io/library/ubuntu:latest", "ubuntu:latest"),
            ("index.docker.io/a/b", "docker.io/a/b:latest", "a/b:latest"),
            ("localhost/web", "localhost/web:latest", "localhost/web:latest"),
            ("host:5000/a/b:t", "host:5000/a/b:t", "host:5000/a/b:t"),
            ("[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a:latest"),
            ("a/b--c__d.e_f", "docker.io/a/b--c__d.e_f:latest", "a/b--c__d.e_f:latest"),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.to_string(), full);
            assert_eq!(reference.familiar(), familiar);
            assert_eq!(full.parse::<Reference>().unwrap(), reference, "{full} does not parse to itself");
        }
    }

    #[test]
    fn a_digest_stands_in_for_a_tag() {
        let digest = Digest::of(b"x");
        let reference: Reference = format!("a/b@{digest}").parse().unwrap();
        assert_eq!((reference.tag(), reference.digest()), (None, Some(&digest)));
        let both: Reference = format!("a/b:t@{digest}").parse().unwrap();
        assert_eq!(both.tag(), Some("t"));
    }

    #[test]
    fn bad_names_are_refused_with_the_reason() {
        let long_tag = format!("a:{}", "t".repeat(129));
        let long_name = format!("a/{}", "n".repeat(255));
        let id = "a".repeat(64);
        for (text, reason) in [
            ("", "empty"),
            ("Ubuntu", "lower-case"),
            ("a//b", "between slashes"),
            ("a:", "tag is empty"),
            ("a:.x", "tag starts"),
            ("a:x/y:", "tag is empty"),
            ("a:b c", "tag consists"),
            ("-a", "separator"),
            ("a..b", "separator"),
            ("a/../b", "separator"),
            ("a___b", "separator"),
            ("host:99999/a", "port"),
            ("host:5000", "tag"),
            ("-h.x/a", "registry"),
            ("a@sha256:12", "follows @"),
            ("a\nb", "consists"),
            ("ünï", "consists"),
            (id.as_str(), "image id"),
            (long_tag.as_str(), "128"),
            (long_name.as_str(), "255"),
        ] {
            let result = text.parse::<Reference>();
            if text == "host:5000" {
                assert_eq!(result.unwrap().tag(), Some("5000"), "as Docker reads it");
                continue;
            }
            let message = result.expect_err(text).to_string();
            assert!(message.contains(reason), "{text:?}: {message}");
        }
    }
}
