use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;

use container_runtime::monitor::{FrameKind, FromMonitor, ToMonitor};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use crate::{Engine, Error};

/// The largest piece of output that a monitor sends at once.
const MAX_FRAME: usize = 1 << 20;

/// A connection to a running container: its output, its input, and its terminal's size.
#[derive(Debug)]
pub struct Attachment {
    /// What comes from the container.
    pub output: Output,
    /// What goes to it.
    pub input: Input,
}

/// The output of a container.
#[derive(Debug)]
pub struct Output {
    stream: OwnedReadHalf,
    buffer: Vec<u8>,
}

/// One piece of output.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Standard output, or the terminal.
    Stdout(&'a [u8]),
    /// Standard error.
    Stderr(&'a [u8]),
    /// The container ended with this code; nothing comes after it.
    Exited(i32),
    /// The connection ended, and the container's end is not known.
    Closed,
}

/// The input of a container. Dropping it leaves the container's standard input as it is.
#[derive(Debug)]
pub struct Input {
    stream: OwnedWriteHalf,
}

impl Attachment {
    pub(crate) fn new(stream: StdUnixStream) -> Result<Self, Error> {
        let failed = |source| Error::Io { action: "attach by", path: "attach.sock".into(), source };
        stream.set_nonblocking(true).map_err(failed)?;
        let (read, write) = UnixStream::from_std(stream).map_err(failed)?.into_split();
        Ok(Self { output: Output { stream: read, buffer: Vec::new() }, input: Input { stream: write } })
    }
}

impl Output {
    /// The next piece; waits for it.
    pub async fn next(&mut self) -> Result<Piece<'_>, Error> {
        let mut header = [0; 8];
        match self.stream.read_exact(&mut header).await {
            Ok(_) => {}
            Err(error) if closed(&error) => return Ok(Piece::Closed),
            Err(error) => return Err(failed(error)),
        }
        let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
        if length > MAX_FRAME {
            return Err(failed(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("a frame of {length} bytes"),
            )));
        }
        self.buffer.resize(length, 0);
        match self.stream.read_exact(&mut self.buffer).await {
            Ok(_) => {}
            Err(error) if closed(&error) => return Ok(Piece::Closed),
            Err(error) => return Err(failed(error)),
        }
        match FrameKind::from_byte(header[0]) {
            Some(FrameKind::Stdout) => Ok(Piece::Stdout(&self.buffer)),
            Some(FrameKind::Stderr) => Ok(Piece::Stderr(&self.buffer)),
            Some(FrameKind::Control) => match serde_json::from_slice(&self.buffer) {
                Ok(FromMonitor::Exited { code }) => Ok(Piece::Exited(code)),
                // an answer to somebody's question is no output
                Ok(FromMonitor::Reloaded { .. }) => Ok(Piece::Stdout(&[])),
                Err(error) => Err(failed(error.into())),
            },
            _ => Err(failed(io::Error::new(io::ErrorKind::InvalidData, "a frame of an unknown kind"))),
        }
    }
}

impl Input {
    /// Gives bytes to the process.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if bytes.is_empty() { Ok(()) } else { self.send(FrameKind::Stdin, bytes).await }
    }

    /// Ends the process's standard input.
    pub async fn close(&mut self) -> Result<(), Error> {
        self.send(FrameKind::Stdin, &[]).await
    }

    /// Sets the size of its terminal.
    pub async fn resize(&mut self, columns: u16, rows: u16) -> Result<(), Error> {
        self.control(ToMonitor::Resize(columns, rows)).await
    }

    /// Signals the process.
    pub async fn signal(&mut self, signal: i32) -> Result<(), Error> {
        self.control(ToMonitor::Signal(signal)).await
    }

    async fn control(&mut self, message: ToMonitor) -> Result<(), Error> {
        let text = serde_json::to_vec(&message).map_err(|error| failed(error.into()))?;
        self.send(FrameKind::Control, &text).await
    }

    async fn send(&mut self, kind: FrameKind, content: &[u8]) -> Result<(), Error> {
        for piece in content.chunks(MAX_FRAME / 16).chain(content.is_empty().then_some(content)) {
            let header = kind.header(piece.len() as u32);
            let frame = [&header, piece].concat();
            match self.stream.write_all(&frame).await {
                // a container that has ended takes no input, which its output tells
                Err(error) if closed(&error) => return Ok(()),
                result => result.map_err(failed)?,
            }
        }
        Ok(())
    }
}

fn closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}

fn failed(source: io::Error) -> Error {
    Error::Io { action: "talk by", path: "attach.sock".into(), source }
}

impl Engine {
    /// Connects to a running container. Output from now on comes; what came before is in the log.
    pub async fn attach(&self, text: &str) -> Result<Attachment, Error> {
        let row = self.find_row(text)?;
        if !self.is_running(&row.id)? {
            return Err(Error::ContainerNotRunning(row.name));
        }
        Attachment::new(self.connect_monitor(&row.id)?)
    }
}
