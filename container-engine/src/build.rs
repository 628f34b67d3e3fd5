use std::error::Error as StdError;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use container_build::{
    Build, BuildCache, Builder, Built, Confinement, Connector, Fetch, Fetched, Images, Isolated, Output,
    Pruned, StepNetwork,
};
use container_cgroup::{DeviceRule, Group, GroupPath, Hierarchy};
use container_image::{
    Body, Diff, Error as ImageError, Http, HttpOptions, Image, Limits, Owners, Pull, Reference, Registry,
    Request, Transport,
};
use container_net::names::ResolvConf;
use container_net::{Attachment, Endpoint, NetworkConfig};
use container_ns::JoinCgroup;

use crate::engine::create_private;
use crate::networks::{NetworkDriver, driver};
use crate::stop::KILL_TIMEOUT;
use crate::{Engine, Error, name, short_id};

/// Redirects that are followed for one address.
const MAX_REDIRECTS: usize = 10;

type Failure = Box<dyn StdError + Send + Sync>;

/// Makes a registry's client for a base image's name.
pub type Registries<'a> = dyn Fn(&Reference) -> Result<Registry, Failure> + Sync + 'a;

impl Engine {
    /// Builds an image of a Dockerfile and gives it its names; one without a name is in the list of images only with `keep`.
    /// Commands run in the network `bridge`, as containers do. Where the build says nothing of `resolv.conf`, it is the
    /// host's, without servers that only the host reaches. Blocks the calling thread.
    ///
    /// A build that fails or is killed leaves nothing but the steps that were finished, from which the next one goes on.
    pub fn build(
        &self,
        mut build: Build,
        names: &[Reference],
        keep: bool,
        registries: &Registries<'_>,
        output: &dyn Output,
    ) -> Result<Built, Error> {
        self.finish_builds()?;
        if build.resolv_conf.is_empty() {
            build.resolv_conf = resolv_conf(build.network);
        }
        let cache = self.build_cache()?;
        let lease = self.images.lease()?;
        let surroundings = Surroundings::new(self);
        let images = BaseImages { engine: self, registries };
        let runner = Isolated { connector: Some(&surroundings), confinement: Some(&surroundings) };
        let builder = Builder {
            store: &self.images,
            snapshots: &self.snapshots,
            cache: &cache,
            images: &images,
            runner: &runner,
            fetch: Some(&Web),
            output,
        };
        let built = builder.build(&build)?;
        drop(surroundings);
        let before = self.images.images()?;
        let descriptor = &built.image.descriptor;
        let same = before.iter().find(|named| named.image.descriptor.digest == descriptor.digest);
        for name in names {
            // writing the index waits for the disk
            if !same.is_some_and(|named| named.names.contains(name)) {
                self.images.tag(name, descriptor)?;
                self.events.record("image", "tag", built.image.id.as_str(), &[("name", &name.familiar())])?;
            }
        }
        if keep && names.is_empty() && same.is_none() {
            self.images.keep(descriptor)?;
        }
        drop(lease);
        Ok(built)
    }

