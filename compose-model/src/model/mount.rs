//! What a service mounts: volumes, directories of the host, memory, secrets and configs.
use super::scalar::{Location, Mode, Pairs, windows};
use crate::diagnostic::{Diagnostic, nearest};
use crate::error::Error;
use crate::map::Map;
use crate::shape::{Reader, Shape, long_only, record};
use crate::units::Bytes;
use crate::yaml::{Node, Value};

record! {
    /// A mount of a service.
    Mount, "a mount", {
        /// `bind`, `volume`, `tmpfs`, `cluster`, `npipe` or `image`.
        "type" kind: Option<String>,
        /// The path of the host, the volume or the image.
        "source" source: Option<String>,
        /// The path in the container.
        "target" target: String,
        /// Whether it cannot be written to.
        "read_only" read_only: Option<bool>,
        /// `consistent`, `cached` or `delegated`; of no effect on Linux.
        "consistency" consistency: Option<String>,
        /// Settings of a bind mount.
        "bind" bind: Option<Bind>,
        /// Settings of a volume.
        "volume" volume: Option<VolumeMount>,
        /// Settings of memory.
        "tmpfs" tmpfs: Option<Tmpfs>,
        /// Settings of an image.
        "image" image: Option<ImageMount>,
    }
}

record! {
    /// Settings of a bind mount.
    Bind, "`bind`", {
        /// `private`, `shared`, `slave`, with or without `r` before it.
        "propagation" propagation: Option<String>,
        /// Whether the source is made when it is not there.
        "create_host_path" create_host_path: Option<bool>,
        /// `enabled`, `disabled`, `writable` or `readonly`.
        "recursive" recursive: Option<String>,
        /// `z` or `Z`.
        "selinux" selinux: Option<String>,
    }
}

record! {
    /// Settings of a volume's mount.
    VolumeMount, "`volume`", {
        /// Labels of the volume, when it is anonymous.
        "labels" labels: Pairs,
        /// Whether the image's files are not copied into an empty volume.
        "nocopy" nocopy: Option<bool>,
        /// A directory of the volume.
        "subpath" subpath: Option<String>,
    }
}

record! {
    /// Settings of memory that is mounted.
    Tmpfs, "`tmpfs`", {
        /// Its size in bytes.
        "size" size: Option<Bytes>,
        /// Its mode.
        "mode" mode: Option<Mode>,
    }
}

record! {
    /// Settings of an image that is mounted.
    ImageMount, "`image`", {
        /// A directory of the image.
        "subpath" subpath: Option<String>,
    }
}

long_only!(Bind, VolumeMount, Tmpfs, ImageMount);

const KINDS: &[&str] = &["bind", "volume", "tmpfs", "cluster", "npipe", "image"];

impl Mount {
    /// A short form, `[SOURCE:]TARGET[:MODE[,MODE]]`; the source's path stays as written.
    ///
    /// # Errors
    /// [`Error::Mount`] says what is wrong.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let fault = |reason| Error::Mount { text: text.chars().take(80).collect(), reason };
        let mut parts: Vec<String> = Vec::new();
        let mut rest = text.split(':').peekable();
        while let Some(part) = rest.next() {
            // `C:\x` is one part, and `C:/x` when a target follows
            let letter = part.len() == 1 && part.starts_with(|c: char| c.is_ascii_alphabetic());
            let Some(path) = rest.next_if(|next| letter && (next.starts_with('\\') || next.starts_with('/')))
            else {
                parts.push(part.to_owned());
                continue;
            };
            if path.starts_with('\\')
                || rest.peek().is_some_and(|next| next.starts_with(['/', '\\']) || next.len() == 1)
            {
                parts.push(format!("{part}:{path}"));
            } else {
                parts.extend([part.to_owned(), path.to_owned()]);
            }
        }
        let mut mount = Self::default();
        let (source, target, modes) = match parts.as_slice() {
            [target] => (None, target, ""),
            [source, target] => (Some(source), target, ""),
            [source, target, modes] => (Some(source), target, modes.as_str()),
            _ => return Err(fault("it has more than three parts between colons")),
        };
        if target.is_empty() || source.is_some_and(String::is_empty) {
            return Err(fault("a part of it is empty"));
        }
        mount.target = tidy(target);
        let kind = match source {
            Some(source) if source.starts_with(['.', '/', '~']) || windows(source) => "bind",
            _ => "volume",
        };
        mount.kind = Some(kind.to_owned());
        mount.source = source.cloned();
        if kind == "bind" {
            mount.bind = Some(Bind { create_host_path: Some(true), ..Bind::default() });
        }
        for mode in modes.split(',').filter(|mode| !mode.is_empty()) {
            match mode {
                "ro" => mount.read_only = Some(true),
                "rw" => mount.read_only = None,
                "z" | "Z" => {
                    mount.bind.get_or_insert_default().selinux = Some(mode.to_owned());
                }
                "nocopy" => mount.volume.get_or_insert_default().nocopy = Some(true),
                "cached" | "delegated" | "consistent" => mount.consistency = Some(mode.to_owned()),
                "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave" => {
                    mount.bind.get_or_insert_default().propagation = Some(mode.to_owned());
                }
                _ => {}
            }
        }
        if kind == "volume" {
            mount.volume.get_or_insert_default();
        }
        Ok(mount)
    }
}

