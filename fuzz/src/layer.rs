use arbitrary::{Arbitrary, Result, Unstructured};

/// A layer's archive made from a fuzzer's bytes: up to twelve entries in ustar form, of the ten types that there are, with names and link targets
/// that are mostly hostile: absolute, with `..`, through links, whiteouts; one in eight has a header that lies about its size,
/// one in sixteen a PAX header before it. The checksums are right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer(pub Vec<u8>);

const NAMES: [&str; 26] = [
    "a",
    "a/",
    "a/b",
    "a/b/c",
    "b",
    "b/d/",
    "./a",
    "/a",
    "../a",
    "a/../../a",
    "a//b",
    ".",
    "..",
    "",
    "./",
    ".wh.a",
    "a/.wh.b",
    ".wh..wh..opq",
    "a/.wh..wh..opq",
    ".wh.",
    ".wh...",
    ".wh..",
    "l",
    "l/x",
    "l/l/x",
    "é\u{202e}",
];
const TARGETS: [&str; 12] =
    ["a", "a/b", "/", "/etc", "..", "../..", "../../canary", "l", ".", "", "/proc/self/root", "b/d"];
const TYPES: &[u8] = b"0000555512233467xgLKS\0";
const KEYS: [&str; 9] = [
    "path",
    "linkpath",
    "size",
    "uid",
    "mtime",
    "SCHILY.xattr.user.a",
    "SCHILY.xattr.trusted.overlay.redirect",
    "GNU.sparse.size",
    "GNU.sparse.map",
];

impl<'a> Arbitrary<'a> for Layer {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Self> {
        let mut archive = Vec::new();
        for _ in 0..bytes.int_in_range(1..=12)? {
            if bytes.ratio(1, 16)? {
                let record = record(bytes.choose(&KEYS)?, bytes.choose(&NAMES)?);
                entry(&mut archive, "pax", b'x', "", record.as_bytes(), record.len() as u64, 0);
            }
            let kind = *bytes.choose(TYPES)?;
            let length = bytes.int_in_range(0..=600)?;
            let body = bytes.bytes(length.min(bytes.len()))?;
            let size = if bytes.ratio(1, 8)? { bytes.arbitrary::<u32>()?.into() } else { body.len() as u64 };
            let mode = bytes.int_in_range(0..=0o7777)?;
            entry(&mut archive, bytes.choose(&NAMES)?, kind, bytes.choose(&TARGETS)?, body, size, mode);
        }
        if bytes.ratio(7, 8)? {
            archive.extend([0; 1024]);
        }
        Ok(Self(archive))
    }
}

/// A record of a PAX header: its own length in digits, key and value.
fn record(key: &str, value: &str) -> String {
    let bare = key.len() + value.len() + 3;
    let mut length = bare + 1;
    while length != bare + length.to_string().len() {
        length = bare + length.to_string().len();
    }
    format!("{length} {key}={value}\n")
}

fn entry(archive: &mut Vec<u8>, name: &str, kind: u8, target: &str, body: &[u8], size: u64, mode: u32) {
    let mut header = [0; 512];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, format!("{mode:07o}").as_bytes());
    put(108, b"0000000");
    put(116, b"0000000");
    put(124, format!("{size:011o}").as_bytes());
    put(136, b"00000000017");
    put(148, b"        ");
    put(156, &[kind]);
    put(157, target.as_bytes());
    put(257, b"ustar\x0000");
    put(329, b"0000001");
    put(337, b"0000003");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    archive.extend(header);
    archive.extend(body);
    archive.extend(std::iter::repeat_n(0, body.len().next_multiple_of(512) - body.len()));
}