    /// Writes the files of an image into a directory that is not there yet, or is empty.
    pub fn write_tree(&self, image: &Image, path: &Path) -> Result<(), Error> {
        match fs::remove_dir(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("write to", path)(error));
            }
            _ => {}
        }
        let owners = if rustix::process::geteuid().is_root() { Owners::Archive } else { Owners::Caller };
        self.images.unpack_tree(image, path, owners, &Limits::default())?;
        Ok(())
    }

    /// Writes the files of an image as a tar archive.
    pub fn write_archive(&self, image: &Image, output: &mut dyn Write) -> Result<(), Error> {
        let _lease = self.images.lease()?;
        let mut layers = self.snapshots.unpack(&self.images, image, &Limits::default())?;
        layers.reverse();
        Ok(Diff::of_layers(&layers)?.write(output, None)?)
    }

    /// What builds keep for the next one.
    pub fn build_cache(&self) -> Result<BuildCache, Error> {
        Ok(BuildCache::open(self.config.root.join("build"))?)
    }

    /// Forgets what builds have kept, and frees what nothing else needs.
    pub async fn prune_builds(&self) -> Result<Pruned, Error> {
        self.finish_builds()?;
        let pruned = self.build_cache()?.prune()?;
        self.sweep_images()?;
        Ok(pruned)
    }

    /// The images, without names, on whose layers cached steps stand.
    pub(crate) fn cached_layers(&self) -> Result<Vec<Image>, Error> {
        if !self.config.root.join("build").is_dir() {
            return Ok(Vec::new());
        }
        Ok(self.build_cache()?.images()?)
    }

    /// True for a blob that only the builds' cache has a use for: it is the same file, and takes no place.
    pub(crate) fn is_cached(&self, finding: &container_image::Finding) -> bool {
        let container_image::Finding::Unneeded(digest) = finding else { return false };
        self.config.root.join("build/blobs").join(digest.hex()).exists()
    }

    /// Scratch space of builds that were killed, and with `repair` no longer.
    pub(crate) fn abandoned_builds(&self, repair: bool) -> Result<Vec<PathBuf>, Error> {
        let mut found = Vec::new();
        if self.config.root.join("build").is_dir() {
            let cache = self.build_cache()?;
            found = cache.abandoned()?;
            if repair {
                cache.sweep()?;
            }
        }
        let (dead, _) = self.builds()?;
        found.extend(dead.iter().map(|id| self.builds_run().join(id)));
        if repair {
            self.finish_builds()?;
        }
        Ok(found)
    }

    /// The owners of addresses that builds which are under way have.
    pub(crate) fn living_builds(&self) -> Result<Vec<String>, Error> {
        Ok(self.builds()?.1)
    }

    fn builds_run(&self) -> PathBuf {
        self.config.run_root.join("builds")
    }

    /// The ids that builds have taken: of those that are gone, and of those that live.
    fn builds(&self) -> Result<(Vec<String>, Vec<String>), Error> {
        let (mut dead, mut living) = (Vec::new(), Vec::new());
        let directory = self.builds_run();
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((dead, living)),
            Err(error) => return Err(Error::io("list", directory)(error)),
        };
        for entry in entries {
            let Ok(id) = entry.map_err(Error::io("list", &directory))?.file_name().into_string() else {
                continue;
            };
            match self.try_lock_container(&id)? {
                Some(lock) => {
                    drop(lock);
                    dead.push(id);
                }
                None => living.push(id),
            }
        }
        Ok((dead, living))
    }

    /// Takes back what builds that were killed had of networks and control groups. Idempotent.
    fn finish_builds(&self) -> Result<(), Error> {
        for id in self.builds()?.0 {
            let Some(lock) = self.try_lock_container(&id)? else { continue };
            self.end_build(&id, lock, true)?;
        }
        Ok(())
    }

    /// Gives back all that an id of a build has, and then the id.
    fn end_build(&self, id: &str, lock: File, may_have_network: bool) -> Result<(), Error> {
        let failed = |error: container_cgroup::Error| Error::from(container_runtime::Error::from(error));
        let hierarchy = Hierarchy::of_host().map_err(failed)?;
        if let Ok(group) = Group::open(&hierarchy, &self.build_group(id)?) {
            group.kill(KILL_TIMEOUT).map_err(failed)?;
            group.remove(KILL_TIMEOUT).map_err(failed)?;
            self.remove_empty_cgroup()?;
        }
        let (network, state_dir) = self.build_network()?;
        if may_have_network && state_dir.exists() {
            container_net::detach(&build_attachment(id, network, state_dir)?)?;
        }
        for path in [self.builds_run().join(id), self.config.run_root.join("locks").join(id)] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", path)(error));
                }
                _ => {}
            }
        }
        drop(lock);
        Ok(())
    }

    fn build_group(&self, id: &str) -> Result<GroupPath, Error> {
        GroupPath::new(format!("/{}/{id}", self.tables.name()))
            .map_err(|error| container_runtime::Error::from(error).into())
    }

    fn build_network(&self) -> Result<(NetworkConfig, PathBuf), Error> {
        let row = self.find_network_row("bridge")?;
        let NetworkDriver::Bridge(config) = driver(&row)? else {
            return Err(Error::NetworkMissing(row.name));
        };
        Ok((*config, self.network_run(&row.id)))
    }
}

