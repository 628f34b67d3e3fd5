use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::PathBuf;

use rustix::fs::inotify;
use serde::{Deserialize, Serialize};
use tokio::io::unix::AsyncFd;

use crate::poll::register;
use crate::{Error, time};

/// Something that happened: one line of the engine's journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, RFC 3339.
    pub time: String,
    /// `container`, `image`, `network` or `volume`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `create`, `start`, `die`, `destroy`, …, in Docker's words.
    pub action: String,
    /// The object's id; a volume's name.
    pub id: String,
    /// Its name, image, exit code, and what else there is to say.
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

/// The journal of events: a file of JSON lines, each written at once.
#[derive(Debug)]
pub(crate) struct Events {
    path: PathBuf,
}

/// A journal of more bytes is put aside, and the one put aside before is dropped.
const MAX_JOURNAL: u64 = 16 << 20;

impl Events {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Adds an event.
    pub(crate) fn record(
        &self,
        kind: &str,
        action: &str,
        id: &str,
        attributes: &[(&str, &str)],
    ) -> Result<(), Error> {
        let event = Event {
            time: time::now(),
            kind: kind.to_owned(),
            action: action.to_owned(),
            id: id.to_owned(),
            attributes: attributes.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect(),
        };
        let mut line = serde_json::to_vec(&event).map_err(|source| Error::Record {
            what: "event",
            id: id.to_owned(),
            source,
        })?;
        line.push(b'\n');
        if fs::metadata(&self.path).is_ok_and(|metadata| metadata.len() > MAX_JOURNAL) {
            fs::rename(&self.path, self.path.with_extension("log.1"))
                .map_err(Error::io("rotate", &self.path))?;
        }
        File::options()
            .create(true)
            .append(true)
            .open(&self.path)
            .and_then(|mut file| file.write_all(&line))
            .map_err(Error::io("write", &self.path))
    }

    /// Reads events from the beginning of the journal.
    pub(crate) fn follow(&self) -> Result<EventStream, Error> {
        // the file is there before it is watched
        let file = File::options()
            .create(true)
            .append(true)
            .read(true)
            .open(&self.path)
            .map_err(Error::io("open", &self.path))?;
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
            .and_then(|watch| {
                inotify::add_watch(
                    &watch,
                    &self.path,
                    inotify::WatchFlags::MODIFY | inotify::WatchFlags::MOVE_SELF,
                )?;
                Ok(watch)
            })
            .map_err(|errno| Error::io("watch", &self.path)(errno.into()))?;
        let watch = register(watch).map_err(Error::io("watch", &self.path))?;
        Ok(EventStream { path: self.path.clone(), reader: BufReader::new(file), watch, partial: Vec::new() })
    }
}

/// Events as they happen, those of the journal first.
#[derive(Debug)]
pub struct EventStream {
    path: PathBuf,
    reader: BufReader<File>,
    watch: AsyncFd<std::os::fd::OwnedFd>,
    partial: Vec<u8>,
}

impl EventStream {
    /// The next event that is in the journal already; none if all were read.
    pub fn try_next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            let count =
                self.reader.read_until(b'\n', &mut self.partial).map_err(Error::io("read", &self.path))?;
            if self.partial.last() != Some(&b'\n') {
                if count > 0 {
                    continue;
                }
                return Ok(None);
            }
            let line = std::mem::take(&mut self.partial);
            // a line torn by a loss of power is no event
            if let Ok(event) = serde_json::from_slice(&line) {
                return Ok(Some(event));
            }
        }
    }

    /// The next event; waits for it.
    pub async fn next(&mut self) -> Result<Event, Error> {
        loop {
            if let Some(event) = self.try_next()? {
                return Ok(event);
            }
            self.changed().await?;
        }
    }

    async fn changed(&mut self) -> Result<(), Error> {
        let failed = |source: io::Error| Error::Io { action: "watch", path: self.path.clone(), source };
        loop {
            let mut ready = self.watch.readable().await.map_err(failed)?;
            let mut buffer = [0; 4096];
            match ready.try_io(|watch| Ok(rustix::io::read(watch, &mut buffer)?)) {
                Ok(Ok(_)) => break,
                Ok(Err(error)) => return Err(failed(error)),
                Err(_) => {}
            }
        }
        // a journal that was put aside goes on in a new file
        let position = self.reader.stream_position().map_err(failed)?;
        let current = fs::metadata(&self.path).map_err(failed)?;
        let own = self.reader.get_ref().metadata().map_err(failed)?;
        if std::os::unix::fs::MetadataExt::ino(&current) != std::os::unix::fs::MetadataExt::ino(&own) {
            *self = Events::new(self.path.clone()).follow()?;
        } else if current.len() < position {
            self.reader.seek(SeekFrom::Start(0)).map_err(failed)?;
        }
        Ok(())
    }
}

impl crate::Engine {
    /// All events that the journal has, and then those to come.
    pub async fn events(&self) -> Result<EventStream, Error> {
        self.events.follow()
    }
}
