//! A service as a container.

use std::collections::BTreeMap;

use compose_model::Project;
use compose_model::model::Service;

use super::{ComposeWorld, labels, limits, mounts, places, policies, refused, resource};
use crate::networks::EndpointOptions;
use crate::options::{ContainerOptions, DeviceSpec, Ulimit};
use crate::{Engine, Error};

/// A container to be made, and the networks that it joins beside the first.
pub(crate) struct Wanted {
    pub(crate) options: ContainerOptions,
    pub(crate) further: Vec<(String, EndpointOptions)>,
}

impl Engine {
    /// The container `number` of a service.
    pub(crate) fn container_of_service(
        &self,
        project: &Project,
        name: &str,
        number: u32,
        world: &ComposeWorld<'_>,
    ) -> Result<Wanted, Error> {
        let service = project.services.get(name).ok_or_else(|| Error::ComposeKey {
            key: format!("services.{name}"),
            reason: "there is no such service".into(),
        })?;
        impossible(name, service)?;
        let refuse = |key: &str, reason: String| refused(name, key, reason);
        let places = self.networks_of_service(project, name, service)?;
        let (seccomp, no_new_privileges) = policies::security(name, &service.security_opt)?;
        let options = ContainerOptions {
            image: project
                .image(name, service)
                .ok_or_else(|| refuse("image", "neither image nor build is given".into()))?,
            command: service.command.as_deref().unwrap_or_default().to_vec(),
            entrypoint: service.entrypoint.as_deref().map(<[String]>::to_vec),
            env: variables(service),
            labels: self.labels_of_service(project, name, service, number),
            user: service.user.clone(),
            group_add: service.group_add.iter().map(|group| group.0.clone()).collect(),
            working_dir: service.working_dir.clone(),
            hostname: service.hostname.clone(),
            domainname: service.domainname.clone(),
            host_uts: host_mode(name, "uts", service.uts.as_deref(), &[""])?,
            host_cgroup: service.cgroup.as_deref() == Some("host"),
            expose: service.expose.iter().map(|port| port.0.clone()).collect(),
            tty: service.tty == Some(true),
            stdin_open: service.stdin_open == Some(true),
            network: places.mode,
            aliases: places.first.aliases,
            ip: places.first.ip,
            ports: places::ports(name, &service.ports, number)?,
            extra_hosts: places::hosts(name, service)?,
            dns: places::addresses(name, "dns", &service.dns)?,
            dns_search: service.dns_search.to_vec(),
            dns_options: service.dns_opt.clone(),
            links: self.links_of_service(project, service)?,
            volumes_from: self.volumes_from(project, service)?,
            mounts: mounts::mounts(project, name, service)?,
            secrets: mounts::files(project, name, service, world)?,
            read_only: service.read_only == Some(true),
            privileged: service.privileged == Some(true),
            cap_add: service.cap_add.clone(),
            cap_drop: service.cap_drop.clone(),
            seccomp,
            no_new_privileges,
            resources: limits::resources(name, service)?,
            sysctls: resource::own(&service.sysctls),
            ulimits: service
                .ulimits
                .iter()
                .map(|(name, limit)| Ulimit {
                    name: name.to_owned(),
                    soft: limit.soft as u64,
                    hard: limit.hard as u64,
                })
                .collect(),
            devices: devices(name, service)?,
            shm_size: service.shm_size.map(|size| limits::bytes(name, "shm_size", size)).transpose()?,
            host_pid: host_mode(name, "pid", service.pid.as_deref(), &[""])?,
            host_ipc: host_mode(name, "ipc", service.ipc.as_deref(), &["", "private"])?,
            restart: policies::restart(name, service)?,
            stop_signal: service.stop_signal.clone(),
            health: policies::health(service),
            stop_timeout: service.stop_grace_period,
            log: policies::log(name, service)?,
            ..ContainerOptions::default()
        };
        Ok(Wanted { options, further: places.further })
    }

