//! The images of a project: pulled, or built of a service's `build`.

use std::path::Path;
use std::sync::Arc;

use compose_model::Project;
use compose_model::model::{Build as Wanted, Service};
use container_build::{Build, Context, Event, StepNetwork, open_dockerfile};
use container_image::{Platform, Pull, Reference};

use super::{ComposeEvent, ComposeWorld, refused, resource};
use crate::{Engine, Error};

impl Engine {
    /// Pulls an image for the services that name it.
    pub(crate) async fn pull_for_project(
        &self,
        project: &Project,
        image: &str,
        step: usize,
        world: &ComposeWorld<'_>,
    ) -> Result<(), Error> {
        let name: Reference = image.parse()?;
        let mut pull = Pull::default();
        let uses = project.services.iter().find(|(_, service)| service.image.as_deref() == Some(image));
        if let Some((service, text)) =
            uses.and_then(|(name, service)| Some((name, service.platform.as_ref()?)))
        {
            pull.platform = platform(service, text)?;
        }
        let client = (world.registries)(&name)
            .map_err(|source| Error::RegistryClient { name: image.to_owned(), source })?;
        let report = |progress| (world.report)(ComposeEvent::Pull { step, progress });
        self.pull_image(&client, &name, &pull, &report).await.map(drop)
    }

    /// Builds the image of a service.
    pub(crate) fn build_for_project(
        &self,
        project: &Project,
        name: &str,
        image: &str,
        step: usize,
        world: &ComposeWorld<'_>,
    ) -> Result<(), Error> {
        let service = project.services.get(name);
        let Some((service, wanted)) = service.and_then(|service| Some((service, service.build.as_ref()?)))
        else {
            return Err(refused(name, "build", "the service has none"));
        };
        let build = build(project, name, service, wanted, world)?;
        let mut names = vec![image.parse::<Reference>()?];
        for tag in &wanted.tags {
            names.push(tag.parse()?);
        }
        let report = |event: Event<'_>| (world.report)(ComposeEvent::Build { step, event });
        self.build(build, &names, true, world.registries, &report).map(drop)
    }
}

fn build(
    project: &Project,
    name: &str,
    service: &Service,
    wanted: &Wanted,
    world: &ComposeWorld<'_>,
) -> Result<Build, Error> {
    let refuse = |key: &str, reason: &str| refused(name, &format!("build.{key}"), reason);
    let impossible = [
        ("entitlements", !wanted.entitlements.is_empty()),
        ("cache_from", !wanted.cache_from.is_empty()),
        ("cache_to", !wanted.cache_to.is_empty()),
        ("no_cache_filter", !wanted.no_cache_filter.is_empty()),
        ("additional_contexts", !wanted.additional_contexts.is_empty()),
        ("isolation", wanted.isolation.is_some()),
        ("shm_size", wanted.shm_size.is_some()),
        ("ulimits", !wanted.ulimits.is_empty()),
        ("privileged", wanted.privileged == Some(true)),
        ("provenance", asked(wanted.provenance.as_deref())),
        ("sbom", asked(wanted.sbom.as_deref())),
    ];
    if let Some((key, _)) = impossible.into_iter().find(|(_, given)| *given) {
        return Err(refuse(key, "the builder cannot do this yet"));
    }
    for text in wanted.platforms.iter().chain(service.platform.as_ref()) {
        let (asked, host) = (platform(name, text)?, Platform::host());
        if (&asked.os, &asked.architecture) != (&host.os, &host.architecture) {
            return Err(refuse(
                "platforms",
                &format!("images for {text} cannot be built here: this machine is {host}"),
            ));
        }
    }
    let context = wanted.context.as_deref().unwrap_or(".");
    if context.contains("://") || context.starts_with("git@") {
        return Err(refuse(
            "context",
            &format!("{context}: a context is a directory here; clone or fetch it first"),
        ));
    }
    let directory = Path::new(context);
    let (dockerfile, file) = if let Some(text) = &wanted.dockerfile_inline {
        (text.clone().into_bytes(), None)
    } else {
        let file = wanted.dockerfile.as_deref().unwrap_or("Dockerfile");
        (open_dockerfile(&directory.join(file))?, Some(file.to_owned()))
    };
    let mut build = Build::new(dockerfile, Context::directory(directory)?);
    build.dockerfile_name = file.filter(|file| !Path::new(file).is_absolute());
    build.target.clone_from(&wanted.target);
    build.arguments = resource::own(&wanted.args);
    build.labels = resource::own(&wanted.labels);
    build.no_cache = world.no_cache || wanted.no_cache == Some(true);
    build.pull = wanted.pull == Some(true);
    build.stop = Arc::clone(&world.stop);
    if let Some(network) = &wanted.network {
        build.network = StepNetwork::parse(network)
            .ok_or_else(|| refuse("network", "it is none of default, none and host"))?;
    }
    for (host, addresses) in wanted.extra_hosts.iter() {
        for text in addresses {
            let address =
                text.parse().map_err(|_| refuse("extra_hosts", &format!("{text:?} is no address")))?;
            build.extra_hosts.push((host.to_owned(), address));
        }
    }
    for (id, socket) in wanted.ssh.iter() {
        let socket =
            socket.clone().filter(|socket| !socket.is_empty()).or_else(|| (world.variable)("SSH_AUTH_SOCK"));
        let socket = socket.ok_or_else(|| refuse("ssh", "SSH_AUTH_SOCK does not say where the agent is"))?;
        build.ssh.insert(id.to_owned(), socket.into());
    }
    let secrets = super::mounts::files(
        project,
        name,
        &Service { secrets: wanted.secrets.clone(), ..Service::default() },
        world,
    )?;
    build.secrets =
        secrets.into_iter().map(|secret| (secret.name.clone(), secret.content.expose().to_vec())).collect();
    Ok(build)
}

/// `provenance` and `sbom` may be switched off.
fn asked(text: Option<&str>) -> bool {
    text.is_some_and(|text| text != "false")
}

fn platform(service: &str, text: &str) -> Result<Platform, Error> {
    text.parse()
        .map_err(|_| refused(service, "platform", format!("{text:?} is no os/architecture[/variant]")))
}
