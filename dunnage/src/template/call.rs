//! The functions of a format.

use std::cmp::Ordering;

use serde_json::Value;

/// Names, for the error.
const KNOWN: &str = "and, or, not, eq, ne, lt, le, gt, ge, len, index, slice, print, println, printf, json, join, split, lower, \
                     upper, title, truncate, pad";

pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

/// What Go takes for true: anything but nothing, false, 0 and what is empty.
pub(super) fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// A value as Go prints it.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(text).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let pairs: Vec<String> =
                map.iter().map(|(key, value)| format!("{key}:{}", text(value))).collect();
            format!("map[{}]", pairs.join(" "))
        }
    }
}

pub(super) fn call(name: &str, arguments: &[Value]) -> Result<Value, String> {
    let wrong = || Err(format!("{name} cannot be used with {}", list(arguments)));
    Ok(match (name, arguments) {
        ("and", [first, ..]) => {
            let last = arguments.last().unwrap_or(first);
            arguments.iter().find(|value| !truth(value)).unwrap_or(last).clone()
        }
        ("or", [first, ..]) => {
            let last = arguments.last().unwrap_or(first);
            arguments.iter().find(|value| truth(value)).unwrap_or(last).clone()
        }
        ("not", [value]) => (!truth(value)).into(),
        ("eq", [first, others @ ..]) if !others.is_empty() => {
            others.iter().any(|other| compare(first, other) == Some(Ordering::Equal)).into()
        }
        ("ne", [a, b]) => (compare(a, b) != Some(Ordering::Equal)).into(),
        ("lt", [a, b]) => (compare(a, b) == Some(Ordering::Less)).into(),
        ("gt", [a, b]) => (compare(a, b) == Some(Ordering::Greater)).into(),
        ("le", [a, b]) => matches!(compare(a, b), Some(Ordering::Less | Ordering::Equal)).into(),
        ("ge", [a, b]) => matches!(compare(a, b), Some(Ordering::Greater | Ordering::Equal)).into(),
        ("len", [Value::String(text)]) => text.len().into(),
        ("len", [Value::Array(list)]) => list.len().into(),
        ("len", [Value::Object(map)]) => map.len().into(),
        ("len", [Value::Null]) => 0.into(),
        ("index", [value, path @ ..]) => index(value, path)?,
        ("slice", [Value::String(text), from @ ..]) if from.len() <= 2 => {
            let bound = |at: usize, otherwise: usize| match from.get(at) {
                None => Some(otherwise),
                Some(number) => number.as_u64().and_then(|number| usize::try_from(number).ok()),
            };
            let range = bound(0, 0).zip(bound(1, text.len()));
            let found = range.and_then(|(from, to)| text.get(from..to));
            found.ok_or_else(|| format!("slice: {} is not a part of the text", list(from)))?.into()
        }
        ("print", _) => arguments.iter().map(text).collect::<Vec<_>>().join(" ").into(),
        ("println", _) => format!("{}\n", arguments.iter().map(text).collect::<Vec<_>>().join(" ")).into(),
        ("printf", [Value::String(format), rest @ ..]) => printf(format, rest)?.into(),
        ("json", [value]) => serde_json::to_string(value).map_err(|error| error.to_string())?.into(),
        ("join", [Value::Array(items), Value::String(between)]) => {
            items.iter().map(text).collect::<Vec<_>>().join(between).into()
        }
        ("join", [Value::Null, Value::String(_)]) => "".into(),
        ("split", [Value::String(text), Value::String(at)]) => {
            Value::Array(text.split(at.as_str()).map(Value::from).collect())
        }
        ("lower", [Value::String(text)]) => text.to_lowercase().into(),
        ("upper", [Value::String(text)]) => text.to_uppercase().into(),
        ("title", [Value::String(text)]) => title(text).into(),
        ("truncate", [Value::String(text), length] | [length, Value::String(text)]) if length.is_u64() => {
            let length = usize::try_from(length.as_u64().unwrap_or(0)).unwrap_or(usize::MAX);
            text.chars().take(length).collect::<String>().into()
        }
        ("pad", [Value::String(text), before, after]) if before.is_u64() && after.is_u64() => {
            let blanks = |count: &Value| " ".repeat(count.as_u64().unwrap_or(0).min(1000) as usize);
            if text.is_empty() {
                "".into()
            } else {
                format!("{}{text}{}", blanks(before), blanks(after)).into()
            }
        }
        _ if KNOWN.split(", ").any(|known| known == name) => return wrong(),
        _ => return Err(format!("there is no function {name}; there are {KNOWN}")),
    })
}

