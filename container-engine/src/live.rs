//! Changes of a container's networks while it runs: its monitor makes them, since it takes them back in the end.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use container_net::Pool;
use container_runtime::monitor::{FrameKind, FromMonitor, MonitorSpec, ToMonitor};

use crate::containers::Phase;
use crate::database::{ContainerRow, EndpointRow};
use crate::engine::write_file;
use crate::networks::{NetworkDriver, driver};
use crate::{Engine, Error};

/// How long a monitor may take to change its networks.
const PATIENCE: Duration = Duration::from_secs(20);

impl Engine {
    pub(crate) fn attach_running(&self, row: &ContainerRow, endpoint: &EndpointRow) -> Result<(), Error> {
        let before = self.orders(row)?;
        let mut spec = before.clone();
        let taken = |number: &usize| {
            spec.networks.iter().any(|place| place.endpoint.interface.as_str() == format!("eth{number}"))
        };
        let number = (0..=spec.networks.len()).find(|number| !taken(number)).unwrap_or_default();
        let attachment = self.attachment(row, endpoint, number)?;
        container_net::ensure_network(&attachment.network)?;
        spec.networks.push(attachment.clone());
        self.give_orders(row, &spec)?;
        if let Err(error) = self.reload(row) {
            // the orders are as they were; the first error is the one to report
            self.give_orders(row, &before)?;
            let _ = container_net::detach(&attachment);
            self.release_lease(&row.id, &endpoint.network)?;
            return Err(error);
        }
        Ok(())
    }

    pub(crate) fn detach_running(&self, row: &ContainerRow, endpoint: &EndpointRow) -> Result<(), Error> {
        let mut spec = self.orders(row)?;
        let left = spec.networks.iter().find(|attachment| attachment.network.id == endpoint.network).cloned();
        spec.networks.retain(|attachment| attachment.network.id != endpoint.network);
        self.give_orders(row, &spec)?;
        self.reload(row)?;
        // a macvlan has no end on the host by which it could be taken away
        if let Some(attachment) = left.filter(|left| left.network.driver != container_net::Driver::Bridge)
            && let Phase::Running { pid, .. } = self.phase(row)?
        {
            let path = format!("/proc/{pid}/ns/net");
            let namespace = fs::File::open(&path).map_err(Error::io("open", path))?;
            container_net::Host::open()?.remove_inside(namespace.as_fd(), &attachment)?;
        }
        self.release_lease(&row.id, &endpoint.network)
    }

    /// Gives every address back that is leased to a container. Idempotent.
    pub(crate) fn release_leases(&self, container: &str) -> Result<(), Error> {
        let networks = self.database().networks()?;
        for network in networks {
            self.release_lease(container, &network.id)?;
        }
        Ok(())
    }

    fn release_lease(&self, container: &str, network: &str) -> Result<(), Error> {
        let row = self.find_network_row(network)?;
        let leases = self.network_run(&row.id).join("leases");
        if let NetworkDriver::Bridge(config) = driver(&row)?
            && leases.exists()
        {
            for subnet in &config.subnets {
                Pool::open(&leases, subnet)?.release(container)?;
            }
        }
        Ok(())
    }

    /// What the monitor was told.
    pub(crate) fn orders(&self, row: &ContainerRow) -> Result<MonitorSpec, Error> {
        let path = self.container_run(&row.id).join("monitor.json");
        let bytes = fs::read(&path).map_err(Error::io("read", path))?;
        serde_json::from_slice(&bytes).map_err(|source| Error::Record {
            what: "container",
            id: row.id.clone(),
            source,
        })
    }

    /// Has the networks know a container that runs by its new name.
    pub(crate) fn announce_name(&self, row: &ContainerRow) -> Result<(), Error> {
        let mut spec = self.orders(row)?;
        for attachment in &mut spec.networks {
            attachment.endpoint.container_name.clone_from(&row.name);
            attachment.announce()?;
        }
        spec.event_attributes.insert("name".to_owned(), row.name.clone());
        self.give_orders(row, &spec)
    }

    pub(crate) fn give_orders(&self, row: &ContainerRow, spec: &MonitorSpec) -> Result<(), Error> {
        let bytes = serde_json::to_vec(spec).map_err(|source| Error::Record {
            what: "container",
            id: row.id.clone(),
            source,
        })?;
        write_file(&self.container_run(&row.id).join("monitor.json"), &bytes)
    }

    /// Has the monitor read its orders again, and waits until it has followed them.
    pub(crate) fn reload(&self, row: &ContainerRow) -> Result<(), Error> {
        let failed =
            |source| Error::Io { action: "talk to the monitor of", path: row.name.clone().into(), source };
        let mut stream = self.connect_monitor(&row.id)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        let order = serde_json::to_vec(&ToMonitor::Reload).map_err(|error| failed(error.into()))?;
        let frame = [&FrameKind::Control.header(order.len() as u32), order.as_slice()].concat();
        stream.write_all(&frame).map_err(failed)?;
        loop {
            let mut header = [0; 8];
            stream.read_exact(&mut header).map_err(failed)?;
            let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
            let mut content = Vec::new();
            (&mut stream).take(length.into()).read_to_end(&mut content).map_err(failed)?;
            if FrameKind::from_byte(header[0]) != Some(FrameKind::Control) {
                continue;
            }
            match serde_json::from_slice(&content).map_err(|error| failed(error.into()))? {
                FromMonitor::Reloaded { error: None } => return Ok(()),
                FromMonitor::Reloaded { error: Some(message) } => {
                    return Err(Error::NetworkInUse { name: row.name.clone(), reason: message });
                }
                FromMonitor::Exited { .. } => return Err(Error::ContainerNotRunning(row.name.clone())),
            }
        }
    }

    pub(crate) fn connect_monitor(&self, id: &str) -> Result<UnixStream, Error> {
        // the path of a socket is at most 108 bytes, the directory's may be longer
        let run = self.container_run(id);
        let directory = fs::File::open(&run).map_err(Error::io("open", &run))?;
        let path = format!("/proc/self/fd/{}/attach.sock", directory.as_fd().as_raw_fd());
        UnixStream::connect(path).map_err(Error::io("attach by", run.join("attach.sock")))
    }
}
