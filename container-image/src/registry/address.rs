//! Where requests may go, and where credentials may.

use std::net::IpAddr;

use ureq::http::Uri;

/// Scheme, host and port of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) secure: bool,
    pub(super) host: String,
    port: u16,
}

impl Origin {
    /// None for an address that is not `http://` or `https://`, has no host, or names a user.
    pub(super) fn of(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let secure = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let authority = uri.authority()?;
        if authority.as_str().contains('@') {
            return None;
        }
        let host = authority.host().trim_matches(['[', ']']).to_ascii_lowercase();
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        (!host.is_empty()).then_some(Self { secure, host, port })
    }

    /// True for this machine.
    pub(super) fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self.host.ends_with(".localhost")
            || self.address().is_some_and(|address| address.is_loopback() || address.is_unspecified())
    }

    /// True for addresses that only this machine and its network reach, such as a cloud's metadata service.
    fn is_local(&self) -> bool {
        self.is_loopback()
            || match self.address() {
                Some(IpAddr::V4(address)) => address.is_link_local() || address.is_broadcast(),
                Some(IpAddr::V6(address)) => {
                    address.segments()[0] & 0xffc0 == 0xfe80 || address.segments()[..2] == [0xfd00, 0xec2]
                }
                None => self.host == "metadata.google.internal",
            }
    }

    fn address(&self) -> Option<IpAddr> {
        let address: IpAddr = self.host.parse().ok()?;
        Some(match address {
            IpAddr::V6(six) => six.to_ipv4_mapped().map_or(address, IpAddr::V4),
            IpAddr::V4(_) => address,
        })
    }

    /// Why an answer of this origin may not send us to `next`.
    pub(super) fn refuses(&self, next: &Self) -> Option<&'static str> {
        if self.secure && !next.secure {
            return Some("it leads from https to http");
        }
        if next.is_local() && !self.is_local() {
            return Some("it leads to an address of this machine or its network");
        }
        None
    }

    /// True if credentials for this registry may go to the token server `realm`: itself, or a neighbour under the same
    /// domain, as `auth.docker.io` is of `registry-1.docker.io` and `gitlab.com` of `registry.gitlab.com`.
    pub(super) fn trusts(&self, realm: &Self) -> bool {
        if self.secure && !realm.secure {
            return false;
        }
        if self.host == realm.host {
            return true;
        }
        let Some((_, parent)) = self.host.split_once('.') else { return false };
        let organisation = parent.split_once('.').map_or("", |(label, _)| label);
        // `co.uk` and the like are nobody's
        self.address().is_none()
            && organisation.len() > 3
            && (realm.host == parent
                || realm.host.strip_suffix(parent).is_some_and(|front| front.ends_with('.')))
    }
}

/// The address that a `Location` header means.
pub(super) fn resolve(base: &str, location: &str) -> Option<String> {
    if location.contains("://") {
        return Some(location.to_owned());
    }
    let (scheme, rest) = base.split_once("://")?;
    let authority = rest.split(['/', '?']).next()?;
    if location.starts_with("//") {
        return Some(format!("{scheme}:{location}"));
    }
    if location.starts_with('/') {
        return Some(format!("{scheme}://{authority}{location}"));
    }
    let path = rest.split('?').next()?;
    let above = path.rsplit_once('/').map_or(path, |(above, _)| above);
    Some(format!("{scheme}://{above}/{location}"))
}

/// Bytes that mean something in a query are written as `%XX`.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:/,".contains(&byte) {
            escaped.push(byte as char);
        } else {
            let hex = |nibble| char::from_digit(u32::from(nibble), 16).unwrap_or('0').to_ascii_uppercase();
            escaped.extend(['%', hex(byte >> 4), hex(byte & 15)]);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(url: &str) -> Origin {
        Origin::of(url).unwrap()
    }

    #[test]
    fn credentials_go_to_the_registry_and_its_neighbours_only() {
        for (registry, realm, trusted) in [
            ("https://registry-1.docker.io", "https://auth.docker.io/token", true),
            ("https://registry.gitlab.com", "https://gitlab.com/jwt/auth", true),
            ("https://ghcr.io", "https://ghcr.io/token", true),
            ("https://registry.gitlab.com", "https://evilgitlab.com/x", false),
            ("https://registry.gitlab.com", "http://gitlab.com/jwt/auth", false),
            ("https://ghcr.io", "https://evil.io/token", false),
            ("https://shop.co.uk", "https://evil.co.uk/", false),
            ("https://10.0.0.1", "https://10.0.0.2/", false),
            ("http://127.0.0.1:5000", "http://127.0.0.1:5001/token", true),
        ] {
            assert_eq!(origin(registry).trusts(&origin(realm)), trusted, "{registry} {realm}");
        }
    }

    #[test]
    fn redirects_lead_neither_down_nor_home() {
        for (from, to, refused) in [
            ("https://r.example", "https://cdn.other", false),
            ("https://r.example", "http://r.example", true),
            ("https://r.example", "https://127.0.0.1/", true),
            ("https://r.example", "https://[::1]/", true),
            ("https://r.example", "https://[::ffff:127.0.0.1]/", true),
            ("https://r.example", "https://169.254.169.254/latest", true),
            ("https://r.example", "https://localhost/", true),
            ("http://127.0.0.1:1", "http://127.0.0.1:2", false),
        ] {
            assert_eq!(origin(from).refuses(&origin(to)).is_some(), refused, "{from} {to}");
        }
        for bad in ["file:///etc/passwd", "ftp://x/", "https://user:pw@x/", "x", "https://"] {
            assert_eq!(Origin::of(bad), None, "{bad}");
        }
        assert_eq!(resolve("http://h:1/v2/a/b?c", "/x?y").unwrap(), "http://h:1/x?y");
        assert_eq!(resolve("http://h:1/v2/a/b?c", "x").unwrap(), "http://h:1/v2/a/x");
    }
}