fn build_attachment(id: &str, network: NetworkConfig, state_dir: PathBuf) -> Result<Attachment, Error> {
    let endpoint = Endpoint::new(id, format!("build-{}", short_id(id)))?;
    Ok(Attachment { network, endpoint, state_dir })
}

/// The host's `resolv.conf` for steps: in a network of their own they do not reach its loopback.
fn resolv_conf(network: StepNetwork) -> String {
    let text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    if network == StepNetwork::Host {
        return text;
    }
    let mut conf = ResolvConf::parse(&text);
    conf.nameservers.retain(|address| !address.is_loopback());
    if conf.nameservers.is_empty() {
        // where systemd-resolved writes the servers behind its own
        let text = fs::read_to_string("/run/systemd/resolve/resolv.conf").unwrap_or_default();
        conf.nameservers = ResolvConf::parse(&text).nameservers;
    }
    let mut lines: Vec<String> =
        conf.nameservers.iter().map(|address| format!("nameserver {address}")).collect();
    for (word, values) in [("search", &conf.search), ("options", &conf.options)] {
        if !values.is_empty() {
            lines.push(format!("{word} {}", values.join(" ")));
        }
    }
    lines.join("\n") + "\n"
}

/// Base images: those in the store, and those of registries.
struct BaseImages<'a> {
    engine: &'a Engine,
    registries: &'a Registries<'a>,
}

