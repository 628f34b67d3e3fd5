//! PAX extended headers: `LENGTH KEY=VALUE\n`, over and over.

use std::collections::BTreeMap;

use super::MAX_PATH;

/// What the records of one header say of the entry after it.
#[derive(Debug, Default)]
pub(crate) struct Records {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    pub(crate) uid: Option<u64>,
    pub(crate) gid: Option<u64>,
    pub(crate) mtime: Option<(i64, u32)>,
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) sparse: Option<Sparse>,
}

/// What the records say of a sparse file (GNU tar manual, *PAX Format, Versions 0.0, 0.1, 1.0*).
#[derive(Debug, Default)]
pub(crate) struct Sparse {
    pub(crate) name: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    /// Version 1.0 keeps its map before the data, the older ones keep it here.
    pub(crate) in_data: bool,
    pub(crate) numbers: Vec<u64>,
}

const MAX_SEGMENTS: usize = 1 << 20;

impl Records {
    pub(crate) fn parse(mut body: &[u8]) -> Result<Self, &'static str> {
        let mut records = Self::default();
        while !body.is_empty() {
            let space = body.iter().position(|&b| b == b' ').ok_or("a PAX record has no length")?;
            let length = decimal(&body[..space])?;
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            if length <= space + 1 || length > body.len() {
                return Err("a PAX record's length is wrong");
            }
            let (record, rest) = body.split_at(length);
            body = rest;
            let record =
                record[space + 1..].strip_suffix(b"\n").ok_or("a PAX record does not end in a newline")?;
            let equals = record.iter().position(|&b| b == b'=').ok_or("a PAX record has no =")?;
            records.take(&record[..equals], &record[equals + 1..])?;
        }
        Ok(records)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        match key {
            b"path" => self.path = Some(path(value)?),
            b"linkpath" => self.link = Some(path(value)?),
            b"size" => self.size = Some(decimal(value)?),
            b"uid" => self.uid = Some(decimal(value)?),
            b"gid" => self.gid = Some(decimal(value)?),
            b"mtime" => self.mtime = Some(time(value)?),
            b"GNU.sparse.name" => self.sparse().name = Some(path(value)?),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.sparse().size = Some(decimal(value)?),
            b"GNU.sparse.major" => self.sparse().in_data = value == b"1",
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                let number = decimal(value)?;
                self.sparse_number(number)?;
            }
            b"GNU.sparse.map" => {
                for number in value.split(|&b| b == b',') {
                    let number = decimal(number)?;
                    self.sparse_number(number)?;
                }
            }
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    if name.is_empty() || name.contains(&0) {
                        return Err("the name of an extended attribute is empty or has a NUL");
                    }
                    self.xattrs.insert(name.to_vec(), value.to_vec());
                }
            }
        }
        Ok(())
    }

    fn sparse(&mut self) -> &mut Sparse {
        self.sparse.get_or_insert_default()
    }

    fn sparse_number(&mut self, number: u64) -> Result<(), &'static str> {
        let numbers = &mut self.sparse().numbers;
        if numbers.len() >= 2 * MAX_SEGMENTS {
            return Err("a sparse file has more than a million segments");
        }
        numbers.push(number);
        Ok(())
    }
}

fn path(value: &[u8]) -> Result<Vec<u8>, &'static str> {
    if value.contains(&0) {
        return Err("a name has a NUL");
    }
    if value.len() as u64 > MAX_PATH {
        return Err("a name is longer than 4095 bytes");
    }
    Ok(value.to_vec())
}

pub(super) fn decimal(text: &[u8]) -> Result<u64, &'static str> {
    const REASON: &str = "a PAX number is not one, or too large";
    if text.is_empty() || text.len() > 20 || !text.iter().all(u8::is_ascii_digit) {
        return Err(REASON);
    }
    let value = text
        .iter()
        .try_fold(0u64, |value, digit| value.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
        .ok_or(REASON)?;
    if value > i64::MAX as u64 { Err(REASON) } else { Ok(value) }
}

/// Seconds with a fraction, perhaps negative.
fn time(text: &[u8]) -> Result<(i64, u32), &'static str> {
    let (negative, text) = text.strip_prefix(b"-").map_or((false, text), |text| (true, text));
    let mut parts = text.splitn(2, |&b| b == b'.');
    let seconds = decimal(parts.next().unwrap_or_default())? as i64;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err("a PAX time is not a number");
    }
    let nanoseconds = (0..9)
        .fold(0, |value: u32, at| value * 10 + u32::from(fraction.get(at).map_or(0, |digit| digit - b'0')));
    Ok(match (negative, nanoseconds) {
        (false, _) => (seconds, nanoseconds),
        (true, 0) => (-seconds, 0),
        // nanoseconds count upwards also before 1970
        (true, _) => (-seconds - 1, 1_000_000_000 - nanoseconds),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_and_lies_about_lengths_are_refused() {
        let records = Records::parse(b"12 path=abc\n30 mtime=1350244992.023960108\n").unwrap();
        assert_eq!(records.path.as_deref(), Some(b"abc".as_slice()));
        assert_eq!(records.mtime, Some((1_350_244_992, 23_960_108)));
        for bad in [
            b"13 path=abc\n".as_slice(),
            b"11 path=abc\n",
            b"0 path=abc\n",
            b"99999999999999999999999 path=abc\n",
            b"-1 path=abc\n",
            b"path=abc\n",
            b"9 pathabc\n",
            b"13 path=a\0bc\n",
            b"30 size=99999999999999999999\n\n",
        ] {
            assert!(Records::parse(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
    }

    #[test]
    fn times_before_1970_keep_their_fraction() {
        assert_eq!(time(b"-1.25"), Ok((-2, 750_000_000)));
        assert_eq!(time(b"-3"), Ok((-3, 0)));
        assert_eq!(time(b"0.5"), Ok((0, 500_000_000)));
    }
}
