use crate::Error;

/// From where images of a registry may come: its mirrors, in order, and then itself, as containerd's `hosts.toml` says it.
///
/// Of that file `server`, `[host."ADDRESS"]` and its `capabilities` are known. Everything else is refused, for a key
/// file or a header that is passed over would be a surprise.
///
/// ```
/// # use container_image::Hosts;
/// let hosts = Hosts::parse(r#"
///     server = "https://registry.example"
///     [host."https://mirror.example:5000"]
///       capabilities = ["pull", "resolve"]
/// "#)?;
/// # Ok::<(), container_image::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hosts {
    pub(super) server: Option<Host>,
    pub(super) mirrors: Vec<Host>,
}

/// One server, and what it is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Host {
    /// `host[:port]`
    pub(super) name: String,
    /// It is spoken to by http.
    pub(super) insecure: bool,
    /// It may have content, which is verified by its digest.
    pub(super) pull: bool,
    /// It may say what a tag stands for.
    pub(super) resolve: bool,
}

/// Such a file may have so many bytes.
const MAX_FILE: usize = 64 << 10;

impl Hosts {
    /// Reads the text of the file.
    ///
    /// # Errors
    ///
    /// [`Error::Hosts`] with the line and the reason.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > MAX_FILE {
            return Err(refuse(0, "it has more than 64 KiB"));
        }
        let mut hosts = Self::default();
        let mut in_host = false;
        let mut lines = text.lines().enumerate().map(|(at, line)| (at + 1, bare(line).trim()));
        while let Some((at, line)) = lines.next() {
            if line.is_empty() {
                continue;
            }
            if let Some(table) = line.strip_prefix('[') {
                let table = table.strip_suffix(']').ok_or_else(|| refuse(at, "a table's name has no ]"))?;
                let address = table
                    .trim()
                    .strip_prefix("host.")
                    .ok_or_else(|| refuse(at, "the only tables known are [host.\"ADDRESS\"]"))?;
                let address = string(address.trim()).ok_or_else(|| {
                    refuse(at, "the address of a host is to be in quotes, and nothing after it")
                })?;
                hosts.mirrors.push(host(at, address)?);
                in_host = true;
                continue;
            }
            let (key, value) =
                line.split_once('=').ok_or_else(|| refuse(at, "it is neither a table nor a key"))?;
            let mut value = value.trim().to_owned();
            if value.starts_with('[') {
                // a list may go over several lines
                while !value.ends_with(']') {
                    let (_, more) = lines.next().ok_or_else(|| refuse(at, "a list has no end"))?;
                    value = value + " " + more;
                }
            }
            match (key.trim(), hosts.mirrors.last_mut()) {
                ("server", None) => {
                    let address =
                        string(&value).ok_or_else(|| refuse(at, "server is to be a text in quotes"))?;
                    hosts.server = Some(host(at, address)?);
                }
                ("capabilities", Some(mirror)) if in_host => {
                    (mirror.pull, mirror.resolve) = capabilities(at, &value)?;
                }
                ("ca" | "client" | "skip_verify" | "header" | "override_path" | "dial_timeout", _) => {
                    return Err(refuse(at, "this key is not supported: set TLS for the whole client"));
                }
                _ => return Err(refuse(at, "this key is not known here")),
            }
        }
        Ok(hosts)
    }
}

fn capabilities(at: usize, list: &str) -> Result<(bool, bool), Error> {
    let list = list.strip_prefix('[').and_then(|list| list.strip_suffix(']'));
    let list = list.ok_or_else(|| refuse(at, "capabilities are to be a list"))?;
    let (mut pull, mut resolve) = (false, false);
    for word in list.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        match string(word) {
            Some("pull") => pull = true,
            Some("resolve") => resolve = true,
            // nothing is ever pushed to a mirror
            Some("push") => {}
            _ => return Err(refuse(at, "capabilities are pull, resolve and push")),
        }
    }
    Ok((pull, resolve))
}

