//! Netlink's framing: messages, attributes, a socket that sends a batch and reads what comes back
//! (`include/uapi/linux/netlink.h`).

use std::{io, os::fd::OwnedFd, time::Duration};

use rustix::net::{
    self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink::SocketAddrNetlink, sockopt,
};

use crate::{Error, Result};

pub(crate) const REQUEST: u16 = 1;
pub(crate) const ACK: u16 = 4;
pub(crate) const DUMP: u16 = 0x300;
pub(crate) const CREATE: u16 = 0x400;
pub(crate) const EXCL: u16 = 0x200;
pub(crate) const REPLACE: u16 = 0x100;
pub(crate) const APPEND: u16 = 0x800;

const ERROR: u16 = 2;
const DONE: u16 = 3;
const NESTED: u16 = 0x8000;
const DUMP_INTERRUPTED: u16 = 0x10;

/// One request and, for errors and explanations, what it does.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    bytes: Vec<u8>,
    /// `create bridge br0`, as it goes behind "cannot".
    pub(crate) purpose: String,
}

impl Message {
    pub(crate) fn new(kind: u16, flags: u16, purpose: impl Into<String>) -> Self {
        let mut bytes = Vec::with_capacity(128);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&(flags | REQUEST).to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        Self { bytes, purpose: purpose.into() }
    }

    /// Appends a fixed header or other raw bytes, padded to four.
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self.pad();
        self
    }

    pub(crate) fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let length = (value.len() + 4) as u16;
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(value);
        self.pad();
        self
    }

    pub(crate) fn byte(self, kind: u16, value: u8) -> Self {
        self.attribute(kind, &[value])
    }

    /// A number in the machine's order, as route netlink has them.
    pub(crate) fn number(self, kind: u16, value: u32) -> Self {
        self.attribute(kind, &value.to_ne_bytes())
    }

    /// A number in network order, as nfnetlink has them.
    pub(crate) fn big_endian(self, kind: u16, value: u32) -> Self {
        self.attribute(kind, &value.to_be_bytes())
    }

    /// Text with its terminating zero.
    pub(crate) fn text(self, kind: u16, value: &str) -> Self {
        let mut bytes = Vec::with_capacity(value.len() + 1);
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0);
        self.attribute(kind, &bytes)
    }

    /// An attribute whose value is made of attributes.
    pub(crate) fn nest(mut self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        let mut filled = fill(self);
        let length = (filled.bytes.len() - start) as u16;
        if let Some(place) = filled.bytes.get_mut(start..start + 2) {
            place.copy_from_slice(&length.to_ne_bytes());
        }
        filled
    }

    fn pad(&mut self) {
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
    }

    /// The finished bytes with length, sequence number and further flags set.
    fn finish(&self, sequence: u32, flags: u16, into: &mut Vec<u8>) {
        let start = into.len();
        into.extend_from_slice(&self.bytes);
        let length = self.bytes.len() as u32;
        if let Some(header) = into.get_mut(start..start + 16) {
            let (size, rest) = header.split_at_mut(4);
            size.copy_from_slice(&length.to_ne_bytes());
            let (_, rest) = rest.split_at_mut(2);
            let (flag_place, rest) = rest.split_at_mut(2);
            let own = u16::from_ne_bytes([
                flag_place.first().copied().unwrap_or(0),
                flag_place.get(1).copied().unwrap_or(0),
            ]);
            flag_place.copy_from_slice(&(own | flags).to_ne_bytes());
            let (sequence_place, _) = rest.split_at_mut(4);
            sequence_place.copy_from_slice(&sequence.to_ne_bytes());
        }
    }
}

/// Goes through attributes; what does not fit ends it.
#[derive(Clone)]
pub(crate) struct Attributes<'a>(pub(crate) &'a [u8]);

impl<'a> Attributes<'a> {
    pub(crate) fn find(&self, kind: u16) -> Option<&'a [u8]> {
        let mut all = self.clone();
        all.find_map(|(k, value)| (k == kind).then_some(value))
    }

    pub(crate) fn number(&self, kind: u16) -> Option<u32> {
        self.find(kind).and_then(u32_ne)
    }

    pub(crate) fn big_endian(&self, kind: u16) -> Option<u32> {
        self.find(kind).and_then(|v| v.try_into().ok()).map(u32::from_be_bytes)
    }

    pub(crate) fn text(&self, kind: u16) -> Option<String> {
        self.find(kind).map(|value| {
            let text = value.split(|&b| b == 0).next().unwrap_or_default();
            String::from_utf8_lossy(text).into_owned()
        })
    }

    pub(crate) fn nested(&self, kind: u16) -> Attributes<'a> {
        Attributes(self.find(kind).unwrap_or_default())
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(u16_ne(self.0.get(0..2)?)?);
        let kind = u16_ne(self.0.get(2..4)?)? & 0x3fff;
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

