use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, IsTerminal as _, PipeReader, PipeWriter, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use clap::Args;
use container_engine::{Engine, Error, FileStat, pack, unpack};

use crate::context::{Failure, Roots};

#[derive(Debug, Args)]
pub(crate) struct Cp {
    /// Keep user and group as they are in the archive
    #[arg(short, long)]
    archive: bool,
    /// Follow a link that SOURCE is
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Say nothing of what was copied
    #[arg(short, long)]
    quiet: bool,
    /// CONTAINER:PATH, or a path of this machine, or - for an archive on standard input
    source: String,
    /// CONTAINER:PATH, or a path of this machine, or - for an archive on standard output
    destination: String,
}

/// `CONTAINER:PATH`; a path of this machine has a slash or a dot before any colon.
fn of_container(text: &str) -> Option<(&str, &str)> {
    if text.starts_with(['/', '.']) {
        return None;
    }
    text.split_once(':').filter(|(container, _)| !container.is_empty())
}

/// A path ends as if it were a directory.
fn as_directory(path: &str) -> bool {
    path.ends_with('/') || path.ends_with("/.") || path == "."
}

fn contents_only(path: &str) -> bool {
    path.ends_with("/.") || path == "."
}

impl Cp {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        match (of_container(&self.source), of_container(&self.destination)) {
            (Some((container, path)), None) => self.fetch(roots.engine().await?, container, path).await?,
            (None, Some((container, path))) => self.bring(roots.engine().await?, container, path).await?,
            (Some(_), Some(_)) => return Err(Failure::new("copying between containers is not supported")),
            (None, None) => {
                return Err(Failure::new(
                    "must specify at least one container source: the form is CONTAINER:PATH",
                ));
            }
        }
        Ok(0)
    }

    async fn fetch(&self, engine: Engine, container: &str, path: &str) -> Result<(), Failure> {
        let mut path = path.to_owned();
        let mut stat = engine.stat_file(container, &path).await?;
        for _ in 0..40 {
            if !self.follow_link || stat.link_target.is_empty() {
                break;
            }
            path.clone_from(&stat.link_target);
            stat = engine.stat_file(container, &path).await?;
        }
        if self.destination == "-" {
            if io::stdout().is_terminal() {
                return Err(Failure::new("an archive is not for a terminal: redirect the output"));
            }
            engine.read_files(container, &path, None, io::BufWriter::new(io::stdout())).await?;
            return Ok(());
        }
        let (folder, name) = target(&stat, &path, &self.destination)?;
        let top =
            File::open(&folder).map_err(|error| Failure::new(format!("{}: {error}", folder.display())))?;
        let owner = if self.archive {
            None
        } else {
            Some((rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()))
        };
        let (reader, writer) = io::pipe()?;
        let of = folder.display().to_string();
        let unpacking = thread::spawn(move || unpack(&of, top.as_fd(), reader, owner));
        let name = name.to_string_lossy().into_owned();
        let read = engine.read_files(container, &path, Some(&name), writer).await;
        let unpacked = unpacking.join().map_err(|_| Failure::new("the unpacking ended without a result"))?;
        // what could not be written here is why the other side could not go on
        let unpacked = unpacked.map_err(Error::from)?;
        read?;
        self.say(unpacked.bytes, &folder.join(name).display().to_string())
    }

    async fn bring(&self, engine: Engine, container: &str, path: &str) -> Result<(), Failure> {
        let engine = Arc::new(engine);
        let owner = if self.archive { None } else { Some((0, 0)) };
        if self.source == "-" {
            // a pipe from a thread, so that the engine reads what may block
            let (reader, writer) = io::pipe()?;
            thread::spawn(move || io::copy(&mut io::stdin().lock(), &mut { writer }));
            return Ok(engine.write_files(container, path, reader, owner).await?);
        }
        let mut from = PathBuf::from(&self.source);
        let mut meta =
            fs::symlink_metadata(&from).map_err(|error| Failure::new(format!("{}: {error}", self.source)))?;
        if self.follow_link && meta.is_symlink() || as_directory(&self.source) {
            from = fs::canonicalize(&from)?;
            meta = fs::symlink_metadata(&from)?;
        }
        if as_directory(&self.source) && !meta.is_dir() {
            return Err(Failure::new(format!("{}: not a directory", self.source)));
        }
        let stat = FileStat {
            name: if contents_only(&self.source) {
                ".".into()
            } else {
                last(&from).to_string_lossy().into_owned()
            },
            size: meta.len(),
            mode: std::os::unix::fs::MetadataExt::mode(&meta),
            modified: meta.modified()?,
            link_target: String::new(),
        };
        let (folder, name) = place(&engine, container, path, &stat).await?;
        let (parent, entry) = if meta.is_dir() {
            (File::open(&from)?, CString::from(c"."))
        } else {
            let whole = std::path::absolute(&from)?;
            let above = whole.parent().unwrap_or(Path::new("/"));
            let entry = CString::new(last(&whole).as_bytes())
                .map_err(|_| Failure::new("a name has a zero byte in it"))?;
            (File::open(above)?, entry)
        };
        let (reader, writer): (PipeReader, PipeWriter) = io::pipe()?;
        let of = self.source.clone();
        let in_archive = name.clone();
        let packing =
            thread::spawn(move || pack(&of, parent.as_fd(), &entry, Path::new(&in_archive), writer));
        let written = engine.write_files(container, &folder, reader, owner).await;
        let packed = packing.join().map_err(|_| Failure::new("the packing ended without a result"))?;
        // what the container does not take is why the other side could not go on
        written?;
        packed.map_err(Error::from)?;
        self.say(meta.len(), &format!("{container}:{folder}"))
    }

    fn say(&self, bytes: u64, to: &str) -> Result<(), Failure> {
        if !self.quiet && io::stderr().is_terminal() {
            writeln!(io::stderr(), "Successfully copied {} to {to}", crate::human::size(bytes))?;
        }
        Ok(())
    }
}

