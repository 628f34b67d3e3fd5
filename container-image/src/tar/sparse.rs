//! Sparse files, in GNU tar's old form and the PAX forms 0.0, 0.1 and 1.0.

use super::header::{BLOCK, Header, number};
use super::pax::{Sparse, decimal};
use crate::Error;

const MAX_SEGMENTS: usize = 1 << 20;

#[derive(Debug)]
pub(crate) struct Map {
    /// Bytes of the file, holes included.
    pub(crate) size: u64,
    /// Offset and length of each piece of data.
    pub(crate) segments: Vec<(u64, u64)>,
}

/// A reason that still needs its entry, or a whole error of the stream.
pub(crate) enum Fault {
    Reason(&'static str),
    Stream(Error),
}

impl Fault {
    pub(crate) fn at(self, refuse: impl Fn(&'static str) -> Error) -> Error {
        match self {
            Self::Reason(reason) => refuse(reason),
            Self::Stream(error) => error,
        }
    }
}

impl From<&'static str> for Fault {
    fn from(reason: &'static str) -> Self {
        Self::Reason(reason)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Stream(error)
    }
}

/// The old GNU form: four pieces in the header, then blocks of 21 while a flag says so.
pub(crate) fn read_gnu(
    header: &Header,
    mut read_block: impl FnMut(&mut [u8; BLOCK]) -> Result<(), Error>,
) -> Result<Map, Fault> {
    let size = header.sparse_number(483)?;
    let mut segments = Vec::new();
    for at in (386..482).step_by(24) {
        push(&mut segments, header.sparse_number(at)?, header.sparse_number(at + 12)?)?;
    }
    let mut more = header.byte(482) != 0;
    while more {
        let mut block = [0; BLOCK];
        read_block(&mut block)?;
        for piece in block[..504].chunks_exact(24) {
            let (offset, length) = piece.split_at(12);
            let offset = u64::try_from(number(offset)?).map_err(|_| "a number is negative")?;
            let length = u64::try_from(number(length)?).map_err(|_| "a number is negative")?;
            push(&mut segments, offset, length)?;
        }
        more = block[504] != 0;
    }
    Ok(Map { size, segments })
}

/// The PAX forms.
pub(crate) fn read_pax(
    sparse: &Sparse,
    read_block: impl FnMut(&mut [u8; BLOCK]) -> Result<(), Error>,
) -> Result<Map, Fault> {
    let size = sparse.size.ok_or("a sparse file has no size")?;
    let in_data;
    let numbers = if sparse.in_data {
        in_data = numbers_in_data(read_block)?;
        &in_data
    } else {
        &sparse.numbers
    };
    if !numbers.len().is_multiple_of(2) {
        return Err("a sparse file's map has an odd count of numbers".into());
    }
    let mut segments = Vec::new();
    for pair in numbers.chunks_exact(2) {
        push(&mut segments, pair[0], pair[1])?;
    }
    Ok(Map { size, segments })
}

/// Version 1.0: lines of decimal numbers, the count of pieces first, filled up to a block.
fn numbers_in_data(
    mut read_block: impl FnMut(&mut [u8; BLOCK]) -> Result<(), Error>,
) -> Result<Vec<u64>, Fault> {
    let mut numbers = Vec::new();
    let mut count = None;
    let mut digits = Vec::new();
    loop {
        let mut block = [0; BLOCK];
        read_block(&mut block)?;
        for byte in block {
            if byte != b'\n' {
                digits.push(byte);
                if digits.len() > 20 {
                    return Err("a number of a sparse file's map is too long".into());
                }
                continue;
            }
            let value = decimal(&digits)?;
            digits.clear();
            match count {
                None if value > MAX_SEGMENTS as u64 => {
                    return Err("a sparse file has more than a million segments".into());
                }
                None => count = Some(value as usize * 2),
                Some(_) => numbers.push(value),
            }
            if count == Some(numbers.len()) {
                return Ok(numbers);
            }
        }
    }
}

fn push(segments: &mut Vec<(u64, u64)>, offset: u64, length: u64) -> Result<(), &'static str> {
    if segments.len() >= MAX_SEGMENTS {
        return Err("a sparse file has more than a million segments");
    }
    // writers end a map with an empty piece at the file's end
    if length > 0 {
        segments.push((offset, length));
    }
    Ok(())
}

/// Pieces must ascend, lie inside the file, and have as much data as is stored.
pub(crate) fn check(segments: &[(u64, u64)], size: u64, stored: u64) -> Result<(), &'static str> {
    let mut end = 0;
    let mut total = 0u64;
    for &(offset, length) in segments {
        if offset < end {
            return Err("the pieces of a sparse file overlap");
        }
        end = offset.checked_add(length).ok_or("a sparse file's piece ends beyond 64 bits")?;
        total = total.checked_add(length).ok_or("a sparse file's pieces are larger than 64 bits")?;
    }
    if end > size {
        return Err("a sparse file's piece lies behind its end");
    }
    if total == stored { Ok(()) } else { Err("a sparse file has another amount of data than its map says") }
}
