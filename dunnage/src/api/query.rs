//! What stands behind the question mark.

use std::collections::HashMap;

use serde_json::Value;

use super::Fault;

/// The parameters of a request, by name; of several with one name all are there.
#[derive(Debug, Default)]
pub(crate) struct Query(HashMap<String, Vec<String>>);

impl Query {
    pub(crate) fn parse(text: Option<&str>) -> Result<Self, Fault> {
        let mut all: HashMap<String, Vec<String>> = HashMap::new();
        for pair in text.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            all.entry(decode(&name.replace('+', " "))?).or_default().push(decode(&value.replace('+', " "))?);
        }
        Ok(Self(all))
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(|values| values.first()).map(String::as_str).filter(|text| !text.is_empty())
    }

    pub(crate) fn all(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// Go's words for true and false.
    pub(crate) fn flag(&self, name: &str, default: bool) -> Result<bool, Fault> {
        match self.text(name) {
            None => Ok(default),
            Some("1" | "true" | "True" | "TRUE" | "t" | "T") => Ok(true),
            Some("0" | "false" | "False" | "FALSE" | "f" | "F") => Ok(false),
            Some(other) => Err(Fault::bad(format!("{name}={other:?} is neither true nor false"))),
        }
    }

    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Fault> {
        self.text(name)
            .map(|text| {
                text.parse().map_err(|_| Fault::bad(format!("{name}={text:?} is not a number that fits")))
            })
            .transpose()
    }

    /// `filters`, as `KEY=VALUE` each: `{"status": ["running"]}`, or `{"status": {"running": true}}` of old clients.
    pub(crate) fn filters(&self) -> Result<Vec<String>, Fault> {
        let Some(text) = self.text("filters") else { return Ok(Vec::new()) };
        let wrong = || Fault::bad(format!("filters={text:?} is not a map of lists"));
        let Ok(Value::Object(map)) = serde_json::from_str(text) else { return Err(wrong()) };
        let mut all = Vec::new();
        for (key, values) in map {
            match values {
                Value::Array(list) => {
                    for value in list {
                        all.push(format!("{key}={}", value.as_str().ok_or_else(wrong)?));
                    }
                }
                Value::Object(set) => {
                    all.extend(
                        set.iter().filter(|(_, on)| **on == true).map(|(value, _)| format!("{key}={value}")),
                    );
                }
                _ => return Err(wrong()),
            }
        }
        Ok(all)
    }
}

/// Percent signs resolved.
pub(crate) fn decode(text: &str) -> Result<String, Fault> {
    let wrong = || Fault::bad(format!("{text:?} is not percent-encoded UTF-8"));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        if first != b'%' {
            bytes.push(first);
            rest = behind;
            continue;
        }
        let digits = behind.get(..2).and_then(|two| std::str::from_utf8(two).ok()).ok_or_else(wrong)?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| wrong())?);
        rest = &behind[2..];
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_as_clients_write_them() {
        let query =
            Query::parse(Some("all=1&filters=%7B%22name%22%3A%5B%22a+b%22%5D%7D&t=x&t=y%2Fz")).unwrap();
        assert!(query.flag("all", false).unwrap());
        assert_eq!(query.filters().unwrap(), ["name=a b"]);
        assert_eq!(query.all("t"), ["x", "y/z"]);
        let old = Query::parse(Some("filters=%7B%22label%22%3A%7B%22a%22%3Atrue%7D%7D")).unwrap();
        assert_eq!(old.filters().unwrap(), ["label=a"]);
        for bad in ["a=%", "a=%zz", "a=%ff"] {
            assert!(Query::parse(Some(bad)).is_err(), "{bad}");
        }
        for bad in ["filters=x", "filters=[]", "filters={\"a\":1}", "filters={\"a\":[1]}"] {
            assert!(Query::parse(Some(bad)).unwrap().filters().is_err(), "{bad}");
        }
        assert!(Query::parse(Some("all=maybe")).unwrap().flag("all", true).is_err());
    }
}
