//! What the new process and its parent say to each other, over one close-on-exec socket pair.

/// What a message from the new process is about.
pub(crate) mod kind {
    /// A step failed; the process ends.
    pub(crate) const FAILED: u32 = 1;
    /// The second process exists; with its pidfd.
    pub(crate) const PROCESS: u32 = 2;
    /// Namespaces and id maps exist, it waits.
    pub(crate) const MEETING: u32 = 3;
    /// The master of a new terminal is attached.
    pub(crate) const TERMINAL: u32 = 4;
    /// The listener of the filter is attached.
    pub(crate) const LISTENER: u32 = 5;
    /// Everything is done but the program; it waits.
    pub(crate) const READY: u32 = 6;
}

/// Bytes of kernel text that fit.
pub(crate) const TEXT: usize = 192;
/// Bytes of a message.
pub(crate) const SIZE: usize = 24 + TEXT;

/// A message from the new process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message {
    pub(crate) kind: u32,
    /// Step number, or process number.
    pub(crate) step: u32,
    pub(crate) errno: i32,
    pub(crate) call: u32,
    pub(crate) detail: u32,
    pub(crate) length: u32,
    pub(crate) text: [u8; TEXT],
}

impl Message {
    pub(crate) const fn new(kind: u32, step: u32) -> Self {
        Self { kind, step, errno: 0, call: 0, detail: 0, length: 0, text: [0; TEXT] }
    }

    pub(crate) fn to_bytes(self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        let words = [self.kind, self.step, self.errno as u32, self.call, self.detail, self.length];
        let source = words.iter().flat_map(|word| word.to_ne_bytes()).chain(self.text);
        for (to, from) in bytes.iter_mut().zip(source) {
            *to = from;
        }
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; SIZE]) -> Self {
        let word = |at: usize| {
            let mut out = [0; 4];
            for (to, from) in out.iter_mut().zip(bytes.iter().skip(at * 4)) {
                *to = *from;
            }
            u32::from_ne_bytes(out)
        };
        let mut text = [0; TEXT];
        for (to, from) in text.iter_mut().zip(bytes.iter().skip(24)) {
            *to = *from;
        }
        Self {
            kind: word(0),
            step: word(1),
            errno: word(2) as i32,
            call: word(3),
            detail: word(4),
            length: word(5),
            text,
        }
    }

    /// The kernel's text, if there is one.
    pub(crate) fn text(&self) -> Option<String> {
        let text = self.text.get(..(self.length as usize).min(TEXT))?;
        let text = String::from_utf8_lossy(text);
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }
}
