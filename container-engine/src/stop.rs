use std::fs::File;
use std::os::fd::OwnedFd;
use std::time::Duration;

use container_runtime::Signal;
use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};

use crate::containers::{Exit, Phase, container_id, decode};
use crate::database::ContainerRow;
use crate::poll::register;
use crate::{Engine, Error};

/// How long the kernel may take to end a container that was killed.
pub(crate) const KILL_TIMEOUT: Duration = Duration::from_secs(20);

impl Engine {
    /// Asks a container to end, and kills it when it has not after `timeout` (its own if none is given).
    /// One that does not run stays as it is. Idempotent.
    pub async fn stop(&self, text: &str, timeout: Option<Duration>) -> Result<(), Error> {
        let row = self.find_row(text)?;
        if !self.is_running(&row.id)? {
            return Ok(());
        }
        let options = decode(&row)?;
        let image_signal =
            || self.images.find(&row.image_id).ok().and_then(|named| named.image.config.config.stop_signal);
        let signal =
            options.stop_signal.clone().or_else(image_signal).unwrap_or_else(|| "SIGTERM".to_owned());
        self.request_stop(&row)?;
        self.signal(&row, signal.parse()?)?;
        let timeout = timeout.or(options.stop_timeout).unwrap_or(Duration::from_secs(10));
        if tokio::time::timeout(timeout, self.ended(&row.id)).await.is_err() {
            self.kill_hard(&row).await?;
        }
        self.events.record("container", "stop", &row.id, &[("name", &row.name), ("image", &row.image)])
    }

    /// Sends a signal to a container's first process.
    ///
    /// # Errors
    ///
    /// [`Error::ContainerNotRunning`]
    pub async fn kill(&self, text: &str, signal: Signal) -> Result<(), Error> {
        let row = self.find_row(text)?;
        if !self.is_running(&row.id)? {
            return Err(Error::ContainerNotRunning(row.name));
        }
        // a kill of the caller's is an end that is wanted
        self.request_stop(&row)?;
        self.signal(&row, signal)?;
        self.events.record(
            "container",
            "kill",
            &row.id,
            &[("name", &row.name), ("signal", &signal.to_string())],
        )
    }

    /// Waits for a container's end and tells how it ended; at once for one that ended.
    pub async fn wait(&self, text: &str) -> Result<Exit, Error> {
        let row = self.find_row(text)?;
        loop {
            self.ended(&row.id).await?;
            match self.phase(&row)? {
                Phase::Exited(exit) => return Ok(exit),
                Phase::Created => {
                    return Ok(Exit {
                        code: 0,
                        oom_killed: false,
                        started_at: String::new(),
                        finished_at: String::new(),
                        error: None,
                    });
                }
                Phase::Removing => return Err(Error::ContainerMissing(row.name)),
                // it was started again in between
                _ => {}
            }
        }
    }

    /// Freezes every process of a container. Idempotent.
    pub async fn pause(&self, text: &str) -> Result<(), Error> {
        let row = self.running_row(text)?;
        self.runtime.pause(&container_id(&row.id)?)?;
        self.events.record("container", "pause", &row.id, &[("name", &row.name)])
    }

    /// Lets the processes of a frozen container go on.
    pub async fn unpause(&self, text: &str) -> Result<(), Error> {
        let row = self.running_row(text)?;
        self.runtime.resume(&container_id(&row.id)?)?;
        self.events.record("container", "unpause", &row.id, &[("name", &row.name)])
    }

    pub(crate) fn running_row(&self, text: &str) -> Result<ContainerRow, Error> {
        let row = self.find_row(text)?;
        if self.is_running(&row.id)? { Ok(row) } else { Err(Error::ContainerNotRunning(row.name)) }
    }

    /// Kills every process of a container and its monitor's restarts, and waits until all are gone.
    pub(crate) async fn kill_hard(&self, row: &ContainerRow) -> Result<(), Error> {
        self.request_stop(row)?;
        // a process that is frozen, or between two starts, is ended by its group and by its monitor
        let _ = self.signal(row, "SIGKILL".parse()?);
        let _ = self.runtime.kill_all(&container_id(&row.id)?, "SIGKILL".parse()?);
        let _ = self.runtime.resume(&container_id(&row.id)?);
        if tokio::time::timeout(KILL_TIMEOUT / 4, self.ended(&row.id)).await.is_ok() {
            return Ok(());
        }
        if let Some(monitor) = self.monitor(&row.id)? {
            let _ = pidfd_send_signal(&monitor, rustix::process::Signal::KILL);
        }
        match tokio::time::timeout(KILL_TIMEOUT, self.ended(&row.id)).await {
            Ok(ended) => ended,
            Err(_) => {
                Err(Error::ContainerRunning { name: row.name.clone(), hint: "its processes do not end" })
            }
        }
    }

    /// Tells the monitor that the end is wanted, so that nothing is started again.
    fn request_stop(&self, row: &ContainerRow) -> Result<(), Error> {
        let path = self.container_run(&row.id).join("stop-requested");
        File::create(&path).map(drop).map_err(Error::io("create", path))
    }

    fn signal(&self, row: &ContainerRow, signal: Signal) -> Result<(), Error> {
        match self.runtime.kill(&container_id(&row.id)?, signal) {
            // it ended by itself meanwhile, or waits to be started again
            Err(container_runtime::Error::Status { .. } | container_runtime::Error::NotFound { .. }) => {
                if let Some(monitor) = self.monitor(&row.id)? {
                    let _ = pidfd_send_signal(&monitor, rustix::process::Signal::TERM);
                }
                Ok(())
            }
            result => Ok(result?),
        }
    }

    /// Waits until a container's monitor is gone. Needs no thread: the monitor's pidfd tells.
    pub(crate) async fn ended(&self, id: &str) -> Result<(), Error> {
        while let Some(monitor) = self.monitor(id)? {
            let failed = || Error::io("wait for the monitor of", self.container_run(id));
            let monitor = register(monitor).map_err(failed())?;
            let _ready = monitor.readable().await.map_err(failed())?;
        }
        Ok(())
    }

    /// The monitor of a running container. Its number is only believed while its lock is held.
    fn monitor(&self, id: &str) -> Result<Option<OwnedFd>, Error> {
        let path = self.container_run(id).join("monitor.pid");
        while self.is_running(id)? {
            let pid = std::fs::read_to_string(&path)
                .ok()
                .and_then(|text| text.trim().parse().ok())
                .and_then(Pid::from_raw);
            // written right after the lock is taken
            let Some(pid) = pid else {
                std::thread::yield_now();
                continue;
            };
            if let Ok(monitor) = pidfd_open(pid, PidfdFlags::NONBLOCK)
                && self.is_running(id)?
            {
                return Ok(Some(monitor));
            }
        }
        Ok(None)
    }
}