/// A path in a container without a `/` at its end and without `//` and `/./`.
fn tidy(target: &str) -> String {
    if windows(target) || !target.starts_with('/') {
        return target.to_owned();
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn read(item: &Node, reader: &mut Reader<'_>) -> Option<Mount> {
    let mut mount = match &item.value {
        Value::Text(text) => match Mount::parse(text) {
            Ok(mount) => mount,
            Err(error) => return reader.refuse(item, &error, "`[SOURCE:]TARGET[:MODE]`"),
        },
        Value::Map(map) => {
            let mut mount = Mount::read_record(item, reader)?;
            let Some(kind) = &mount.kind else {
                let finding = Diagnostic::error(item.span, "the mount has no `type`");
                reader.report(finding.expected(KINDS.join(", ")));
                return None;
            };
            if !KINDS.contains(&kind.as_str()) {
                let span = map.get("type").map_or(item.span, |member| member.node.span);
                let finding = Diagnostic::error(span, format!("`{kind}` is no type of mount"))
                    .expected(KINDS.join(", "));
                let near = nearest(kind, KINDS.iter().copied()).map(|near| format!("did you mean `{near}`?"));
                let finding = if let Some(near) = near { finding.suggest(near) } else { finding };
                reader.under("type", |reader| reader.report(finding));
                return None;
            }
            if mount.target.is_empty() {
                reader.report(
                    Diagnostic::error(item.span, "the mount has no `target`")
                        .expected("a path in the container"),
                );
                return None;
            }
            if kind == "bind" && mount.source.is_none() {
                reader.report(
                    Diagnostic::error(item.span, "the bind mount has no `source`")
                        .expected("a path of the host"),
                );
                return None;
            }
            mount.target = tidy(&mount.target);
            mount
        }
        _ => return reader.mismatch(item, "`[SOURCE:]TARGET[:MODE]` or a mapping"),
    };
    if mount.kind.as_deref() == Some("bind") {
        let span = item.get("source").map_or(item.span, |source| source.span);
        mount.source = mount.source.map(|source| Location::resolve(&source, span, reader));
    }
    Some(mount)
}

impl Shape for Vec<Mount> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Value::List(items) = &node.value else {
            return if node.is_null() {
                Some(Vec::new())
            } else {
                reader.mismatch(node, "a list of mounts, each behind `- `")
            };
        };
        let mut mounts: Map<Mount> = Map::new();
        for (at, item) in items.iter().enumerate() {
            if let Some(mount) = reader.item(at, |reader| read(item, reader)) {
                mounts.insert(mount.target.clone(), mount);
            }
        }
        Some(mounts.into_iter().map(|(_, mount)| mount).collect())
    }
    fn write(&self) -> Option<Node> {
        if self.is_empty() { None } else { Some(Node::list(self.iter().map(Mount::write_record))) }
    }
}

record! {
    /// A secret or config of the project, as a service sees it.
    FileMount, "a secret or config of a service", {
        /// The name in the project.
        "source" source: String,
        /// The name below `/run/secrets`, or the path.
        "target" target: Option<String>,
        /// The owner's number.
        "uid" uid: Option<String>,
        /// The group's number.
        "gid" gid: Option<String>,
        /// The mode.
        "mode" mode: Option<Mode>,
    }
}

impl Shape for Vec<FileMount> {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Value::List(items) = &node.value else {
            return if node.is_null() {
                Some(Vec::new())
            } else {
                reader.mismatch(node, "a list of names, each behind `- `")
            };
        };
        let mut mounts: Map<FileMount> = Map::new();
        for (at, item) in items.iter().enumerate() {
            let read = reader.item(at, |reader| match &item.value {
                Value::Text(source) => Some(FileMount { source: source.clone(), ..FileMount::default() }),
                Value::Map(_) => {
                    let mount = FileMount::read_record(item, reader)?;
                    if mount.source.is_empty() {
                        reader.report(
                            Diagnostic::error(item.span, "it has no `source`")
                                .expected("a name of the project's"),
                        );
                        return None;
                    }
                    Some(mount)
                }
                _ => reader.mismatch(item, "a name or a mapping"),
            });
            if let Some(mount) = read {
                mounts.insert(mount.target.clone().unwrap_or_else(|| mount.source.clone()), mount);
            }
        }
        Some(mounts.into_iter().map(|(_, mount)| mount).collect())
    }
    fn write(&self) -> Option<Node> {
        if self.is_empty() { None } else { Some(Node::list(self.iter().map(FileMount::write_record))) }
    }
}