pub(crate) fn u16_ne(bytes: &[u8]) -> Option<u16> {
    bytes.try_into().ok().map(u16::from_ne_bytes)
}

pub(crate) fn u32_ne(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_ne_bytes)
}

/// A netlink socket of the calling thread's network namespace.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    pub(crate) fn route() -> Result<Self> {
        Self::open(None)
    }

    pub(crate) fn netfilter() -> Result<Self> {
        Self::open(Some(net::netlink::NETFILTER))
    }

    fn open(protocol: Option<net::Protocol>) -> Result<Self> {
        let failed = |e: rustix::io::Errno| Error::kernel("open a netlink socket", e);
        let fd = net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)
            .map_err(failed)?;
        // the kernel answers before sendto returns; the limit is for the case that it does not
        sockopt::set_socket_timeout(&fd, sockopt::Timeout::Recv, Some(Duration::from_secs(10)))
            .map_err(failed)?;
        // a large table comes in pages of up to 32 KiB; the kernel clamps this to rmem_max
        let _ = sockopt::set_socket_recv_buffer_size(&fd, 1 << 20);
        Ok(Self { fd, sequence: 1 })
    }

    /// Sends independent requests in one go. Each is acknowledged; the first that fails is the error, and
    /// the others were carried out all the same.
    pub(crate) fn run(&mut self, requests: &[Message]) -> Result<()> {
        let Some(last) = requests.len().checked_sub(1) else { return Ok(()) };
        let first = self.sequence;
        let mut bytes = Vec::new();
        for request in requests {
            request.finish(self.sequence, ACK, &mut bytes);
            self.sequence = self.sequence.wrapping_add(1);
        }
        self.send(&bytes, requests)?;
        let mut failure = None;
        self.answers(requests, |sequence, _, outcome| {
            let position = sequence.wrapping_sub(first) as usize;
            if let (Answer::Result(number), true) = (outcome, failure.is_none())
                && number != 0
            {
                failure = Some((position, number));
            }
            Ok(position == last)
        })?;
        failure.map_or(Ok(()), |failure| Err(refusal(requests, failure)))
    }

    /// Sends requests that the kernel carries out all or not at all (nfnetlink batches, begin and end included).
    pub(crate) fn transact(&mut self, requests: &[Message]) -> Result<()> {
        let first = self.sequence;
        let acknowledged = requests.len().saturating_sub(2);
        let mut bytes = Vec::new();
        for (position, request) in requests.iter().enumerate() {
            request.finish(self.sequence, if position == acknowledged { ACK } else { 0 }, &mut bytes);
            self.sequence = self.sequence.wrapping_add(1);
        }
        if bytes.len() > 200_000 {
            let _ = sockopt::set_socket_send_buffer_size_force(&self.fd, bytes.len() * 2);
        }
        self.send(&bytes, requests)?;
        let mut failure = None;
        self.answers(requests, |sequence, _, outcome| {
            let position = sequence.wrapping_sub(first) as usize;
            if let Answer::Result(number) = outcome
                && number != 0
            {
                failure = Some((position, number));
                return Ok(true);
            }
            Ok(position == acknowledged)
        })?;
        failure.map_or(Ok(()), |failure| Err(refusal(requests, failure)))
    }

    /// Asks for a list and hands each entry's kind and body to `each`. An interrupted dump is taken again.
    pub(crate) fn dump<T>(
        &mut self,
        request: &Message,
        mut each: impl FnMut(u16, &[u8]) -> Option<T>,
    ) -> Result<Vec<T>> {
        let mut attempts = 0;
        loop {
            let sequence = self.sequence;
            self.sequence = self.sequence.wrapping_add(1);
            let mut bytes = Vec::new();
            request.finish(sequence, DUMP, &mut bytes);
            let requests = std::slice::from_ref(request);
            self.send(&bytes, requests)?;
            let (mut list, mut failure, mut interrupted) = (Vec::new(), None, false);
            self.answers(requests, |answered, flags, outcome| {
                if answered != sequence {
                    return Ok(false);
                }
                interrupted |= flags & DUMP_INTERRUPTED != 0;
                match outcome {
                    Answer::Item(kind, body) => {
                        list.extend(each(kind, body));
                        Ok(false)
                    }
                    Answer::Result(number) => {
                        failure = (number != 0).then_some((0, number));
                        Ok(true)
                    }
                }
            })?;
            if let Some((_, number)) = failure
                && !(number == rustix::io::Errno::INTR.raw_os_error() && attempts < 10)
            {
                return Err(refusal(requests, (0, number)));
            }
            attempts += 1;
            if (!interrupted && failure.is_none()) || attempts > 10 {
                return Ok(list);
            }
        }
    }

    /// Asks for one object; none if the kernel has no such thing.
    pub(crate) fn ask<T>(
        &mut self,
        request: &Message,
        mut read: impl FnMut(u16, &[u8]) -> Option<T>,
    ) -> Result<Option<T>> {
        let sequence = self.sequence;
        self.sequence = self.sequence.wrapping_add(1);
        let mut bytes = Vec::new();
        request.finish(sequence, ACK, &mut bytes);
        let requests = std::slice::from_ref(request);
        self.send(&bytes, requests)?;
        let (mut found, mut failure) = (None, None);
        self.answers(requests, |answered, _, outcome| {
            Ok(answered == sequence
                && match outcome {
                    Answer::Item(kind, body) => {
                        found = read(kind, body);
                        false
                    }
                    Answer::Result(number) => {
                        failure = (number != 0).then_some(number);
                        true
                    }
                })
        })?;
        match failure.map(|n| (n, rustix::io::Errno::from_raw_os_error(n))) {
            None => Ok(found),
            Some((_, rustix::io::Errno::NODEV | rustix::io::Errno::NOENT)) => Ok(None),
            Some((number, _)) => Err(refusal(requests, (0, number))),
        }
    }

    fn send(&self, bytes: &[u8], requests: &[Message]) -> Result<()> {
        net::sendto(&self.fd, bytes, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))
            .map(drop)
            .map_err(|e| Error::kernel(purpose(requests, 0), e))
    }

    /// Reads datagrams and hands each message to `each` until that says it is done.
    fn answers(
        &self,
        requests: &[Message],
        mut each: impl FnMut(u32, u16, Answer<'_>) -> Result<bool>,
    ) -> Result<()> {
        let mut buffer = vec![0_u8; 65_536];
        loop {
            let (_, length) = match net::recv(&self.fd, buffer.as_mut_slice(), RecvFlags::TRUNC) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other.map_err(|e| Error::kernel(purpose(requests, 0), e))?,
            };
            let malformed = || Error::Malformed { operation: purpose(requests, 0) };
            let mut rest = buffer.get(..length).ok_or_else(malformed)?;
            while !rest.is_empty() {
                let size = rest.get(0..4).and_then(u32_ne).ok_or_else(malformed)? as usize;
                let kind = rest.get(4..6).and_then(u16_ne).ok_or_else(malformed)?;
                let flags = rest.get(6..8).and_then(u16_ne).ok_or_else(malformed)?;
                let sequence = rest.get(8..12).and_then(u32_ne).ok_or_else(malformed)?;
                let body = rest.get(16..size).ok_or_else(malformed)?;
                let answer = match kind {
                    ERROR | DONE => {
                        let number = body.get(0..4).and_then(u32_ne).map_or(0, |n| (n as i32).wrapping_neg());
                        Answer::Result(number)
                    }
                    _ => Answer::Item(kind, body),
                };
                if each(sequence, flags, answer)? {
                    return Ok(());
                }
                rest = rest.get(size.next_multiple_of(4)..).unwrap_or_default();
            }
        }
    }
}

