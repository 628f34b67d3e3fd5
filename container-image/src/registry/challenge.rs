//! What a registry asks for: the `WWW-Authenticate` header (RFC 9110, section 11.6.1).

use std::collections::BTreeMap;

/// One way to say who one is that a server accepts (RFC 9110, section 11.6.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// In lower case: `bearer`, `basic`.
    pub scheme: String,
    /// Names in lower case: `realm`, `service`, `scope`.
    pub parameters: BTreeMap<String, String>,
}

/// All challenges of a `WWW-Authenticate` header's value. What is not well-formed ends the reading.
pub fn challenges(value: &str) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = Vec::new();
    let mut rest = value.trim_start_matches([' ', '\t', ',']);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !is_token(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if word.is_empty() {
            break;
        }
        let trimmed = after.trim_start();
        if let Some(text) = trimmed.strip_prefix('=') {
            let Some(challenge) = found.last_mut() else { break };
            let Some((value, after)) = parameter(text.trim_start()) else { break };
            challenge.parameters.insert(word.to_ascii_lowercase(), value);
            rest = after;
        } else {
            found.push(Challenge { scheme: word.to_ascii_lowercase(), parameters: BTreeMap::new() });
            rest = trimmed;
        }
        rest = rest.trim_start_matches([' ', '\t', ',']);
    }
    found
}

fn parameter(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(|c: char| !is_token(c)).unwrap_or(text.len());
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/:".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_with_quotes_commas_and_several_at_once() {
        let found = challenges(
            r#"Bearer realm="https://auth.example/token?a=b,c",service="reg\"x",scope="repository:a/b:pull,push", Basic realm=plain"#,
        );
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].scheme, "bearer");
        assert_eq!(found[0].parameters["realm"], "https://auth.example/token?a=b,c");
        assert_eq!(found[0].parameters["service"], "reg\"x");
        assert_eq!(found[0].parameters["scope"], "repository:a/b:pull,push");
        assert_eq!(found[1].parameters["realm"], "plain");
        for broken in ["", "=", "Bearer realm=\"", "\"", ",,,", "Bearer =x", "é", "a=b"] {
            assert!(challenges(broken).len() < 2, "{broken}");
        }
    }

    #[test]
    fn headers_that_were_changed_at_random_are_read_to_an_end() {
        let good =
            r#"Bearer realm="https://auth.example/token",service="a\"b",scope="x:y:pull", Basic realm=z"#;
        let mut state = 7u64;
        let mut below = |limit: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % limit
        };
        for _ in 0..5000 {
            let mut characters: Vec<char> = good.chars().collect();
            for _ in 0..=below(5) {
                let at = below(characters.len());
                match below(3) {
                    0 => characters[at] = ['"', '\\', ',', '=', ' ', '\u{e9}', '\0'][below(7)],
                    1 => drop(characters.remove(at)),
                    _ => characters.insert(at, characters[below(characters.len())]),
                }
            }
            let text: String = characters.into_iter().collect();
            for challenge in challenges(&text) {
                assert!(!challenge.scheme.is_empty() && challenge.scheme.chars().all(is_token), "{text:?}");
            }
        }
    }
}
