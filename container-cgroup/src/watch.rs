use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd};
use rustix::fs::inotify;
use rustix::io::Errno;

use crate::{Controller, Error, Group, file};

pub(crate) fn poll(fds: &mut [PollFd<'_>], patience: Duration) -> io::Result<bool> {
    let end = Instant::now() + patience;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        match rustix::event::poll(fds, Some(&timeout)) {
            Err(Errno::INTR) => {}
            done => return done.map(|ready| ready > 0).map_err(Into::into),
        }
    }
}

/// An inotify descriptor on one control file of version 2, which the kernel marks as modified when its content changes.
#[derive(Debug)]
pub(crate) struct Notice {
    fd: OwnedFd,
    path: PathBuf,
}

impl Notice {
    pub(crate) fn of(path: &Path) -> Result<Self, Error> {
        let error = |errno: Errno| Error::Watch { path: path.to_owned(), source: errno.into() };
        let fd =
            inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK).map_err(error)?;
        match inotify::add_watch(&fd, path, inotify::WatchFlags::MODIFY) {
            // NOENT: the group is gone, which whoever asks finds out by reading
            Ok(_) | Err(Errno::NOENT) => Ok(Self { fd, path: path.to_owned() }),
            Err(errno) => Err(error(errno)),
        }
    }

    pub(crate) fn drain(&self) -> Result<(), Error> {
        let mut buffer = [0_u8; 1024];
        loop {
            match rustix::io::read(&self.fd, &mut buffer) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(errno) => return Err(Error::Watch { path: self.path.clone(), source: errno.into() }),
            }
        }
    }

    /// Waits until the question is answered by yes; false when patience ends first.
    pub(crate) fn wait_until(
        &mut self,
        patience: Duration,
        mut question: impl FnMut() -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        let end = Instant::now() + patience;
        loop {
            if question()? {
                return Ok(true);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            // of a group that somebody removes meanwhile nothing is heard
            poll(&mut [PollFd::new(&self.fd, PollFlags::IN)], left.min(LOOK))
                .map_err(|source| Error::Watch { path: self.path.clone(), source })?;
            self.drain()?;
        }
    }
}

/// How long nothing is heard until the question is asked again.
const LOOK: Duration = Duration::from_millis(20);

/// Tells by a readable descriptor that a group got its first process or lost its last (`cgroup.events`); needs version 2.
#[derive(Debug)]
pub struct PopulatedWatch {
    notice: Notice,
}

impl PopulatedWatch {
    /// Whether there is a process in the group or below; false also when the group is gone. Empties the descriptor.
    pub fn populated(&self) -> Result<bool, Error> {
        self.notice.drain()?;
        let text = file::read_if_there(&self.notice.path)?;
        Ok(text.and_then(|text| file::field(&text, "populated")).unwrap_or(0) != 0)
    }
}

impl AsFd for PopulatedWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.notice.fd.as_fd()
    }
}

/// Tells by a readable descriptor that a group ran out of memory: `memory.events` in version 2, an eventfd on
/// `memory.oom_control` in version 1.
///
/// The descriptor of version 1 becomes readable when the kernel *begins* to look for a victim, and once when the group is removed.
#[derive(Debug)]
pub struct OomWatch {
    kind: Kind,
    file: PathBuf,
}

#[derive(Debug)]
enum Kind {
    V1 { eventfd: OwnedFd, _control: File },
    V2(Notice),
}

impl OomWatch {
    /// How many processes the kernel has killed for lack of memory since the group was made; none if the group is gone.
    /// Empties the descriptor.
    pub fn kills(&self) -> Result<Option<u64>, Error> {
        match &self.kind {
            Kind::V2(notice) => notice.drain()?,
            Kind::V1 { eventfd, .. } => {
                let mut count = [0_u8; 8];
                match rustix::io::read(eventfd, &mut count) {
                    Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
                    Err(errno) => return Err(Error::Watch { path: self.file.clone(), source: errno.into() }),
                }
            }
        }
        Ok(file::read_if_there(&self.file)?.and_then(|text| file::field(&text, "oom_kill")))
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.kind {
            Kind::V1 { eventfd, .. } => eventfd.as_fd(),
            Kind::V2(notice) => notice.fd.as_fd(),
        }
    }
}

impl Group {
    /// Watches whether processes are in the group. With version 1 alone it is [`Error::Unsupported`]: only the
    /// release agent, a program run as root on the host, would tell, and it stays untouched.
    pub fn watch_populated(&self) -> Result<PopulatedWatch, Error> {
        let directory = self.unified_directory().ok_or_else(|| Error::Unsupported {
            limit: "watch_populated".to_owned(),
            reason: "no hierarchy of version 2 is mounted".to_owned(),
        })?;
        Ok(PopulatedWatch { notice: Notice::of(&directory.join("cgroup.events"))? })
    }

    /// Watches for kills by lack of memory.
    pub fn watch_oom(&self) -> Result<OomWatch, Error> {
        if let Some(directory) = self.version_2(&Controller::Memory) {
            let file = directory.join("memory.events");
            return Ok(OomWatch { kind: Kind::V2(Notice::of(&file)?), file });
        }
        let directory = self.version_1(&Controller::Memory).ok_or_else(|| Error::Unsupported {
            limit: "watch_oom".to_owned(),
            reason: "no mounted hierarchy has the memory controller".to_owned(),
        })?;
        let file = directory.join("memory.oom_control");
        let error = |source: io::Error| Error::Watch { path: file.clone(), source };
        let control = File::open(&file).map_err(error)?;
        let eventfd =
            eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|e| error(e.into()))?;
        let line = format!("{} {}", eventfd.as_raw_fd(), control.as_raw_fd());
        file::write(&directory.join("cgroup.event_control"), &line)?;
        Ok(OomWatch { kind: Kind::V1 { eventfd, _control: control }, file })
    }
}
