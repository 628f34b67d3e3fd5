use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::time::SystemTime;

use rustix::fs::inotify;
use serde::Deserialize;
use tokio::io::unix::AsyncFd;

use crate::poll::register;
use crate::{Engine, Error, time};

/// Which lines of a log are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// Only the last so many.
    pub tail: Option<usize>,
    /// Only what was written at this time or later.
    pub since: Option<SystemTime>,
    /// Only what was written before this time.
    pub until: Option<SystemTime>,
    /// Go on with what is written from now on, until the container ends.
    pub follow: bool,
}

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LogLine {
    /// What was written, mostly with a newline at its end.
    pub log: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// When, RFC 3339.
    pub time: String,
}

/// The lines of a log, as [`Engine::logs`] was asked for.
#[derive(Debug)]
pub struct LogStream<'a> {
    engine: &'a Engine,
    id: String,
    path: PathBuf,
    query: LogQuery,
    ready: VecDeque<LogLine>,
    reader: Option<BufReader<File>>,
    partial: Vec<u8>,
    watch: Option<AsyncFd<std::os::fd::OwnedFd>>,
}

/// The name of a container's log in its directory.
pub(crate) const LOG: &str = "container.log";

impl Engine {
    /// Reads a container's log, that of one which ended too.
    pub async fn logs(&self, text: &str, query: LogQuery) -> Result<LogStream<'_>, Error> {
        let row = self.find_row(text)?;
        let directory = self.container_root(&row.id);
        let path = directory.join(LOG);
        let mut stream = LogStream {
            engine: self,
            id: row.id,
            path,
            ready: VecDeque::new(),
            reader: None,
            partial: Vec::new(),
            watch: None,
            query,
        };
        if stream.query.follow && directory.exists() {
            stream.watch = Some(watch(&directory)?);
        }
        stream.read_old()?;
        Ok(stream)
    }
}

impl LogStream<'_> {
    /// The next line; none at the end. Waits for it if the log is followed and the container runs.
    pub async fn next(&mut self) -> Result<Option<LogLine>, Error> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Ok(Some(line));
            }
            // asked first: what a container that ended meanwhile has written is read after this
            let running = self.query.follow && self.engine.is_running(&self.id)?;
            self.read_new()?;
            if !self.ready.is_empty() {
                continue;
            }
            if !running {
                return Ok(None);
            }
            self.changed().await?;
        }
    }

    /// The files put aside by rotation, the oldest first, then the current one.
    fn read_old(&mut self) -> Result<(), Error> {
        let mut old = Vec::new();
        for number in 1.. {
            let mut path = self.path.clone().into_os_string();
            path.push(format!(".{number}"));
            match File::open(&path) {
                Ok(file) => old.push(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) => return Err(Error::io("open", path)(error)),
            }
        }
        for file in old.into_iter().rev() {
            self.reader = Some(BufReader::new(file));
            self.read_new()?;
        }
        self.reader = None;
        self.partial.clear();
        self.read_new()?;
        Ok(())
    }

    /// Takes in whole lines up to the end of the file.
    fn read_new(&mut self) -> Result<(), Error> {
        loop {
            if self.reader.is_none() {
                match File::open(&self.path) {
                    Ok(file) => self.reader = Some(BufReader::new(file)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                    Err(error) => return Err(Error::io("open", &self.path)(error)),
                }
            }
            let Some(reader) = &mut self.reader else { return Ok(()) };
            let count = reader.read_until(b'\n', &mut self.partial).map_err(Error::io("read", &self.path))?;
            if self.partial.last() == Some(&b'\n') {
                let line = std::mem::take(&mut self.partial);
                // a line torn by a loss of power is none
                if let Ok(line) = serde_json::from_slice::<LogLine>(&line) {
                    self.take(line);
                }
            } else if count == 0 && !self.rotated()? {
                return Ok(());
            }
        }
    }

    /// At the end of a file that was put aside, the new one is next.
    fn rotated(&mut self) -> Result<bool, Error> {
        use std::os::unix::fs::MetadataExt;
        let Some(reader) = &self.reader else { return Ok(false) };
        let own = reader.get_ref().metadata().map_err(Error::io("look at", &self.path))?;
        let Ok(current) = std::fs::metadata(&self.path) else { return Ok(false) };
        let is_old = own.ino() != current.ino() && self.watch.is_some();
        if is_old {
            self.reader = None;
            self.partial.clear();
        }
        Ok(is_old)
    }

    fn take(&mut self, line: LogLine) {
        if self.query.since.is_some() || self.query.until.is_some() {
            let Some(when) = time::parse_rfc3339(&line.time) else { return };
            if self.query.since.is_some_and(|since| when < since)
                || self.query.until.is_some_and(|until| when >= until)
            {
                return;
            }
        }
        self.ready.push_back(line);
        if let Some(tail) = self.query.tail
            && self.reader.is_some()
        {
            while self.ready.len() > tail {
                self.ready.pop_front();
            }
        }
    }

    async fn changed(&mut self) -> Result<(), Error> {
        // the tail is what was there at the beginning
        self.query.tail = None;
        let path = self.path.clone();
        let failed = |source| Error::Io { action: "watch", path: path.clone(), source };
        let Some(watch) = &self.watch else { return Ok(()) };
        tokio::select! {
            ready = watch.readable() => {
                let mut buffer = [0; 4096];
                let _ = ready.map_err(&failed)?.try_io(|watch| Ok(rustix::io::read(watch, &mut buffer)?));
            }
            // the end of the container is no event of the log's directory
            ended = self.engine.ended(&self.id) => ended?,
        }
        Ok(())
    }
}

fn watch(directory: &std::path::Path) -> Result<AsyncFd<std::os::fd::OwnedFd>, Error> {
    let flags = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
        .and_then(|watch| inotify::add_watch(&watch, directory, flags).map(|_| watch))
        .map_err(|errno| Error::io("watch", directory)(errno.into()))?;
    register(watch).map_err(Error::io("watch", directory))
}
