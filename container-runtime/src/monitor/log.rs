//! The log: Docker's json-file lines, in files that rotate.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use super::LogSpec;
use crate::{Error, Timestamp};

/// The longest piece of a line that is kept back until its end comes, bytes; as in Docker.
const LONGEST: usize = 16 << 10;

/// How much is gathered for one write, bytes, give or take a line.
const LARGEST_WRITE: usize = 48 << 10;

/// Which output a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

#[derive(Debug)]
pub(crate) struct Log {
    spec: LogSpec,
    file: File,
    size: u64,
    /// Beginnings of lines, of stdout and stderr.
    open: [Vec<u8>; 2],
    lines: Vec<u8>,
}

impl Log {
    pub(crate) fn open(spec: &LogSpec) -> Result<Self, Error> {
        let open = || -> io::Result<(File, u64)> {
            let mut file =
                File::options().read(true).append(true).create(true).mode(0o640).open(&spec.path)?;
            let size = drop_torn_line(&mut file)?;
            Ok((file, size))
        };
        let (file, size) = open().map_err(Error::file("open", &spec.path))?;
        Ok(Self { spec: spec.clone(), file, size, open: [Vec::new(), Vec::new()], lines: Vec::new() })
    }

    /// Writes the lines that `bytes` completes; they are in the file when it returns.
    pub(crate) fn write(&mut self, stream: Stream, mut bytes: &[u8]) -> io::Result<()> {
        let time = Timestamp::now();
        let which = stream as usize;
        while !bytes.is_empty() {
            // short lines grow many times over as JSON, and a bounded file takes one line too many at the most
            let collected = self.lines.len() as u64;
            let full = self.spec.max_size.is_some_and(|max| collected >= max || self.size + collected > max);
            if self.lines.len() >= LARGEST_WRITE || full {
                self.flush()?;
            }
            let end = bytes.iter().position(|&b| b == b'\n').map_or(bytes.len(), |at| at + 1);
            let Some(open) = self.open.get_mut(which) else { break };
            let room = LONGEST.saturating_sub(open.len()).max(1);
            let (piece, rest) = bytes.split_at(end.min(room));
            bytes = rest;
            if open.is_empty() && piece.ends_with(b"\n") {
                line(&mut self.lines, stream, piece, time);
                continue;
            }
            open.extend_from_slice(piece);
            if open.ends_with(b"\n") {
                line(&mut self.lines, stream, open, time);
                open.clear();
            } else if open.len() >= LONGEST {
                let whole = whole_characters(open);
                line(&mut self.lines, stream, open.get(..whole).unwrap_or_default(), time);
                open.drain(..whole);
            }
        }
        self.flush()
    }

    /// Writes what has no line end yet: the process has ended.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        let time = Timestamp::now();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let open = self.open.get_mut(stream as usize).map(std::mem::take).unwrap_or_default();
            if !open.is_empty() {
                line(&mut self.lines, stream, &open, time);
            }
        }
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let length = self.lines.len() as u64;
        if self.size > 0 && self.spec.max_size.is_some_and(|max| self.size + length > max) {
            self.rotate()?;
        }
        let done = self.file.write_all(&self.lines);
        self.lines.clear();
        // a long line of control characters must not stay with us
        self.lines.shrink_to(LARGEST_WRITE);
        if done.is_err() {
            // a full disk: no torn line is left, later lines get another chance
            let _ = self.file.set_len(self.size);
            return done;
        }
        self.size += length;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let name = |number: u32| -> PathBuf {
            let mut path = self.spec.path.clone().into_os_string();
            path.push(format!(".{number}"));
            path.into()
        };
        let older = self.spec.max_files.unwrap_or(1).clamp(1, 1000) - 1;
        if older == 0 {
            self.file.set_len(0)?;
        } else {
            for number in (1..older).rev() {
                match fs::rename(name(number), name(number + 1)) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    done => done?,
                }
            }
            fs::rename(&self.spec.path, name(1))?;
            self.file =
                File::options().read(true).append(true).create(true).mode(0o640).open(&self.spec.path)?;
        }
        self.size = 0;
        Ok(())
    }
}

/// Cuts off a last line that a power loss has left without its end; gives the size.
fn drop_torn_line(file: &mut File) -> io::Result<u64> {
    let size = file.seek(SeekFrom::End(0))?;
    let tail = size.min(1 << 20);
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(size - tail))?;
    let mut last = [0];
    if size == 0 || (file.read_exact_at(&mut last, size - 1).is_ok() && last == *b"\n") {
        return Ok(size);
    }
    file.read_to_end(&mut bytes)?;
    let kept = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |at| at as u64 + 1);
    file.set_len(size - tail + kept)?;
    Ok(size - tail + kept)
}

