//! From tree to text: YAML as Docker prints it, and JSON.
use super::{Node, Tag, Value, resolve};
use std::fmt::Write as _;

/// The tree as YAML, block style, lists indented by two.
pub fn to_yaml(node: &Node) -> String {
    let mut out = String::new();
    match &node.value {
        Value::Map(map) if !map.is_empty() => block(&mut out, node, 0),
        Value::List(items) if !items.is_empty() => block(&mut out, node, 0),
        _ => {
            inline(&mut out, node, 0);
            out.push('\n');
        }
    }
    out
}

/// The tree in lines that begin `indent` blanks from the left, without the end of the last line.
pub(crate) fn to_lines(node: &Node, indent: usize) -> String {
    let mut out = String::new();
    if node.is_block() {
        block(&mut out, node, indent);
        out.truncate(out.trim_end_matches('\n').len());
    } else {
        inline(&mut out, node, indent);
    }
    out
}

/// The tree in one line, as it may stand inside of brackets.
pub(crate) fn to_flow(node: &Node) -> String {
    let mut out = String::new();
    flow(&mut out, node);
    out
}

fn flow(out: &mut String, node: &Node) {
    out.push_str(tag(node).trim_start());
    match &node.value {
        Value::Text(text) if plain(text) && !text.contains(':') => out.push_str(text),
        Value::Text(text) => quoted(out, text),
        Value::List(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at > 0 { ", " } else { "" });
                flow(out, item);
            }
            out.push(']');
        }
        Value::Map(map) => {
            out.push('{');
            for (at, (key, member)) in map.iter().enumerate() {
                out.push_str(if at > 0 { ", " } else { "" });
                flow(out, &Node::text(key));
                out.push_str(": ");
                flow(out, &member.node);
            }
            out.push('}');
        }
        _ => scalar(out, node, 0),
    }
}

fn tag(node: &Node) -> &'static str {
    match node.tag {
        Some(Tag::Reset) => " !reset ",
        Some(Tag::Override) => " !override ",
        None => "",
    }
}

fn block(out: &mut String, node: &Node, indent: usize) {
    match &node.value {
        Value::Map(map) => {
            for (key, member) in map.iter() {
                pad(out, indent);
                entry(out, key, &member.node, indent);
            }
        }
        Value::List(items) => {
            for item in items {
                pad(out, indent);
                out.push_str("- ");
                match &item.value {
                    Value::Map(map) if !map.is_empty() => {
                        for (at, (key, member)) in map.iter().enumerate() {
                            if at > 0 {
                                pad(out, indent + 2);
                            }
                            entry(out, key, &member.node, indent + 2);
                        }
                    }
                    Value::List(inner) if !inner.is_empty() => {
                        out.push('\n');
                        block(out, item, indent + 2);
                    }
                    _ => {
                        inline(out, item, indent);
                        out.push('\n');
                    }
                }
            }
        }
        _ => {}
    }
}

fn entry(out: &mut String, key: &str, node: &Node, indent: usize) {
    if plain(key) {
        out.push_str(key);
    } else {
        quoted(out, key);
    }
    out.push(':');
    if node.is_block() {
        out.push_str(tag(node).trim_end());
        out.push('\n');
        block(out, node, indent + 2);
    } else {
        out.push(' ');
        inline(out, node, indent);
        out.push('\n');
    }
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

fn inline(out: &mut String, node: &Node, indent: usize) {
    out.push_str(tag(node).trim_start());
    scalar(out, node, indent);
}

fn scalar(out: &mut String, node: &Node, indent: usize) {
    match &node.value {
        Value::Null => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Int(number) => out.push_str(&number.to_string()),
        Value::Float(number) => out.push_str(&float(*number)),
        Value::Text(text) if literal(text) => {
            out.push_str(if text.ends_with("\n\n") || text == "\n" {
                "|+"
            } else if text.ends_with('\n') {
                "|"
            } else {
                "|-"
            });
            for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
                out.push('\n');
                if !line.is_empty() {
                    pad(out, indent + 2);
                    out.push_str(line);
                }
            }
        }
        Value::Text(text) if plain(text) => out.push_str(text),
        Value::Text(text) => quoted(out, text),
        Value::List(_) => out.push_str("[]"),
        Value::Map(_) => out.push_str("{}"),
    }
}