/// `https://host[:port]`, perhaps with `/v2` after it.
fn host(at: usize, address: &str) -> Result<Host, Error> {
    let (insecure, rest) = match (address.strip_prefix("https://"), address.strip_prefix("http://")) {
        (Some(rest), _) => (false, rest),
        (_, Some(rest)) => (true, rest),
        _ => (false, address),
    };
    let name = rest.trim_end_matches('/');
    let name = name.strip_suffix("/v2").unwrap_or(name);
    if name.is_empty()
        || format!("{name}/x").parse::<crate::Reference>().map_or(true, |it| it.domain() != name)
    {
        return Err(refuse(at, "the address is no https://HOST[:PORT]"));
    }
    Ok(Host { name: name.to_owned(), insecure, pull: true, resolve: true })
}

/// What stands between quotes, without escapes, which no address needs.
fn string(text: &str) -> Option<&str> {
    let quote = text.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
    (!inner.contains(['"', '\'', '\\'])).then_some(inner)
}

/// The line without its comment.
fn bare(line: &str) -> &str {
    let mut quote = None;
    for (at, character) in line.char_indices() {
        match (character, quote) {
            ('#', None) => return &line[..at],
            ('"' | '\'', None) => quote = Some(character),
            (_, Some(open)) if open == character => quote = None,
            _ => {}
        }
    }
    line
}

fn refuse(line: usize, reason: &'static str) -> Error {
    Error::Hosts { line, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_as_containerd_documents_it_is_read() {
        let hosts = Hosts::parse(
            "# comment\nserver = \"https://registry-1.docker.io\"\n\n[host.\"https://mirror.example/v2\"]\n  \
             capabilities = [\n \"pull\", # here\n \"resolve\" ]\n[host.'http://10.0.0.1:5000']\ncapabilities=[\"pull\"]\n",
        )
        .unwrap();
        assert_eq!(hosts.server.unwrap().name, "registry-1.docker.io");
        let [first, second] = hosts.mirrors.as_slice() else { panic!("two hosts") };
        assert_eq!((first.name.as_str(), first.insecure, first.resolve), ("mirror.example", false, true));
        assert_eq!((second.name.as_str(), second.insecure, second.resolve), ("10.0.0.1:5000", true, false));
    }

    #[test]
    fn what_would_be_passed_over_is_refused_with_its_line() {
        for (text, line) in [
            ("\nca = \"x\"", 2),
            ("[host.\"https://a.b\"]\nskip_verify = true", 2),
            ("[host.\"https://a.b\".header]", 1),
            ("[plugins]", 1),
            ("capabilities = [\"pull\"]", 1),
            ("[host.\"https://a.b/../c\"]", 1),
            ("[host.\"ftp://a.b\"]", 1),
            ("server = https://a.b", 1),
            ("nonsense", 1),
            ("[host.\"https://a.b\"]\ncapabilities = [\"pull\"", 2),
        ] {
            match Hosts::parse(text) {
                Err(Error::Hosts { line: found, .. }) => assert_eq!(found, line, "{text:?}"),
                other => panic!("{text:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn files_that_were_changed_at_random_are_read_or_refused() {
        let good = "server = \"https://a.b\"\n[host.\"https://m.x:5000\"]\ncapabilities = [\"pull\", \"resolve\"] # c\n";
        let mut state = 1u64;
        let mut below = |limit: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % limit
        };
        for _ in 0..3000 {
            let mut characters: Vec<char> = good.chars().collect();
            for _ in 0..=below(4) {
                let at = below(characters.len());
                match below(3) {
                    0 => characters[at] = ['"', '[', ']', '=', '\\', '#', '\n', '\u{202e}', '.'][below(9)],
                    1 => drop(characters.remove(at)),
                    _ => characters.insert(at, characters[below(characters.len())]),
                }
            }
            let text: String = characters.into_iter().collect();
            if let Ok(hosts) = Hosts::parse(&text) {
                for host in hosts.mirrors.iter().chain(&hosts.server) {
                    assert!(!host.name.contains(['/', '"', ' ', '\n']), "{text:?}");
                }
            }
        }
    }
}
