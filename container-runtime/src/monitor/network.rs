//! The container's networks: attached when its namespace exists, left when the process has ended.

use std::os::fd::BorrowedFd;

use container_net::names::Server;
use container_net::{Attached, Attachment, Host, Leaving};

use super::{MonitorSpec, NetworkStatus};
use crate::Error;

#[derive(Debug, Default)]
pub(super) struct Networks {
    /// Opened for the first network, and kept: closing it waits for the kernel.
    host: Option<Host>,
    /// Interfaces that the kernel has still to take apart.
    leaving: Vec<Leaving>,
    attached: Vec<(Attachment, Attached)>,
    pub(super) names: Option<Server>,
}

impl Networks {
    /// Attaches every network of the specification in turn. If one fails, those before it are left again.
    pub(super) fn attach(
        netns: BorrowedFd<'_>,
        spec: &MonitorSpec,
        wanted: &[Attachment],
    ) -> Result<Self, Error> {
        let mut networks = Self::default();
        for attachment in wanted {
            if let Err(error) = networks.join(netns, attachment) {
                networks.detach();
                return Err(error);
            }
        }
        if let Err(error) = networks.serve_names(netns, spec) {
            networks.detach();
            return Err(error);
        }
        Ok(networks)
    }

    fn join(&mut self, netns: BorrowedFd<'_>, wanted: &Attachment) -> Result<(), Error> {
        let host = match &mut self.host {
            Some(host) => host,
            none => none.insert(Host::open()?),
        };
        host.ensure_network(&wanted.network)?;
        self.attached.push((wanted.clone(), host.attach(netns, wanted)?));
        Ok(())
    }

    /// Leaves networks; what cannot be undone now is found by `container_net::check` later.
    fn leave(&mut self, networks: Vec<(Attachment, Attached)>) {
        for (attachment, attached) in networks {
            // the ports are free from here on
            drop(attached);
            if let Some(host) = &mut self.host {
                self.leaving.extend(host.leave(&attachment).1);
            }
        }
    }

    /// Serves the names of the networks that have some, if that is wanted.
    fn serve_names(&mut self, netns: BorrowedFd<'_>, spec: &MonitorSpec) -> Result<(), Error> {
        let Some(resolv) = &spec.resolv else { return Ok(()) };
        let directories: Vec<_> = self
            .attached
            .iter()
            .filter(|(attachment, _)| !resolv.nameless.contains(&attachment.network.id))
            .map(|(attachment, _)| &attachment.state_dir)
            .collect();
        match &mut self.names {
            Some(server) => server.set_networks(directories),
            None if self.attached.is_empty() => {}
            None => self.names = Some(Server::bind(netns, directories, resolv.upstreams.clone())?),
        }
        if let Some(server) = &mut self.names {
            let links = resolv.links.iter().map(|(alias, name)| (alias.as_str(), name.as_str()));
            server.set_links(links, self.attached.iter().map(|(attachment, _)| &attachment.state_dir));
        }
        Ok(())
    }

    /// Joins networks that are new in the list and leaves those that are not in it any more. If one cannot be joined,
    /// everything is as before.
    pub(super) fn follow(&mut self, netns: BorrowedFd<'_>, spec: &MonitorSpec) -> Result<(), Error> {
        let before = self.attached.len();
        for wanted in &spec.networks {
            if self.attached.iter().any(|(have, _)| have.network.id == wanted.network.id) {
                continue;
            }
            if let Err(error) = self.join(netns, wanted) {
                let joined = self.attached.split_off(before);
                self.leave(joined);
                return Err(error);
            }
        }
        let wanted = |have: &Attachment| spec.networks.iter().any(|one| one.network.id == have.network.id);
        let (kept, left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.attached).into_iter().partition(|(have, _)| wanted(have));
        self.attached = kept;
        self.leave(left);
        self.finish();
        self.serve_names(netns, spec)
    }

    /// What was given, for `status.json`.
    pub(super) fn status(&self) -> Vec<NetworkStatus> {
        let one = |(attachment, attached): &(Attachment, Attached)| NetworkStatus {
            id: attachment.network.id.clone(),
            addresses: attached.addresses.clone(),
            mac: attached.mac,
            ports: attached.ports.clone(),
        };
        self.attached.iter().map(one).collect()
    }

    /// Attachments that ask for the addresses that were given this time, so that a restart keeps them.
    pub(super) fn same_again(&self) -> Vec<Attachment> {
        let one = |(attachment, attached): &(Attachment, Attached)| {
            let mut same = attachment.clone();
            same.endpoint.addresses.clone_from(&attached.addresses);
            same
        };
        self.attached.iter().map(one).collect()
    }

    /// Leaves every network, all but for the interfaces.
    pub(super) fn detach(&mut self) {
        self.names = None;
        let attached = std::mem::take(&mut self.attached);
        self.leave(attached);
    }

    /// Waits until the kernel has taken apart the interfaces that were left.
    pub(super) fn finish(&mut self) {
        for leaving in self.leaving.drain(..) {
            if let Some(host) = &mut self.host {
                let _ = host.finish(&leaving);
            }
        }
    }
}