fn last(path: &Path) -> &OsStr {
    path.file_name().unwrap_or(OsStr::new("."))
}

/// Where on this machine something goes, and what it is called there, by the rules of `docker cp`.
fn target(stat: &FileStat, source: &str, destination: &str) -> Result<(PathBuf, OsString), Failure> {
    let to = Path::new(destination);
    let there = fs::metadata(to).ok();
    let name = OsString::from(if stat.name == "/" { "." } else { &stat.name });
    match there {
        Some(there) if there.is_dir() => {
            Ok((to.to_owned(), if contents_only(source) { OsString::from(".") } else { name }))
        }
        Some(_) if stat.is_directory() => {
            Err(Failure::new(format!("cannot copy a directory to the file {destination}")))
        }
        Some(_) if as_directory(destination) => Err(Failure::new(format!("{destination}: not a directory"))),
        None if as_directory(destination) && !stat.is_directory() => {
            Err(Failure::new(format!("no such directory: {destination}")))
        }
        _ => {
            let whole = std::path::absolute(to)?;
            let above = whole.parent().unwrap_or(Path::new("/")).to_owned();
            if !above.is_dir() {
                return Err(Failure::new(format!("no such directory: {}", above.display())));
            }
            Ok((above, last(&whole).to_owned()))
        }
    }
}

/// The same in a container: the directory there, and the name in it.
async fn place(
    engine: &Engine,
    container: &str,
    path: &str,
    stat: &FileStat,
) -> Result<(String, String), Failure> {
    let bare = path.trim_end_matches('/');
    let mut there = match engine.stat_file(container, if bare.is_empty() { "/" } else { bare }).await {
        Ok(there) => Some((bare.to_owned(), there)),
        Err(Error::FileMissing { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    // a link at the end is followed
    for _ in 0..40 {
        let Some((_, found)) = there.as_ref().filter(|(_, found)| !found.link_target.is_empty()) else {
            break;
        };
        let to = found.link_target.clone();
        there = match engine.stat_file(container, &to).await {
            Ok(found) => Some((to, found)),
            Err(Error::FileMissing { .. }) => None,
            Err(error) => return Err(error.into()),
        };
    }
    let split = |path: &str| {
        let (above, name) = path.rsplit_once('/').unwrap_or(("", path));
        (if above.is_empty() { "/".to_owned() } else { above.to_owned() }, name.to_owned())
    };
    match there {
        Some((at, found)) if found.is_directory() => {
            Ok((if at.is_empty() { "/".to_owned() } else { at }, stat.name.clone()))
        }
        Some(_) if stat.is_directory() => {
            Err(Failure::new(format!("cannot copy a directory to the file {container}:{path}")))
        }
        Some(_) if as_directory(path) => Err(Failure::new(format!("{container}:{path}: not a directory"))),
        None if as_directory(path) && !stat.is_directory() => {
            Err(Failure::new(format!("no such directory: {container}:{path}")))
        }
        Some((at, _)) => Ok(split(&at)),
        None => Ok(split(bare)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_this_machine_may_have_a_colon_behind_a_slash_or_a_dot() {
        assert_eq!(of_container("web:/etc"), Some(("web", "/etc")));
        assert_eq!(of_container("./web:/etc"), None);
        assert_eq!(of_container("/a:b"), None);
        assert_eq!(of_container("plain"), None);
    }
}
