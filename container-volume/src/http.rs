//! As much of HTTP/1.1 as the plugin protocol needs: one message on a connection, bounded in time and size.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

/// Largest body of a message.
pub(crate) const LARGEST_BODY: u64 = 1 << 20;
/// All lines before the body together.
const LARGEST_HEAD: u64 = 16 << 10;

/// A connection to or from a driver.
pub(crate) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// A connection that is over at a moment, however slowly the other side drips.
pub(crate) struct Timed {
    stream: Stream,
    until: Instant,
}

impl Timed {
    pub(crate) fn new(stream: Stream, until: Instant) -> Self {
        Self { stream, until }
    }

    fn left(&self) -> io::Result<Option<Duration>> {
        match self.until.checked_duration_since(Instant::now()) {
            Some(left) if !left.is_zero() => Ok(Some(left)),
            _ => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

/// A timeout has two names, by the kind of socket.
fn late(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock { io::ErrorKind::TimedOut.into() } else { error }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.left()?;
        match &mut self.stream {
            Stream::Unix(stream) => stream.set_read_timeout(left).and_then(|()| stream.read(buffer)),
            Stream::Tcp(stream) => stream.set_read_timeout(left).and_then(|()| stream.read(buffer)),
        }
        .map_err(late)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = self.left()?;
        match &mut self.stream {
            Stream::Unix(stream) => stream.set_write_timeout(left).and_then(|()| stream.write(bytes)),
            Stream::Tcp(stream) => stream.set_write_timeout(left).and_then(|()| stream.write(bytes)),
        }
        .map_err(late)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A message: its first line and its body.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) first: String,
    pub(crate) body: Vec<u8>,
}

/// Why there is no message.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The connection's, or time ran out.
    Io(io::Error),
    /// It is no message that we take.
    Wrong(&'static str),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads one message. `to_the_end` says what a body without a length means: everything that comes (an answer), or nothing
/// (a request).
pub(crate) fn read(stream: impl Read, to_the_end: bool) -> Result<Message, Fault> {
    let mut input = BufReader::new(stream);
    let mut room = LARGEST_HEAD;
    let first = line(&mut input, &mut room)?;
    let (mut length, mut chunked) = (None, false);
    loop {
        let text = line(&mut input, &mut room)?;
        if text.is_empty() {
            break;
        }
        let (name, value) = text.split_once(':').ok_or(Fault::Wrong("a header has no colon"))?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            let number = value.parse::<u64>().map_err(|_| Fault::Wrong("its length is no number"))?;
            if length.is_some_and(|before| before != number) {
                return Err(Fault::Wrong("it has two lengths"));
            }
            length = Some(number);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            if !value.eq_ignore_ascii_case("chunked") {
                return Err(Fault::Wrong("its transfer encoding is not known"));
            }
            chunked = true;
        }
    }
    let mut body = Vec::new();
    match length {
        _ if chunked => loop {
            let text = line(&mut input, &mut room)?;
            let digits = text.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(digits, 16)
                .ok()
                .filter(|_| !digits.starts_with('+'))
                .ok_or(Fault::Wrong("a chunk's size is no number"))?;
            if size == 0 {
                break;
            }
            if size > LARGEST_BODY - body.len() as u64 {
                return Err(Fault::Wrong("it is larger than 1 MiB"));
            }
            take(&mut input, size, &mut body)?;
            if !line(&mut input, &mut 2)?.is_empty() {
                return Err(Fault::Wrong("a chunk is longer than it says"));
            }
        },
        Some(length) if length > LARGEST_BODY => return Err(Fault::Wrong("it is larger than 1 MiB")),
        Some(length) => take(&mut input, length, &mut body)?,
        None if to_the_end => {
            input.take(LARGEST_BODY + 1).read_to_end(&mut body)?;
            if body.len() as u64 > LARGEST_BODY {
                return Err(Fault::Wrong("it is larger than 1 MiB"));
            }
        }
        None => {}
    }
    Ok(Message { first, body })
}

fn take(input: &mut impl Read, size: u64, body: &mut Vec<u8>) -> Result<(), Fault> {
    // never more memory than has come
    let read = input.take(size).read_to_end(body)?;
    if read as u64 == size { Ok(()) } else { Err(Fault::Io(io::ErrorKind::UnexpectedEof.into())) }
}

/// One line without its end. The room is what all lines of a message may take.
fn line(input: &mut impl BufRead, room: &mut u64) -> Result<String, Fault> {
    let mut bytes = Vec::new();
    input.take(*room).read_until(b'\n', &mut bytes)?;
    *room -= bytes.len() as u64;
    if bytes.pop() != Some(b'\n') {
        return Err(if *room == 0 {
            Fault::Wrong("its head is longer than 16 KiB")
        } else {
            Fault::Io(io::ErrorKind::UnexpectedEof.into())
        });
    }
    if bytes.last() == Some(&b'\r') {
        bytes.pop();
    }
    String::from_utf8(bytes).map_err(|_| Fault::Wrong("its head is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &str) -> Result<Vec<u8>, Fault> {
        read(text.as_bytes(), true).map(|message| message.body)
    }

    #[test]
    fn a_body_has_a_length_chunks_or_the_end() {
        assert_eq!(body("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabc").unwrap(), b"ab");
        assert_eq!(
            body("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nab\r\n1\r\nc\r\n0\r\n\r\n")
                .unwrap(),
            b"abc"
        );
        assert_eq!(body("HTTP/1.0 200 OK\n\nabc").unwrap(), b"abc");
    }

    #[test]
    fn lies_and_bombs_are_refused() {
        for bad in [
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7fffffffffffffff\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            "HTTP/1.1 200 OK\r\nnothing\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
            "",
        ] {
            assert!(body(bad).is_err(), "{bad:?}");
        }
        assert!(body(&"x".repeat(1 << 20)).is_err());
        assert!(body(&format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(10_000))).is_err());
        assert!(body(&format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(2 << 20))).is_err());
    }
}
