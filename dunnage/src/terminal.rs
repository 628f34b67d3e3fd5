//! The person's terminal, and their streams joined to a container's.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::OwnedFd;

use container_engine::{Attachment, ExecProcess, Piece};
use rustix::termios::{OptionalActions, Termios, Winsize, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::context::Failure;

/// The keys that leave a container running: control-p, control-q.
const DETACH: [u8; 2] = [0x10, 0x11];

/// The terminal in raw mode; back as it was when this goes away.
pub(crate) struct Raw {
    before: Termios,
}

impl Raw {
    /// None if standard input is no terminal.
    pub(crate) fn enter() -> Option<Self> {
        let input = io::stdin();
        let before = tcgetattr(&input).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&input, OptionalActions::Now, &raw).ok()?;
        Some(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // a terminal that has gone needs nothing
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// Columns and rows of the person's terminal; none without one.
pub(crate) fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}

/// What joins the person's streams to a container's.
pub(crate) struct Join {
    /// Standard input goes to the container.
    pub(crate) input: bool,
    /// The container has a terminal.
    pub(crate) tty: bool,
    /// Signals to this program go to the container.
    pub(crate) proxy: bool,
}

/// How a joined container was left.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// It ended with this code.
    Exited(u8),
    /// The person detached.
    Detached,
    /// The connection ended.
    Closed,
}

/// Passes bytes, sizes and signals to and fro until the container ends or the person detaches.
pub(crate) async fn join(attachment: Attachment, how: &Join) -> Result<Left, Failure> {
    let Attachment { mut output, mut input } = attachment;
    let terminal = how.tty && how.input && io::stdin().is_terminal();
    let _raw = if terminal { Raw::enter() } else { None };
    if how.tty
        && let Some((columns, rows)) = size()
    {
        input.resize(columns, rows).await?;
    }
    let mut keys = how.input.then(read_input);
    let mut resized = signal(SignalKind::window_change())?;
    let mut proxied = Proxied::new(how.proxy && !how.tty)?;
    let mut detach = DetachKeys::default();
    loop {
        tokio::select! {
            piece = output.next() => match piece? {
                // a reader of ours that went away is no reason to end the container
                Piece::Stdout(bytes) => { let _ = write(&mut io::stdout(), bytes); }
                Piece::Stderr(bytes) => { let _ = write(&mut io::stderr(), bytes); }
                Piece::Exited(code) => return Ok(Left::Exited(code as u8)),
                Piece::Closed => return Ok(Left::Closed),
            },
            bytes = next(&mut keys) => match bytes {
                Some(bytes) if terminal => {
                    let (bytes, detached) = detach.filter(&bytes);
                    input.write(&bytes).await?;
                    if detached { return Ok(Left::Detached); }
                }
                Some(bytes) => input.write(&bytes).await?,
                None => { keys = None; input.close().await?; }
            },
            _ = resized.recv(), if how.tty => {
                if let Some((columns, rows)) = size() { input.resize(columns, rows).await?; }
            }
            number = proxied.next() => input.signal(number).await?,
        }
    }
}

/// Looks for the keys that detach, and holds the first back until it is clear that the second does not follow.
#[derive(Default)]
struct DetachKeys {
    seen: usize,
}

impl DetachKeys {
    /// What goes to the container, and whether the person detached.
    fn filter(&mut self, bytes: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            if byte == DETACH[self.seen] {
                self.seen += 1;
                if self.seen == DETACH.len() {
                    return (passed, true);
                }
                continue;
            }
            passed.extend_from_slice(&DETACH[..self.seen]);
            self.seen = usize::from(byte == DETACH[0]);
            if self.seen == 0 {
                passed.push(byte);
            }
        }
        (passed, false)
    }
}

/// Joins the person's terminal to that of a command in a container, until the command ends.
pub(crate) async fn over_terminal(
    process: &mut ExecProcess,
    terminal: &OwnedFd,
    input: bool,
) -> Result<i32, Failure> {
    let _raw = if input { Raw::enter() } else { None };
    let resize = || {
        if let Some((columns, rows)) = size() {
            let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
            // a terminal whose command has ended has no size
            let _ = tcsetwinsize(terminal, size);
        }
    };
    resize();
    let mut from = File::from(terminal.try_clone()?);
    // the terminal's end is an error, once everything that was written to it has been read
    let output = std::thread::spawn(move || {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            let _ = write(&mut io::stdout(), &buffer[..count]);
        }
    });
    if input {
        let mut to = File::from(terminal.try_clone()?);
        std::thread::spawn(move || {
            let mut keys = read_input();
            while let Some(bytes) = keys.blocking_recv() {
                if to.write_all(&bytes).is_err() {
                    return;
                }
            }
        });
    }
    let mut resized = signal(SignalKind::window_change())?;
    let code = loop {
        tokio::select! {
            code = process.wait() => break code?,
            _ = resized.recv() => resize(),
        }
    };
    let _ = output.join();
    Ok(code)
}

fn write(to: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes)?;
    to.flush()
}

/// Standard input, read by a thread of its own: a file, a pipe and a terminal all can block.
fn read_input() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(4);
    std::thread::spawn(move || {
        let mut input = io::stdin();
        let mut buffer = vec![0; 16 << 10];
        while let Ok(count @ 1..) = input.read(&mut buffer) {
            if sender.blocking_send(buffer[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

async fn next(keys: &mut Option<mpsc::Receiver<Vec<u8>>>) -> Option<Vec<u8>> {
    match keys {
        Some(keys) => keys.recv().await,
        None => std::future::pending().await,
    }
}

/// The signals that are passed on.
pub(crate) struct Proxied {
    signals: Vec<(i32, Signal)>,
}

impl Proxied {
    pub(crate) fn new(on: bool) -> io::Result<Self> {
        let kinds = [
            SignalKind::hangup(),
            SignalKind::interrupt(),
            SignalKind::quit(),
            SignalKind::terminate(),
            SignalKind::user_defined1(),
            SignalKind::user_defined2(),
        ];
        let wanted = if on { &kinds[..] } else { &[] };
        let signals =
            wanted.iter().map(|kind| Ok((kind.as_raw_value(), signal(*kind)?))).collect::<io::Result<_>>()?;
        Ok(Self { signals })
    }

    /// The number of the next one; waits for it, for ever if none is passed on.
    pub(crate) async fn next(&mut self) -> i32 {
        std::future::poll_fn(|context| {
            for (number, signal) in &mut self.signals {
                if signal.poll_recv(context).is_ready() {
                    return std::task::Poll::Ready(*number);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_that_detach_are_found_across_reads_and_others_pass() {
        let mut keys = DetachKeys::default();
        assert_eq!(keys.filter(b"ab\x10"), (b"ab".to_vec(), false));
        assert_eq!(keys.filter(b"c"), (b"\x10c".to_vec(), false));
        assert_eq!(keys.filter(b"\x10\x10"), (b"\x10".to_vec(), false));
        assert_eq!(keys.filter(b"\x11x"), (Vec::new(), true));
    }
}
