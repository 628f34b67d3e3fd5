use serde::{Deserialize, Serialize};

/// What a frame carries: the first byte of Docker's raw-stream header, and 3 for control.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// To the process; an empty one is the end of stdin.
    Stdin,
    /// From the process, or its terminal.
    Stdout,
    /// From the process.
    Stderr,
    /// JSON, a [`ToMonitor`] or [`FromMonitor`].
    Control,
}

impl FrameKind {
    const fn byte(self) -> u8 {
        self as u8
    }

    /// The kind a header's first byte names.
    pub fn from_byte(byte: u8) -> Option<Self> {
        [Self::Stdin, Self::Stdout, Self::Stderr, Self::Control].into_iter().find(|kind| kind.byte() == byte)
    }

    /// The header of a frame with `length` bytes of content: kind, three zeros, length in network order.
    pub fn header(self, length: u32) -> [u8; 8] {
        let [a, b, c, d] = length.to_be_bytes();
        [self.byte(), 0, 0, 0, a, b, c, d]
    }
}

/// Control from a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ToMonitor {
    /// Columns and rows of the terminal.
    Resize(u16, u16),
    /// A signal for the process.
    Signal(i32),
    /// Read `monitor.json` again: attach the container to networks that are new in it, leave those that are gone from
    /// it, serve the names of all of them, write `status.json`, and answer with [`FromMonitor::Reloaded`]. The final
    /// detach and a restart then work on the new list. (Wanted by container-engine, `live.rs`: `network connect`.)
    Reload,
}

/// Control from the monitor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FromMonitor {
    /// The answer to [`ToMonitor::Reload`], to the client that asked alone.
    Reloaded {
        /// What could not be attached, after which the networks are as they were before; none if all went well.
        error: Option<String>,
    },
    /// The last frame: the process has ended for good.
    Exited {
        /// Exit code, 128 + n for signal n.
        code: i32,
    },
}

/// The largest control frame, bytes.
const LARGEST_CONTROL: usize = 4096;

/// Takes a client's byte stream apart, without keeping the content of stdin.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    header: Vec<u8>,
    kind: Option<FrameKind>,
    left: usize,
    control: Vec<u8>,
}

/// What a piece of a client's stream said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard<'a> {
    Stdin(&'a [u8]),
    EndOfStdin,
    Control(ToMonitor),
}

/// A client that does not keep to the protocol.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken;

impl Parser {
    /// Goes through a piece of the stream, calling `hear` for each thing said.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut hear: impl FnMut(Heard<'_>)) -> Result<(), Broken> {
        while !bytes.is_empty() {
            let Some(kind) = self.kind else {
                let (head, rest) = bytes.split_at(bytes.len().min(8 - self.header.len()));
                self.header.extend_from_slice(head);
                bytes = rest;
                if let &[byte, _, _, _, a, b, c, d] = self.header.as_slice() {
                    self.header.clear();
                    let kind = FrameKind::from_byte(byte).ok_or(Broken)?;
                    self.left = u32::from_be_bytes([a, b, c, d]) as usize;
                    match kind {
                        FrameKind::Stdin if self.left == 0 => hear(Heard::EndOfStdin),
                        FrameKind::Stdin => self.kind = Some(kind),
                        FrameKind::Control if (1..=LARGEST_CONTROL).contains(&self.left) => {
                            self.kind = Some(kind);
                        }
                        _ => return Err(Broken),
                    }
                }
                continue;
            };
            let (content, rest) = bytes.split_at(bytes.len().min(self.left));
            bytes = rest;
            self.left -= content.len();
            if kind == FrameKind::Stdin {
                hear(Heard::Stdin(content));
            } else {
                self.control.extend_from_slice(content);
                if self.left == 0 {
                    let said = serde_json::from_slice(&self.control).map_err(|_| Broken)?;
                    self.control = Vec::new();
                    hear(Heard::Control(said));
                }
            }
            if self.left == 0 {
                self.kind = None;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: FrameKind, content: &[u8]) -> Vec<u8> {
        [&kind.header(content.len() as u32), content].concat()
    }

    #[test]
    fn frames_are_understood_however_the_stream_is_cut() {
        let stream = [
            frame(FrameKind::Stdin, b"hello"),
            frame(FrameKind::Control, br#"{"resize":[80,24]}"#),
            frame(FrameKind::Control, br#"{"signal":15}"#),
            frame(FrameKind::Stdin, b""),
        ]
        .concat();
        for size in 1..stream.len() {
            let (mut parser, mut stdin, mut control, mut ended) = (Parser::default(), vec![], vec![], false);
            for piece in stream.chunks(size) {
                let done = parser.feed(piece, |heard| match heard {
                    Heard::Stdin(bytes) => stdin.extend_from_slice(bytes),
                    Heard::Control(said) => control.push(said),
                    Heard::EndOfStdin => ended = true,
                });
                assert_eq!(done, Ok(()));
            }
            assert_eq!(stdin, b"hello");
            assert_eq!(control, [ToMonitor::Resize(80, 24), ToMonitor::Signal(15)]);
            assert!(ended);
        }
    }

    #[test]
    fn a_client_that_breaks_the_protocol_is_found_out() {
        for stream in [
            vec![9, 0, 0, 0, 0, 0, 0, 1],
            frame(FrameKind::Stdout, b"x"),
            frame(FrameKind::Control, b"{}"),
            frame(FrameKind::Control, b""),
            FrameKind::Control.header(u32::MAX).to_vec(),
        ] {
            assert_eq!(Parser::default().feed(&stream, |_| {}), Err(Broken), "{stream:?}");
        }
    }
}
