use std::time::{Duration, Instant};

use crate::watch::Notice;
use crate::{Controller, Error, Group, file};

impl Group {
    /// Stops every process of the group until [`Group::thaw`]; returns when all have stopped. Idempotent.
    ///
    /// A process in an uninterruptible sleep delays it; after `patience` the group is thawed again and the
    /// answer is [`Error::Timeout`].
    pub fn freeze(&self, patience: Duration) -> Result<(), Error> {
        let done = match self.unified_directory() {
            Some(directory) => {
                let events = directory.join("cgroup.events");
                let mut notice = Notice::of(&events)?;
                file::write(&directory.join("cgroup.freeze"), "1")?;
                notice.wait_until(patience, || Ok(file::field(&file::read(&events)?, "frozen") == Some(1)))?
            }
            None => self.freeze_version_1(patience)?,
        };
        if done {
            return Ok(());
        }
        self.thaw()?;
        Err(Error::Timeout { path: self.main_directory(), what: "frozen", after: patience })
    }

    /// Lets the processes of a frozen group go on. Idempotent.
    pub fn thaw(&self) -> Result<(), Error> {
        if let Some(directory) = self.unified_directory() {
            file::write(&directory.join("cgroup.freeze"), "0")?;
        }
        // also where the unified hierarchy does the freezing: another tool may have used the controller
        match self.version_1(&Controller::Freezer) {
            Some(directory) => file::write(&directory.join("freezer.state"), "THAWED"),
            None => Ok(()),
        }
    }

    /// Whether the group has been told to freeze.
    pub fn is_frozen(&self) -> Result<bool, Error> {
        let unified = match self.unified_directory() {
            Some(directory) => file::read(&directory.join("cgroup.freeze"))?.trim() == "1",
            None => false,
        };
        let legacy = match self.version_1(&Controller::Freezer) {
            Some(directory) => file::read(&directory.join("freezer.state"))?.trim() != "THAWED",
            None => false,
        };
        Ok(unified || legacy)
    }

    /// The freezer of version 1 has no event, so its state is read until it is reached.
    pub(crate) fn freeze_version_1(&self, patience: Duration) -> Result<bool, Error> {
        let Some(directory) = self.version_1(&Controller::Freezer) else {
            let reason = "neither version 2 nor the freezer controller is mounted".to_owned();
            return Err(Error::Unsupported { limit: "freeze".to_owned(), reason });
        };
        let state = directory.join("freezer.state");
        let end = Instant::now() + patience;
        loop {
            // written again each time: processes born meanwhile are caught by it
            file::write(&state, "FROZEN")?;
            if file::read(&state)?.trim() == "FROZEN" {
                return Ok(true);
            }
            if Instant::now() >= end {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
