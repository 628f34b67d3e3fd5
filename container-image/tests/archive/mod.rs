//! Tar archives made by hand, so that they can lie.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

pub struct Archive {
    pub bytes: Vec<u8>,
}

pub fn archive() -> Archive {
    Archive { bytes: Vec::new() }
}

impl Archive {
    /// Any entry, with a header that says what it is told.
    pub fn raw(mut self, path: &[u8], kind: u8, link: &[u8], size_field: &[u8], data: &[u8]) -> Self {
        let mut header = [0u8; 512];
        header[..path.len().min(100)].copy_from_slice(&path[..path.len().min(100)]);
        header[100..108].copy_from_slice(b"0000644\0");
        header[108..116].copy_from_slice(b"0000000\0");
        header[116..124].copy_from_slice(b"0000000\0");
        header[124..124 + size_field.len()].copy_from_slice(size_field);
        header[136..148].copy_from_slice(b"14000000000\0");
        header[156] = kind;
        header[157..157 + link.len().min(100)].copy_from_slice(&link[..link.len().min(100)]);
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[329..337].copy_from_slice(b"0000000\0");
        header[337..345].copy_from_slice(b"0000000\0");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|&b| u32::from(b)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.bytes.extend_from_slice(&header);
        self.bytes.extend_from_slice(data);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self
    }

    pub fn file(self, path: &str, data: &[u8]) -> Self {
        let size = format!("{:011o}\0", data.len());
        self.raw(path.as_bytes(), b'0', b"", size.as_bytes(), data)
    }

    pub fn directory(self, path: &str) -> Self {
        self.raw(path.as_bytes(), b'5', b"", b"00000000000\0", b"")
    }

    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.raw(path.as_bytes(), b'2', target.as_bytes(), b"00000000000\0", b"")
    }

    pub fn hard_link(self, path: &str, target: &str) -> Self {
        self.raw(path.as_bytes(), b'1', target.as_bytes(), b"00000000000\0", b"")
    }

    pub fn device(self, path: &str) -> Self {
        self.raw(path.as_bytes(), b'3', b"", b"00000000000\0", b"")
    }

    pub fn pax(self, records: &[(&str, &[u8])]) -> Self {
        self.extended(b'x', records)
    }

    pub fn global_pax(self, records: &[(&str, &[u8])]) -> Self {
        self.extended(b'g', records)
    }

    fn extended(self, kind: u8, records: &[(&str, &[u8])]) -> Self {
        let mut body = Vec::new();
        for (key, value) in records {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length = rest + length.to_string().len();
            }
            body.extend_from_slice(format!("{length} {key}=").as_bytes());
            body.extend_from_slice(value);
            body.push(b'\n');
        }
        let size = format!("{:011o}\0", body.len());
        self.raw(b"pax", kind, b"", size.as_bytes(), &body)
    }

    pub fn end(mut self) -> Vec<u8> {
        self.bytes.resize(self.bytes.len() + 1024, 0);
        self.bytes
    }
}
