//! The container's networks: attached when its namespace exists, left when the process has ended.

use std::os::fd::BorrowedFd;

use container_net::names::Server;
use container_net::{Attached, Attachment, attach, detach, ensure_network};

use super::{MonitorSpec, NetworkStatus};
use crate::Error;

#[derive(Debug, Default)]
pub(super) struct Networks {
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
            let joined = ensure_network(&attachment.network).and_then(|()| attach(netns, attachment));
            match joined {
                Ok(attached) => networks.attached.push((attachment.clone(), attached)),
                Err(error) => {
                    networks.detach();
                    return Err(error.into());
                }
            }
        }
        if let Err(error) = networks.serve_names(netns, spec) {
            networks.detach();
            return Err(error);
        }
        Ok(networks)
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
            let joined = ensure_network(&wanted.network).and_then(|()| attach(netns, wanted));
            match joined {
                Ok(attached) => self.attached.push((wanted.clone(), attached)),
                Err(error) => {
                    for (attachment, _) in self.attached.drain(before..) {
                        let _ = detach(&attachment);
                    }
                    return Err(error.into());
                }
            }
        }
        let wanted = |have: &Attachment| spec.networks.iter().any(|one| one.network.id == have.network.id);
        let (kept, left): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.attached).into_iter().partition(|(have, _)| wanted(have));
        self.attached = kept;
        for (attachment, attached) in left {
            drop(attached);
            // what cannot be undone now is found by `container_net::check` later
            let _ = detach(&attachment);
        }
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

    /// Leaves every network. What cannot be undone now is found by `container_net::check` later.
    pub(super) fn detach(&mut self) {
        self.names = None;
        for (attachment, attached) in self.attached.drain(..) {
            drop(attached);
            let _ = detach(&attachment);
        }
    }
}