impl Images for BaseImages<'_> {
    fn image(&self, text: &str, pull: bool) -> Result<Image, Failure> {
        let engine = self.engine;
        if !pull {
            match engine.images.find(text) {
                Ok(named) => return Ok(named.image),
                Err(ImageError::ImageMissing(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let name: Reference = text.parse()?;
        let registry = (self.registries)(&name)?;
        let (store, snapshots) = (&engine.images, &engine.snapshots);
        let (image, _) =
            registry.pull_unpacked(store, snapshots, &name, &Pull::default(), &Limits::default(), &|_| {})?;
        store.tag(&name, &image.descriptor)?;
        engine.events.record("image", "pull", image.id.as_str(), &[("name", &name.familiar())])?;
        Ok(image)
    }
}

/// Networks and the control group of one build. Dropping it gives them back.
struct Surroundings<'a> {
    engine: &'a Engine,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Namespaces that no step uses.
    idle: Vec<OwnedFd>,
    /// What was taken, with the locks that say that this build lives.
    taken: Vec<(String, File)>,
    group: Option<Group>,
}

impl<'a> Surroundings<'a> {
    fn new(engine: &'a Engine) -> Self {
        Self { engine, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new id, known to be this build's from now on.
    fn take_id(&self, state: &mut State) -> Result<String, Error> {
        let id = name::new_id()?;
        let lock = self.engine.lock_container(&id)?;
        let directory = self.engine.builds_run();
        create_private(&directory)?;
        let mark = directory.join(&id);
        File::create_new(&mark).map_err(Error::io("create", mark))?;
        state.taken.push((id.clone(), lock));
        Ok(id)
    }
}

impl Connector for Surroundings<'_> {
    fn take(&self) -> Result<Option<OwnedFd>, Failure> {
        Ok(self.state().idle.pop())
    }

    fn connect(&self, namespace: BorrowedFd<'_>) -> Result<(), Failure> {
        let id = self.take_id(&mut self.state())?;
        let (network, state_dir) = self.engine.build_network()?;
        create_private(&state_dir)?;
        container_net::ensure_network(&network)?;
        container_net::attach(namespace, &build_attachment(&id, network, state_dir)?)?;
        Ok(())
    }

    fn give_back(&self, namespace: OwnedFd) {
        self.state().idle.push(namespace);
    }
}

impl Confinement for Surroundings<'_> {
    fn join(&self) -> Result<JoinCgroup, Failure> {
        let mut state = self.state();
        if state.group.is_none() {
            let id = self.take_id(&mut state)?;
            let limits = container_cgroup::Limits { devices: DeviceRule::defaults(), ..Default::default() };
            state.group =
                Some(Group::create(&Hierarchy::of_host()?, &self.engine.build_group(&id)?, &limits)?);
        }
        let Some(group) = &state.group else { return Ok(JoinCgroup::Inherit) };
        let join = group.join()?;
        Ok(match (join.unified, join.tasks) {
            (Some(unified), tasks) if tasks.is_empty() => JoinCgroup::V2(unified),
            (Some(unified), tasks) => JoinCgroup::Hybrid(unified, tasks),
            (None, tasks) if tasks.is_empty() => JoinCgroup::Inherit,
            (None, tasks) => JoinCgroup::V1(tasks),
        })
    }
}

impl Drop for Surroundings<'_> {
    fn drop(&mut self) {
        let state = std::mem::take(&mut *self.state());
        drop(state.idle);
        for (id, lock) in state.taken {
            // what cannot be given back now is found by the next build, and by a check
            let is_group = state.group.as_ref().is_some_and(|group| group.path().as_str().ends_with(&id));
            let _ = self.engine.end_build(&id, lock, !is_group);
        }
    }
}

/// What `ADD` fetches.
struct Web;

impl Fetch for Web {
    fn fetch(&self, url: &str) -> Result<Fetched, Failure> {
        let client = Http::new(&HttpOptions::default())?;
        let mut url = url.to_owned();
        for _ in 0..MAX_REDIRECTS {
            let request = Request { method: "GET", url: &url, headers: Vec::new(), body: Body::Empty };
            let response = client.send(request)?;
            match response.status {
                200 => {
                    let modified = response.header("last-modified").and_then(http_date);
                    return Ok(Fetched { body: response.body, modified });
                }
                301 | 302 | 303 | 307 | 308 => {
                    let to = response.header("location").ok_or("the server sends us nowhere")?;
                    let to = absolute(&url, to);
                    if url.starts_with("https://") && !to.starts_with("https://") {
                        return Err("the server sends us away from https".into());
                    }
                    if !to.starts_with("http://") && !to.starts_with("https://") {
                        return Err(format!("the server sends us to {to}").into());
                    }
                    url = to;
                }
                status => return Err(format!("the server answers {status}").into()),
            }
        }
        Err("the server sends us round in circles".into())
    }
}

/// Where a redirect leads.
fn absolute(from: &str, to: &str) -> String {
    if to.contains("://") {
        return to.to_owned();
    }
    let (scheme, rest) = from.split_once("://").unwrap_or(("https", from));
    if let Some(host) = to.strip_prefix("//") {
        return format!("{scheme}://{host}");
    }
    let path = rest.split(['?', '#']).next().unwrap_or(rest);
    let host = path.split('/').next().unwrap_or(path);
    if to.starts_with('/') {
        return format!("{scheme}://{host}{to}");
    }
    let folder = path.rsplit_once('/').map_or(path, |(folder, _)| folder);
    format!("{scheme}://{folder}/{to}")
}

/// Seconds since 1970 of a date such as `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, 5.6.7).
fn http_date(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut parts = text.split_whitespace().skip(1);
    let (day, month, year, time) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let month = MONTHS.iter().position(|known| *known == month)? + 1;
    let day: u8 = day.parse().ok()?;
    let time = crate::parse_rfc3339(&format!("{year}-{month:02}-{day:02}T{time}Z"))?;
    time.duration_since(std::time::UNIX_EPOCH).ok().map(|since| since.as_secs() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_where_the_server_says() {
        assert_eq!(absolute("https://a/b/c?d", "e"), "https://a/b/e");
        assert_eq!(absolute("https://a/b/c", "/e"), "https://a/e");
        assert_eq!(absolute("http://a/b", "//c/d"), "http://c/d");
        assert_eq!(absolute("http://a/b", "https://c"), "https://c");
    }

    #[test]
    fn dates_of_servers_are_read() {
        assert_eq!(http_date("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(http_date("yesterday"), None);
    }
}
