//! A gzip writer that packs blocks side by side.
//!
//! The result is one member, and the same bytes however many processors there are: every block is packed for itself and
//! ends on a byte, as RFC 1951 allows it by an empty stored block.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

use flate2::{Compress, Compression, Crc, FlushCompress};

/// Bytes that are packed at once. What repeats over more is not found, which costs less than a hundredth of the size.
const BLOCK: usize = 1 << 20;
/// So many threads at most.
const THREADS: usize = 8;
/// The fourth level: beyond it, gzip takes twice the time for a hundredth of the size.
const LEVEL: u32 = 4;

struct Job {
    block: Vec<u8>,
    answer: mpsc::Sender<io::Result<Packed>>,
}

struct Packed {
    bytes: Vec<u8>,
    crc: Crc,
    /// The block, to be filled again.
    block: Vec<u8>,
}

/// Packs what is written. [`finish`](Self::finish) it, else what comes out is not whole.
pub(crate) struct Gzip<W: Write> {
    output: W,
    jobs: Option<mpsc::SyncSender<Job>>,
    workers: Vec<JoinHandle<()>>,
    /// Blocks that are being packed, the first one first.
    waiting: VecDeque<mpsc::Receiver<io::Result<Packed>>>,
    block: Vec<u8>,
    crc: Crc,
}

impl<W: Write> Gzip<W> {
    pub(crate) fn new(mut output: W) -> io::Result<Self> {
        // no name, no time, an unknown system: the same input gives the same bytes
        output.write_all(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255])?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS);
        let (jobs, queue) = mpsc::sync_channel::<Job>(threads);
        let queue = Arc::new(Mutex::new(queue));
        let work = |queue: Arc<Mutex<mpsc::Receiver<Job>>>| {
            let mut deflate = Compress::new(Compression::new(LEVEL), false);
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok(Job { block, answer }) = next else { return };
                // a writer that was dropped wants no answer
                let _ = answer.send(pack(&mut deflate, block));
            }
        };
        let workers = (0..threads)
            .map(|_| {
                let queue = Arc::clone(&queue);
                std::thread::Builder::new().spawn(move || work(queue))
            })
            .collect::<io::Result<Vec<_>>>()?;
        let block = Vec::with_capacity(BLOCK);
        Ok(Self { output, jobs: Some(jobs), workers, waiting: VecDeque::new(), block, crc: Crc::new() })
    }

    /// Writes what is left, and the end.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        if !self.block.is_empty() {
            self.submit()?;
        }
        while !self.waiting.is_empty() {
            self.take()?;
        }
        // the last block: empty, by fixed codes
        self.output.write_all(&[3, 0])?;
        self.output.write_all(&self.crc.sum().to_le_bytes())?;
        self.output.write_all(&self.crc.amount().to_le_bytes())?;
        self.output.flush()
    }

    fn submit(&mut self) -> io::Result<()> {
        let (answer, receiver) = mpsc::channel();
        let block = std::mem::take(&mut self.block);
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.jobs.as_ref().ok_or(io::ErrorKind::BrokenPipe)?.send(Job { block, answer }).map_err(gone)?;
        self.waiting.push_back(receiver);
        if self.waiting.len() > 2 * self.workers.len() {
            self.take()?;
        }
        if self.block.capacity() == 0 {
            self.block = Vec::with_capacity(BLOCK);
        }
        Ok(())
    }

    /// Waits for the first block that is not written yet, and writes it.
    fn take(&mut self) -> io::Result<()> {
        let Some(receiver) = self.waiting.pop_front() else { return Ok(()) };
        let packed = receiver.recv().map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))??;
        self.crc.combine(&packed.crc);
        if self.block.capacity() == 0 {
            self.block = packed.block;
            self.block.clear();
        }
        self.output.write_all(&packed.bytes)
    }
}

fn pack(deflate: &mut Compress, block: Vec<u8>) -> io::Result<Packed> {
    deflate.reset();
    let mut bytes = Vec::with_capacity(block.len() / 2 + 1024);
    loop {
        let from = deflate.total_in() as usize;
        deflate
            .compress_vec(block.get(from..).unwrap_or_default(), &mut bytes, FlushCompress::Sync)
            .map_err(io::Error::other)?;
        // room that is left says that nothing waits to be written
        if deflate.total_in() as usize == block.len() && bytes.len() < bytes.capacity() {
            break;
        }
        bytes.reserve(block.len() / 2 + 1024);
    }
    let mut crc = Crc::new();
    crc.update(&block);
    Ok(Packed { bytes, crc, block })
}

impl<W: Write> Write for Gzip<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..count]);
        if self.block.len() == BLOCK {
            self.submit()?;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write> Drop for Gzip<W> {
    fn drop(&mut self) {
        // without jobs, the workers end
        self.jobs = None;
        for worker in self.workers.drain(..) {
            let _ = worker.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::{BLOCK, Gzip};

    #[test]
    fn what_is_packed_in_blocks_is_one_member_that_unpacks_to_the_same() {
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 5 * BLOCK + 17] {
            let mut seed = 1u64;
            let plain: Vec<u8> = (0..length)
                .map(|at| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    // every third block packs badly, the others well
                    if (at / BLOCK) % 3 == 2 { (seed >> 56) as u8 } else { (seed >> 62) as u8 }
                })
                .collect();
            let pack = || {
                let mut packed = Vec::new();
                let mut gzip = Gzip::new(&mut packed).unwrap();
                gzip.write_all(&plain).unwrap();
                gzip.finish().unwrap();
                packed
            };
            let packed = pack();
            assert_eq!(packed, pack(), "not the same bytes twice");
            let mut unpacked = Vec::new();
            // this one knows a single member only, and checks sum and length
            flate2::bufread::GzDecoder::new(packed.as_slice()).read_to_end(&mut unpacked).unwrap();
            assert!(unpacked == plain, "{length}");
        }
    }
}