fn list(values: &[Value]) -> String {
    if values.is_empty() {
        return "nothing".to_owned();
    }
    values.iter().map(kind).collect::<Vec<_>>().join(" and ")
}

/// Numbers by value, all else that is of one kind by its text.
fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64()?.partial_cmp(&b.as_f64()?),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ if a == b => Some(Ordering::Equal),
        _ => None,
    }
}

fn index(value: &Value, path: &[Value]) -> Result<Value, String> {
    let mut at = value;
    for key in path {
        at = match (at, key) {
            (Value::Array(list), Value::Number(number)) => {
                let found = number.as_u64().and_then(|number| list.get(usize::try_from(number).ok()?));
                found.ok_or_else(|| format!("index {number} of a list of {}", list.len()))?
            }
            // a key that a map has not gives nothing, as in Go
            (Value::Object(map), Value::String(key)) => map.get(key).unwrap_or(&Value::Null),
            (Value::Null, _) => &Value::Null,
            (other, key) => return Err(format!("{} has no index of {}", kind(other), kind(key))),
        };
    }
    Ok(at.clone())
}

fn title(text: &str) -> String {
    let mut start = true;
    let one = |c: char| {
        let upper = start;
        start = !c.is_alphanumeric();
        if upper { c.to_uppercase().collect::<String>() } else { c.to_string() }
    };
    text.chars().map(one).collect()
}

/// `%s`, `%v`, `%d`, `%q`, `%f` and `%%`, with a width, `-` and for numbers the places.
fn printf(format: &str, arguments: &[Value]) -> Result<String, String> {
    let mut output = String::new();
    let mut arguments = arguments.iter();
    let mut rest = format;
    while let Some((before, behind)) = rest.split_once('%') {
        output.push_str(before);
        let end = behind.find(|c: char| !(c.is_ascii_digit() || "-+.# ".contains(c))).unwrap_or(behind.len());
        let (flags, verb) = behind.split_at(end);
        let verb = verb.chars().next().ok_or_else(|| "printf: a % stands at the end".to_owned())?;
        rest = &behind[end + verb.len_utf8()..];
        if verb == '%' {
            output.push('%');
            continue;
        }
        let value = arguments.next().ok_or_else(|| format!("printf: nothing is there for %{verb}"))?;
        let (width, places) =
            flags.split_once('.').map_or((flags, None), |(width, places)| (width, Some(places)));
        let shown = match verb {
            's' | 'v' | 'd' => text(value),
            'q' => serde_json::to_string(&text(value)).map_err(|error| error.to_string())?,
            'f' => {
                let number = value.as_f64().ok_or_else(|| format!("printf: %f for {}", kind(value)))?;
                let places = places.and_then(|places| places.parse().ok()).unwrap_or(6_usize);
                format!("{number:.*}", places.min(30))
            }
            other => return Err(format!("printf: %{other} is not known; %s, %v, %d, %q and %f are")),
        };
        let left = width.starts_with('-');
        let width = width.trim_start_matches(['-', '+', '#', ' ']).parse::<usize>().unwrap_or(0).min(1000);
        let blanks = " ".repeat(width.saturating_sub(shown.chars().count()));
        if left {
            output.push_str(&shown);
            output.push_str(&blanks);
        } else {
            output.push_str(&blanks);
            output.push_str(&shown);
        }
    }
    output.push_str(rest);
    Ok(output)
}
