//! Whether a text can be the name of an image: `[host[:port]/]path[:tag][@digest]`.

/// Whether it is a valid reference.
pub(crate) fn is_valid(text: &str) -> bool {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    };
    if let Some(digest) = digest {
        let Some((algorithm, hex)) = digest.split_once(':') else { return false };
        let named = algorithm.starts_with(|ch: char| ch.is_ascii_alphabetic())
            && algorithm.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+._-".contains(&byte));
        if !named || hex.len() < 32 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return false;
        }
    }
    let slash = rest.rfind('/');
    let (name, tag) = match rest.rfind(':') {
        Some(at) if slash.is_none_or(|slash| at > slash) => (&rest[..at], Some(&rest[at + 1..])),
        _ => (rest, None),
    };
    if let Some(tag) = tag {
        let letters = tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
        if tag.is_empty() || tag.len() > 128 || !letters || tag.starts_with(['.', '-']) {
            return false;
        }
    }
    if name.is_empty() || name.len() > 255 {
        return false;
    }
    let mut parts = name.split('/').peekable();
    if let Some(first) = parts.peek()
        && name.contains('/')
        && (first.contains(['.', ':'])
            || *first == "localhost"
            || first.bytes().any(|byte| byte.is_ascii_uppercase()))
    {
        let host = first.split(':').next().unwrap_or_default().trim_matches(['[', ']']);
        if host.is_empty() && !first.starts_with('[') {
            return false;
        }
        parts.next();
    }
    let mut any = false;
    for part in parts {
        any = true;
        let edge = |ch: Option<char>| ch.is_some_and(|ch| ch.is_ascii_lowercase() || ch.is_ascii_digit());
        let letters = part
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte));
        if !letters || !edge(part.chars().next()) || !edge(part.chars().next_back()) {
            return false;
        }
    }
    any
}

/// The tag of a reference, and whether it has a digest.
pub(crate) fn tag(text: &str) -> (Option<&str>, bool) {
    let (rest, digest) = text.split_once('@').map_or((text, false), |(rest, _)| (rest, true));
    let slash = rest.rfind('/');
    let tag = rest.rfind(':').filter(|&at| slash.is_none_or(|slash| at > slash)).map(|at| &rest[at + 1..]);
    (tag, digest)
}