    fn labels_of_service(
        &self,
        project: &Project,
        name: &str,
        service: &Service,
        number: u32,
    ) -> BTreeMap<String, String> {
        let mut all = resource::own(&service.labels);
        all.extend(labels::common(project));
        let files: Vec<String> = project.files.iter().map(|file| file.display().to_string()).collect();
        let depends = service.depends_on.iter().map(|(other, how)| {
            let condition = how.condition.as_deref().unwrap_or("service_started");
            format!("{other}:{condition}:{}", how.restart == Some(true))
        });
        let depends: Vec<String> = depends.collect();
        let image = project.image(name, service).and_then(|image| self.images.find(&image).ok());
        all.extend(
            [
                (labels::SERVICE, name.to_owned()),
                (labels::NUMBER, number.to_string()),
                (labels::ONE_OFF, "False".to_owned()),
                (labels::HASH, project.hash(service)),
                (labels::WORKING_DIR, project.directory.display().to_string()),
                (labels::FILES, files.join(",")),
                (labels::DEPENDS_ON, depends.join(",")),
                (labels::IMAGE, image.map(|named| named.image.id.to_string()).unwrap_or_default()),
            ]
            .map(|(key, value)| (key.to_owned(), value)),
        );
        all
    }
}

/// Keys that the engine cannot do, by name.
fn impossible(name: &str, service: &Service) -> Result<(), Error> {
    let given = [
        ("blkio_config", service.blkio_config.is_some()),
        ("cgroup_parent", service.cgroup_parent.is_some()),
        ("cpu_rt_period", service.cpu_rt_period.is_some()),
        ("cpu_rt_runtime", service.cpu_rt_runtime.is_some()),
        ("credential_spec", service.credential_spec.is_some()),
        ("device_cgroup_rules", !service.device_cgroup_rules.is_empty()),
        ("gpus", !service.gpus.0.is_empty()),
        ("init", service.init == Some(true)),
        ("isolation", service.isolation.as_deref().is_some_and(|kind| kind != "default")),
        ("mac_address", service.mac_address.is_some()),
        ("mem_swappiness", service.mem_swappiness.is_some()),
        ("models", !service.models.is_empty()),
        ("oom_kill_disable", service.oom_kill_disable == Some(true)),
        ("post_start", !service.post_start.is_empty()),
        ("pre_start", !service.pre_start.is_empty()),
        ("pre_stop", !service.pre_stop.is_empty()),
        ("provider", service.provider.is_some()),
        ("runtime", service.runtime.is_some()),
        ("storage_opt", !service.storage_opt.is_empty()),
        ("use_api_socket", service.use_api_socket == Some(true)),
        ("userns_mode", service.userns_mode.as_deref().is_some_and(|mode| mode != "host")),
    ];
    match given.into_iter().find(|(_, given)| *given) {
        Some((key, _)) => Err(refused(name, key, "the engine cannot do this yet")),
        None => Ok(()),
    }
}

fn variables(service: &Service) -> Vec<String> {
    let set = service.environment.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    set.map(|(name, value)| format!("{name}={value}")).collect()
}

fn devices(name: &str, service: &Service) -> Result<Vec<DeviceSpec>, Error> {
    let read = |device: &compose_model::model::Device| {
        let target = device.target.as_deref().unwrap_or(&device.source);
        let access = device.permissions.as_deref().unwrap_or("rwm");
        format!("{}:{target}:{access}", device.source).parse()
    };
    let all: Result<_, Error> = service.devices.iter().map(read).collect();
    all.map_err(|error| refused(name, "devices", error.to_string()))
}

fn host_mode(name: &str, key: &str, mode: Option<&str>, own: &[&str]) -> Result<bool, Error> {
    match mode {
        None => Ok(false),
        Some("host") => Ok(true),
        Some(mode) if own.contains(&mode) => Ok(false),
        Some(mode) => Err(refused(name, key, format!("the mode {mode:?} is not known here"))),
    }
}
