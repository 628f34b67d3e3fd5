//! The 512 bytes before each entry.

pub(crate) const BLOCK: usize = 512;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    HardLink,
    SymbolicLink,
    CharacterDevice,
    BlockDevice,
    Directory,
    Fifo,
}

/// A header whose check sum is right.
pub(crate) struct Header {
    block: [u8; BLOCK],
}

impl Header {
    /// None if the check sum is wrong.
    pub(crate) fn new(block: &[u8; BLOCK]) -> Option<Self> {
        let header = Self { block: *block };
        let stored = header.number(148, 8).ok()?;
        let byte = |(at, &byte): (usize, &u8)| if (148..156).contains(&at) { b' ' } else { byte };
        let unsigned: u64 = block.iter().enumerate().map(byte).map(u64::from).sum();
        // old writers summed signed characters
        let signed: i64 = block.iter().enumerate().map(byte).map(|byte| i64::from(byte as i8)).sum();
        (stored == unsigned || i64::try_from(stored) == Ok(signed)).then_some(header)
    }

    pub(crate) fn type_flag(&self) -> u8 {
        self.block[156]
    }

    pub(crate) fn kind(&self) -> Option<Kind> {
        Some(match self.type_flag() {
            // an old archive marks a directory by its slash
            b'0' | 0 if self.path().last() == Some(&b'/') => Kind::Directory,
            b'0' | 0 | b'7' | b'S' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::SymbolicLink,
            b'3' => Kind::CharacterDevice,
            b'4' => Kind::BlockDevice,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            _ => return None,
        })
    }

    pub(crate) fn is_gnu_sparse(&self) -> bool {
        self.type_flag() == b'S'
    }

    pub(crate) fn path(&self) -> Vec<u8> {
        let name = self.text(0, 100);
        let prefix = if self.is_ustar() { self.text(345, 155) } else { &[] };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    pub(crate) fn link(&self) -> Vec<u8> {
        self.text(157, 100).to_vec()
    }

    pub(crate) fn mode(&self) -> Result<u32, &'static str> {
        Ok((self.number(100, 8)? & 0o7777) as u32)
    }

    pub(crate) fn uid(&self) -> Result<u64, &'static str> {
        self.number(108, 8)
    }

    pub(crate) fn gid(&self) -> Result<u64, &'static str> {
        self.number(116, 8)
    }

    pub(crate) fn size(&self) -> Result<u64, &'static str> {
        let size = self.number(124, 12)?;
        if size > i64::MAX as u64 { Err("the size is larger than a file can be") } else { Ok(size) }
    }

    pub(crate) fn mtime(&self) -> Result<i64, &'static str> {
        self.signed(136, 12)
    }

    /// Major and minor number; zeros where the header has no such fields.
    pub(crate) fn device(&self) -> Result<(u32, u32), &'static str> {
        if &self.block[257..262] != b"ustar" {
            return Ok((0, 0));
        }
        let part =
            |at| u32::try_from(self.number(at, 8)?).map_err(|_| "the device number does not fit 32 bits");
        Ok((part(329)?, part(337)?))
    }

    /// A number at `at` for the sparse reader.
    pub(crate) fn sparse_number(&self, at: usize) -> Result<u64, &'static str> {
        self.number(at, 12)
    }

    pub(crate) fn byte(&self, at: usize) -> u8 {
        self.block[at]
    }

    /// POSIX, not GNU, whose magic is `ustar` and two spaces and which keeps other things in the prefix.
    fn is_ustar(&self) -> bool {
        &self.block[257..263] == b"ustar\0"
    }

    fn text(&self, at: usize, length: usize) -> &[u8] {
        let field = &self.block[at..at + length];
        field.split(|&byte| byte == 0).next().unwrap_or_default()
    }

    fn number(&self, at: usize, length: usize) -> Result<u64, &'static str> {
        u64::try_from(self.signed(at, length)?).map_err(|_| "a number is negative")
    }

    fn signed(&self, at: usize, length: usize) -> Result<i64, &'static str> {
        number(&self.block[at..at + length])
    }
}

/// A number field: octal digits, or base 256 where the first bit is set.
pub(crate) fn number(field: &[u8]) -> Result<i64, &'static str> {
    const OVERFLOW: &str = "a number does not fit 64 bits";
    let Some((&first, rest)) = field.split_first() else {
        return Ok(0);
    };
    if first & 0x80 != 0 {
        // the second bit is the sign
        let mut value: i64 = if first & 0x40 == 0 { i64::from(first & 0x3f) } else { i64::from(first as i8) };
        for &byte in rest {
            value = value
                .checked_mul(256)
                .and_then(|value| value.checked_add(i64::from(byte)))
                .ok_or(OVERFLOW)?;
        }
        return Ok(value);
    }
    let mut value: i64 = 0;
    let mut digits = field.iter().skip_while(|&&byte| byte == b' ' || byte == 0);
    for &byte in digits.by_ref() {
        match byte {
            b'0'..=b'7' => {
                value = value
                    .checked_mul(8)
                    .and_then(|value| value.checked_add(i64::from(byte - b'0')))
                    .ok_or(OVERFLOW)?;
            }
            b' ' | 0 => break,
            _ => return Err("a number has other than octal digits"),
        }
    }
    if digits.all(|&byte| byte == b' ' || byte == 0) {
        Ok(value)
    } else {
        Err("a number has digits after its end")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256_and_never_overflow() {
        assert_eq!(number(b"0000644\0"), Ok(0o644));
        assert_eq!(number(b" 644 \0\0\0"), Ok(0o644));
        assert_eq!(number(b"\0\0\0\0"), Ok(0));
        assert_eq!(number(&[0x80, 0, 0, 1, 0]), Ok(256));
        assert_eq!(number(&[0xff, 0xff, 0xff, 0xff]), Ok(-1));
        assert!(number(&[0x80, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).is_err());
        assert!(number(b"12x").is_err());
        assert!(number(b"12 4").is_err());
        assert!(number(b"7777777777777777777777777").is_err());
    }
}