/// The length without a character at the end that has only begun.
fn whole_characters(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => error.valid_up_to(),
        _ => bytes.len(),
    }
}

/// Appends one json-file line. Bytes that are not UTF-8 become U+FFFD, as in Docker.
fn line(to: &mut Vec<u8>, stream: Stream, content: &[u8], time: Timestamp) {
    to.extend_from_slice(br#"{"log":""#);
    for chunk in content.utf8_chunks() {
        for &byte in chunk.valid().as_bytes() {
            match byte {
                b'"' => to.extend_from_slice(br#"\""#),
                b'\\' => to.extend_from_slice(br"\\"),
                b'\n' => to.extend_from_slice(br"\n"),
                b'\r' => to.extend_from_slice(br"\r"),
                b'\t' => to.extend_from_slice(br"\t"),
                0..0x20 | 0x7f => to.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
                _ => to.push(byte),
            }
        }
        if !chunk.invalid().is_empty() {
            to.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    let stream = match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
    };
    to.extend_from_slice(format!("\",\"stream\":\"{stream}\",\"time\":\"{time}\"}}\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(max_size: Option<u64>, max_files: Option<u32>) -> (tempfile::TempDir, Log) {
        let directory = tempfile::tempdir().expect("a directory");
        let spec = LogSpec { path: directory.path().join("log"), max_size, max_files };
        let log = Log::open(&spec).expect("a log");
        (directory, log)
    }

    fn read(log: &Log) -> Vec<(String, String)> {
        let text = fs::read_to_string(&log.spec.path).expect("the log");
        text.lines()
            .map(|line| {
                let value: serde_json::Value = serde_json::from_str(line).expect(line);
                let part = |name: &str| value[name].as_str().expect(name).to_owned();
                assert!(part("time").ends_with('Z'));
                (part("stream"), part("log"))
            })
            .collect()
    }

    #[test]
    fn lines_are_whole_however_the_output_is_cut() {
        let (_directory, mut log) = log(None, None);
        for piece in ["one\ntw", "o\n", "\"quo\\ted\"\t\u{1}é", "\n", "no end"] {
            log.write(Stream::Stdout, piece.as_bytes()).expect("write");
        }
        log.write(Stream::Stderr, b"bad \xff utf\n").expect("write");
        log.finish().expect("finish");
        let expected = ["one\n", "two\n", "\"quo\\ted\"\t\u{1}é\n", "bad \u{fffd} utf\n", "no end"];
        let found = read(&log);
        assert_eq!(found.iter().map(|(_, line)| line.as_str()).collect::<Vec<_>>(), expected);
        assert_eq!(found[3].0, "stderr");
    }

    #[test]
    fn a_line_without_end_is_cut_between_characters_and_memory_stays_bounded() {
        let (_directory, mut log) = log(None, None);
        let text = "é".repeat(40_000);
        for piece in text.as_bytes().chunks(4095) {
            log.write(Stream::Stdout, piece).expect("write");
            assert!(log.open[0].len() <= LONGEST);
        }
        log.finish().expect("finish");
        assert_eq!(read(&log).iter().map(|(_, line)| line.as_str()).collect::<String>(), text);
    }

    #[test]
    fn full_files_rotate_and_the_oldest_goes() {
        let (directory, mut log) = log(Some(300), Some(3));
        for number in 0..30 {
            log.write(Stream::Stdout, format!("line {number}\n").as_bytes()).expect("write");
        }
        let mut names: Vec<_> =
            fs::read_dir(directory.path()).expect("list").map(|e| e.expect("e").file_name()).collect();
        names.sort();
        assert_eq!(names, ["log", "log.1", "log.2"]);
        assert!(read(&log).last().expect("a line").1 == "line 29\n");
        for name in names {
            assert!(fs::metadata(directory.path().join(name)).expect("stat").len() <= 300);
        }
    }

    #[test]
    fn a_torn_last_line_is_dropped_when_the_log_is_opened_again() {
        let (_directory, mut log) = log(None, None);
        log.write(Stream::Stdout, b"kept\n").expect("write");
        log.file.write_all(br#"{"log":"to"#).expect("tear");
        let mut again = Log::open(&log.spec).expect("open");
        again.write(Stream::Stdout, b"more\n").expect("write");
        assert_eq!(read(&again).len(), 2);
    }
}