enum Answer<'a> {
    Item(u16, &'a [u8]),
    Result(i32),
}

fn purpose(requests: &[Message], position: usize) -> String {
    requests.get(position).or(requests.first()).map_or_else(String::new, |r| r.purpose.clone())
}

fn refusal(requests: &[Message], (position, number): (usize, i32)) -> Error {
    Error::kernel(purpose(requests, position), io::Error::from_raw_os_error(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_they_were_written() {
        let message =
            Message::new(1, 0, "test").text(3, "abc").nest(18, |m| m.number(1, 7).nest(2, |m| m.byte(9, 1)));
        let all = Attributes(message.bytes.get(16..).unwrap());
        assert_eq!(all.text(3).as_deref(), Some("abc"));
        assert_eq!(all.nested(18).number(1), Some(7));
        assert_eq!(all.nested(18).nested(2).find(9), Some(&[1_u8][..]));
    }

    #[test]
    fn attributes_that_lie_about_their_length_end_the_walk() {
        for bytes in [&[0_u8, 0, 1, 0][..], &[3, 0, 1, 0], &[200, 0, 1, 0, 1, 1, 1, 1], &[4], &[5, 0, 1, 0]] {
            assert_eq!(Attributes(bytes).count(), 0, "{bytes:?}");
        }
        assert_eq!(Attributes(&[5, 0, 1, 0, 9]).count(), 1);
    }
}