/// Whether a text is printed as a literal block: several lines of ordinary characters, the first not indented.
fn literal(text: &str) -> bool {
    text.trim_end_matches('\n').contains('\n')
        && !text.starts_with([' ', '\n', '#'])
        && !text.ends_with("\n\n")
        && text.split('\n').all(|line| {
            !line.ends_with(' ')
                && line
                    .chars()
                    .all(|c| !c.is_control() && c != '\u{feff}' && c != '\u{2028}' && c != '\u{2029}')
        })
}

/// Whether a text means itself without quotes, to readers of YAML 1.2 and of 1.1.
fn plain(text: &str) -> bool {
    let body = text.strip_prefix("--").or_else(|| text.strip_prefix('-')).unwrap_or(text);
    let first = match body.chars().next() {
        Some('/' | '_' | '$' | '.') => body.len() == text.len(),
        // digits with letters behind them, as in `10m`; not what other readers take for a number or a time
        Some(c) if c.is_ascii_digit() => {
            let numeric = text.starts_with("0b") || text.starts_with("0B") || text.contains([':', '_']);
            body.len() == text.len() && !numeric && text.chars().any(|c| c.is_ascii_alphabetic())
        }
        Some(c) => c.is_ascii_alphabetic(),
        None => false,
    };
    let word = text.to_ascii_lowercase();
    first
        && text.chars().all(|c| c.is_ascii_graphic() || c == ' ' || (c.is_alphanumeric() && !c.is_ascii()))
        && !text.chars().any(|c| {
            matches!(
                c,
                '"' | '\''
                    | '`'
                    | '{'
                    | '}'
                    | '['
                    | ']'
                    | ','
                    | '&'
                    | '*'
                    | '!'
                    | '|'
                    | '>'
                    | '%'
                    | '@'
                    | '\\'
            )
        })
        && !text.contains(": ")
        && !text.contains(" #")
        && !text.ends_with([':', ' '])
        && !matches!(word.as_str(), "yes" | "no" | "on" | "off" | "y" | "n")
        && matches!(resolve(text), Value::Text(_))
}

fn quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() || matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}') => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// A number as Go's `%v` and YAML write it; without an exponent up to 1e21.
pub(crate) fn float(number: f64) -> String {
    if number.is_nan() {
        ".nan".to_owned()
    } else if number.is_infinite() {
        if number > 0.0 { ".inf".to_owned() } else { "-.inf".to_owned() }
    } else if number != 0.0 && (number.abs() >= 1e21 || number.abs() < 1e-4) {
        let text = format!("{number:e}");
        if text.contains("e-") { text } else { text.replace('e', "e+") }
    } else {
        number.to_string()
    }
}

/// The tree as JSON, indented by two. Numbers that JSON does not have become texts.
pub fn to_json(node: &Node) -> String {
    let mut out = String::new();
    json(&mut out, node, 0);
    out.push('\n');
    out
}

fn json(out: &mut String, node: &Node, indent: usize) {
    match &node.value {
        Value::Text(text) => json_text(out, text),
        Value::Float(number) if !number.is_finite() => json_text(out, &float(*number)),
        Value::List(items) if !items.is_empty() => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at > 0 { ",\n" } else { "\n" });
                pad(out, indent + 2);
                json(out, item, indent + 2);
            }
            out.push('\n');
            pad(out, indent);
            out.push(']');
        }
        Value::Map(map) if !map.is_empty() => {
            out.push('{');
            for (at, (key, member)) in map.iter().enumerate() {
                out.push_str(if at > 0 { ",\n" } else { "\n" });
                pad(out, indent + 2);
                json_text(out, key);
                out.push_str(": ");
                json(out, &member.node, indent + 2);
            }
            out.push('\n');
            pad(out, indent);
            out.push('}');
        }
        _ => scalar(out, node, 0),
    }
}

fn json_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if u32::from(c) < 0x20 || c == '\u{7f}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
