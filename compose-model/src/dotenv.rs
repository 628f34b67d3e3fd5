//! Files of variables: `.env`, `env_file`, `label_file`.
use crate::error::Error;
use crate::interpolate::substitute;
use crate::map::Map;

/// How the values of a file of variables are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Quoting {
    /// Quotes, escapes, comments behind values, variables put in: Compose's own way.
    #[default]
    Compose,
    /// Everything behind `=` is the value, as `docker run --env-file` has it (`format: raw`).
    Raw,
}

/// The variables of a file, in order. A name without `=` has no value of its own: `None`.
///
/// Unquoted values end before ` #` and lose their outer blanks; `'…'` is literal; `"…"` knows `\n \r \t \" \\ \$`; both may go over
/// lines. Variables in unquoted and double-quoted values come from `lookup`, then from lines above.
///
/// # Errors
/// [`Error::Variables`] with the line.
pub fn variables(
    text: &str,
    quoting: Quoting,
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<Map<Option<String>>, Error> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut found: Map<Option<String>> = Map::new();
    if quoting == Quoting::Raw {
        for line in text.lines() {
            let line = line.trim_start();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match line.split_once('=') {
                Some((name, value)) => found.insert(name, Some(value.to_owned())),
                None => found.insert(line, None),
            };
        }
        return Ok(found);
    }
    let mut rest = text;
    let mut number = 0;
    while !rest.is_empty() {
        number += 1;
        let (line, next) = rest.split_once('\n').unwrap_or((rest, ""));
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            rest = next;
            continue;
        }
        let here = number;
        let fault = move |reason: String| Error::Variables { line: here, reason };
        let body = trimmed.strip_prefix("export ").map_or(trimmed, str::trim_start);
        let end = body.find(|c: char| c == '=' || c == ':' || c.is_whitespace()).unwrap_or(body.len());
        let (name, after) = body.split_at(end);
        if name.is_empty()
            || !name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '[' | ']'))
        {
            let shown: String = name.chars().take(40).collect();
            return Err(fault(format!("`{shown}` is not a name of a variable")));
        }
        let after = after.trim_start();
        let Some(value) = after.strip_prefix(['=', ':']) else {
            if !after.is_empty() && !after.starts_with('#') {
                return Err(fault(format!("`{name}` is followed by a blank, not by `=`")));
            }
            found.insert(name, None);
            rest = next;
            continue;
        };
        let value = value.trim_start();
        let known = |variable: &str| lookup(variable).or_else(|| found.get(variable).cloned().flatten());
        let put = |text: &str| {
            substitute(text, known).map(|result| result.text).map_err(|source| fault(source.to_string()))
        };
        let quote = value.chars().next().filter(|c| matches!(c, '\'' | '"'));
        let Some(quote) = quote else {
            let value = value.find(" #").map_or(value, |at| &value[..at]);
            let value = if value.starts_with('#') { "" } else { value.trim_end() };
            let value = put(value)?;
            found.insert(name, Some(value));
            rest = next;
            continue;
        };
        // the value may go on over lines: look for its quote in all that is left
        let start = rest.len()
            - next.len()
            - usize::from(rest.len() > line.len())
            - (line.len() - line.trim_end().len())
            - value.len()
            + 1;
        let body = rest.get(start..).unwrap_or("");
        let Some(close) = closing(body, quote) else {
            return Err(fault(format!("the quote of `{name}` is not closed")));
        };
        let inside = body.get(..close).unwrap_or("");
        let value = if quote == '\'' { inside.replace("\\'", "'") } else { put(&unescape(inside))? };
        found.insert(name, Some(value));
        number += inside.matches('\n').count();
        let behind = body.get(close + 1..).unwrap_or("");
        let (tail, next) = behind.split_once('\n').unwrap_or((behind, ""));
        if !tail.trim().is_empty() && !tail.trim_start().starts_with('#') {
            return Err(fault("something stands behind the closing quote".to_owned()));
        }
        rest = next;
    }
    Ok(found)
}

fn closing(body: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in body.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return Some(at),
            _ => {}
        }
    }
    None
}

/// Resolves escapes; `\$` becomes `$$`, which substitution turns into one dollar sign.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match rest.next() {
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('$') => out.push_str("$$"),
            Some(c @ ('"' | '\\' | '\'')) => out.push(c),
            Some(c) => out.extend(['\\', c]),
            None => out.push('\\'),
        }
    }
    out
}
