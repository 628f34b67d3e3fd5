//! Inflating and hashing in one thread, and work on what comes out in another.

use std::io::{self, BufRead, Read};
use std::sync::mpsc;

use crate::digest::Hasher;
use crate::{Digest, Error};

/// Bytes that pass between the threads at once.
pub(crate) const CHUNK: usize = 256 << 10;
/// So many pieces may wait.
const WAITING: usize = 32;

/// Reads and hashes `input` in a thread of its own while `consume` works on what has been read. Returns the digest of
/// everything that was read, by the algorithm of `like`.
pub(crate) fn beside<T>(
    mut input: Box<dyn Read + Send + '_>,
    like: &Digest,
    consume: impl FnOnce(Pieces) -> Result<T, Error>,
) -> Result<(T, Digest), Error> {
    let (sender, receiver) = mpsc::sync_channel::<io::Result<Piece>>(WAITING);
    let (give_back, spare) = mpsc::channel::<Vec<u8>>();
    let mut hasher = Hasher::new(like.algorithm());
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            loop {
                let mut bytes = spare.try_recv().unwrap_or_else(|_| vec![0; CHUNK]);
                match fill(&mut input, &mut bytes) {
                    Ok(0) => return hasher.finish(),
                    Ok(length) => {
                        hasher.update(&bytes[..length]);
                        // the consumer went away with an error of its own
                        if sender.send(Ok(Piece { bytes, length })).is_err() {
                            return hasher.finish();
                        }
                    }
                    Err(error) => {
                        let _ = sender.send(Err(error));
                        return hasher.finish();
                    }
                }
            }
        });
        let piece = Piece { bytes: Vec::new(), length: 0 };
        let consumed = consume(Pieces { receiver, give_back, piece, at: 0 });
        let digest = reader.join().map_err(|_| Error::Read {
            object: "the archive".to_owned(),
            source: io::ErrorKind::Other.into(),
        })?;
        Ok((consumed?, digest))
    })
}

/// Reads until `buffer` is full or the input ends.
fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

struct Piece {
    bytes: Vec<u8>,
    length: usize,
}

/// What was read, piece by piece. Buffers go back to be filled again.
pub(crate) struct Pieces {
    receiver: mpsc::Receiver<io::Result<Piece>>,
    give_back: mpsc::Sender<Vec<u8>>,
    piece: Piece,
    at: usize,
}

impl BufRead for Pieces {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.piece.length
            && let Ok(next) = self.receiver.recv()
        {
            let done = std::mem::replace(&mut self.piece, next?);
            self.at = 0;
            if !done.bytes.is_empty() {
                // a reader that has ended wants none back
                let _ = self.give_back.send(done.bytes);
            }
        }
        Ok(&self.piece.bytes[self.at..self.piece.length])
    }

    fn consume(&mut self, count: usize) {
        self.at = (self.at + count).min(self.piece.length);
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let piece = self.fill_buf()?;
        let count = buffer.len().min(piece.len());
        buffer[..count].copy_from_slice(&piece[..count]);
        self.consume(count);
        Ok(count)
    }
}
