//! What a service mounts: volumes, directories, memory, secrets and configs.

use std::fs;
use std::path::{Path, PathBuf};

use compose_model::Project;
use compose_model::model::{FileMount, Mount as Wanted, Service};
use container_volume::{Mount, MountSpec, Propagation, Recursion, Relabel, Secret, SecretBytes};

use super::{ComposeWorld, refused, resource};
use crate::Error;

/// All mounts of a service; a volume has its name in the engine.
pub(super) fn mounts(project: &Project, name: &str, service: &Service) -> Result<Vec<MountSpec>, Error> {
    let mut specs = Vec::new();
    for (at, mount) in service.volumes.iter().enumerate() {
        specs.push(spec(project, &format!("volumes[{at}]"), name, mount)?);
    }
    for text in service.tmpfs.iter() {
        specs.push(MountSpec::from_tmpfs_flag(text)?);
    }
    Ok(specs)
}

fn spec(project: &Project, key: &str, service: &str, mount: &Wanted) -> Result<MountSpec, Error> {
    let refuse = |part: &str, reason: &str| refused(service, &format!("{key}{part}"), reason);
    let source = mount.source.clone().filter(|source| !source.is_empty());
    let what = match mount.kind.as_deref().unwrap_or("volume") {
        "volume" => {
            let settings = mount.volume.clone().unwrap_or_default();
            let named = source.map(|source| {
                let volume = project.volumes.get(&source);
                volume.and_then(|volume| volume.name.clone()).unwrap_or(source)
            });
            Mount::Volume {
                name: named,
                nocopy: settings.nocopy == Some(true),
                subpath: settings.subpath.map(PathBuf::from),
                driver: None,
                options: std::collections::BTreeMap::default(),
                labels: resource::own(&settings.labels),
            }
        }
        "bind" => {
            let settings = mount.bind.clone().unwrap_or_default();
            let word = settings.propagation.as_deref().unwrap_or("rprivate");
            let propagation = Propagation::of_word(word)
                .ok_or_else(|| refuse(".bind.propagation", "there is no such propagation"))?;
            Mount::Bind {
                source: source
                    .map(PathBuf::from)
                    .ok_or_else(|| refuse(".source", "a bind mount needs one"))?,
                propagation,
                recursive: match settings.recursive.as_deref() {
                    None | Some("enabled") => Recursion::Enabled,
                    Some("disabled") => Recursion::Disabled,
                    Some("writable") => Recursion::Writable,
                    Some("readonly") => Recursion::ReadOnly,
                    Some(_) => {
                        return Err(refuse(
                            ".bind.recursive",
                            "it is none of enabled, disabled, writable, readonly",
                        ));
                    }
                },
                create: settings.create_host_path.unwrap_or(true),
                relabel: match settings.selinux.as_deref() {
                    None => None,
                    Some("z") => Some(Relabel::Shared),
                    Some("Z") => Some(Relabel::Private),
                    Some(_) => return Err(refuse(".bind.selinux", "it is neither z nor Z")),
                },
            }
        }
        "tmpfs" => {
            let settings = mount.tmpfs.clone().unwrap_or_default();
            Mount::Tmpfs {
                size: settings.size.and_then(|size| u64::try_from(size.0).ok()).filter(|size| *size > 0),
                mode: settings.mode.map(|mode| mode.0),
            }
        }
        other => return Err(refuse(".type", &format!("mounts of the type {other:?} cannot be made here"))),
    };
    Ok(MountSpec {
        mount: what,
        target: PathBuf::from(&mount.target),
        read_only: mount.read_only == Some(true),
    })
}

/// Secrets and configs of a service, with their content.
pub(super) fn files(
    project: &Project,
    name: &str,
    service: &Service,
    world: &ComposeWorld<'_>,
) -> Result<Vec<Secret>, Error> {
    let mut files = Vec::new();
    for mount in &service.secrets {
        let secret = project.secrets.get(&mount.source);
        let secret = secret
            .ok_or_else(|| refused(name, "secrets", format!("there is no secret {:?}", mount.source)))?;
        let source = Source {
            place: format!("secrets.{}", mount.source),
            file: secret.file.as_deref().map(Path::new),
            variable: secret.environment.as_deref(),
            content: None,
        };
        files.push(file(mount, "/run/secrets", &source, world)?);
    }
    for mount in &service.configs {
        let config = project.configs.get(&mount.source);
        let config = config
            .ok_or_else(|| refused(name, "configs", format!("there is no config {:?}", mount.source)))?;
        let source = Source {
            place: format!("configs.{}", mount.source),
            file: config.file.as_deref().map(Path::new),
            variable: config.environment.as_deref(),
            content: config.content.as_deref(),
        };
        files.push(file(mount, "/", &source, world)?);
    }
    Ok(files)
}

/// Where a secret or config comes from.
struct Source<'a> {
    place: String,
    file: Option<&'a Path>,
    variable: Option<&'a str>,
    content: Option<&'a str>,
}

fn file(
    mount: &FileMount,
    folder: &str,
    source: &Source<'_>,
    world: &ComposeWorld<'_>,
) -> Result<Secret, Error> {
    let refuse =
        |part: &str, reason: String| Error::ComposeKey { key: format!("{}.{part}", source.place), reason };
    let content = match (source.file, source.variable, source.content) {
        (Some(path), _, _) => fs::read(path).map_err(Error::io("read", path))?,
        (None, Some(name), _) => (world.variable)(name)
            .ok_or_else(|| refuse("environment", format!("the environment has no {name}")))?
            .into_bytes(),
        (None, None, Some(text)) => text.as_bytes().to_vec(),
        (None, None, None) => {
            return Err(refuse("external", "what is kept by a swarm cannot be had on one host".to_owned()));
        }
    };
    let target = mount.target.as_deref().unwrap_or(&mount.source);
    let number = |part: &str, text: &Option<String>| {
        let text = text.as_deref().unwrap_or("0");
        text.parse::<u32>().map_err(|_| refuse(part, format!("{text:?} is no number of an owner")))
    };
    Ok(Secret {
        name: mount.source.clone(),
        target: Path::new(folder).join(target),
        uid: number("uid", &mount.uid)?,
        gid: number("gid", &mount.gid)?,
        mode: mount.mode.map_or(0o444, |mode| mode.0),
        content: SecretBytes::new(content),
    })
}
