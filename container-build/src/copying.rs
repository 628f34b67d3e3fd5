//! `COPY` and `ADD`.

use std::io::{BufReader, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use container_image::{Algorithm, Compression, Hasher, Limits, apply, inflate};
use dockerfile_parser::{
    Add, Copy, Dockerfile, EXPANSION_LIMIT, Ignore, Instruction, Source, Word, expand_heredoc,
};

use crate::fetch::Fetched;
use crate::key::Key;
use crate::mode::ModeChange;
use crate::select::{Item, ItemKind, Selection, Tree, shown};
use crate::stage::{Files, Root, Stage};
use crate::transfer::{Looks, Placer};
use crate::{Error, owner, view};

/// A file that is fetched is at most so long: 1 TiB, as a layer.
const MAX_FETCHED: u64 = 1 << 40;

/// What an instruction says, expanded.
struct Plan<'f> {
    keyword: &'static str,
    sources: Vec<From<'f>>,
    destination: String,
    /// The destination is a directory, by how it is written.
    into_directory: bool,
    chown: Option<String>,
    chmod: Option<String>,
    exclude: Vec<String>,
    link: bool,
    parents: bool,
    /// `--unpack`
    unpack: Option<bool>,
    checksum: Option<String>,
    /// What the history says of it.
    said: String,
}

enum From<'f> {
    Path(String),
    Url(String),
    Inline { name: &'f str, content: Vec<u8> },
}

/// Something to be put into the root.
enum Piece {
    Items { tree: Arc<Tree>, items: Vec<Item>, from: String },
    Archive { tree: Arc<Tree>, item: Item },
    Content { name: String, content: Vec<u8>, mode: u32, modified: Option<(i64, i64)> },
    Fetched { path: PathBuf, name: String, modified: Option<(i64, i64)>, unpack: bool },
}

impl Stage<'_, '_> {
    pub(crate) fn copy(
        &mut self,
        file: &Dockerfile,
        instruction: &Instruction,
        copy: &Copy,
    ) -> Result<(), Error> {
        let mut plan =
            self.plan(file, instruction, "COPY", &copy.sources, copy.destination.as_ref(), &copy.exclude)?;
        plan.link = copy.link.as_ref().is_some_and(|link| link.value);
        plan.parents = copy.parents.as_ref().is_some_and(|parents| parents.value);
        plan.into_directory |= plan.parents;
        plan.chown = copy.chown.as_ref().map(|word| self.expand(file, word)).transpose()?;
        plan.chmod = copy.chmod.as_ref().map(|word| self.expand(file, word)).transpose()?;
        let from = copy.from.as_ref().map(|word| self.expand(file, word)).transpose()?;
        self.transfer(&plan, from.as_deref())
    }

    pub(crate) fn add(
        &mut self,
        file: &Dockerfile,
        instruction: &Instruction,
        add: &Add,
    ) -> Result<(), Error> {
        let mut plan =
            self.plan(file, instruction, "ADD", &add.sources, add.destination.as_ref(), &add.exclude)?;
        plan.link = add.link.as_ref().is_some_and(|link| link.value);
        plan.unpack = add.unpack.as_ref().map(|unpack| unpack.value);
        plan.chown = add.chown.as_ref().map(|word| self.expand(file, word)).transpose()?;
        plan.chmod = add.chmod.as_ref().map(|word| self.expand(file, word)).transpose()?;
        plan.checksum = add.checksum.as_ref().map(|word| self.expand(file, word)).transpose()?;
        if plan.checksum.is_some() && !plan.sources.iter().any(|source| matches!(source, From::Url(_))) {
            return Err(Error::value("--checksum", "", "it is for sources that are fetched"));
        }
        self.transfer(&plan, None)
    }

    fn plan<'f>(
        &self,
        file: &'f Dockerfile,
        instruction: &'f Instruction,
        keyword: &'static str,
        sources: &[Source],
        destination: Option<&Word>,
        exclude: &[Word],
    ) -> Result<Plan<'f>, Error> {
        let missing = |reason: &str| Error::value(keyword, "", reason);
        let destination = destination.ok_or_else(|| missing("it needs a source and a destination"))?;
        let written = self.expand(file, destination)?;
        let mut found = Vec::new();
        let mut said = Vec::new();
        for source in sources {
            if let Some(heredoc) = source.heredoc.and_then(|at| instruction.heredocs.get(at)) {
                let content = heredoc.content(file);
                let content = if heredoc.expand {
                    let text = String::from_utf8_lossy(&content);
                    let mut lookup = |name: &str| self.scope.value(name).map(std::borrow::Cow::Borrowed);
                    expand_heredoc(&text, &mut lookup, EXPANSION_LIMIT.max(text.len() * 4))
                        .map_err(|source| Error::Expand { word: heredoc.name.clone(), source })?
                        .into_bytes()
                } else {
                    content.into_owned()
                };
                said.push(format!("<<{}", heredoc.name));
                found.push(From::Inline { name: &heredoc.name, content });
                continue;
            }
            let text = self.expand(file, &source.word)?;
            said.push(text.clone());
            if keyword == "ADD" && is_git(&text) {
                return Err(Error::Unsupported {
                    what: format!("the git repository {text}"),
                    reason: "clone it beside the Dockerfile and copy it",
                });
            }
            if keyword == "ADD" && (text.starts_with("http://") || text.starts_with("https://")) {
                found.push(From::Url(text));
            } else {
                found.push(From::Path(text));
            }
        }
        if found.is_empty() {
            return Err(missing("it needs a source and a destination"));
        }
        let ends = |suffix: &str| written.ends_with(suffix);
        let into = found.len() > 1 || ends("/") || written == "." || ends("/.");
        said.push(written.clone());
        Ok(Plan {
            keyword,
            sources: found,
            destination: view::absolute(&self.config.working_dir, &written),
            into_directory: into,
            chown: None,
            chmod: None,
            exclude: exclude.iter().map(|word| self.expand(file, word)).collect::<Result<_, _>>()?,
            link: false,
            parents: false,
            unpack: None,
            checksum: None,
            said: said.join(" "),
        })
    }

    fn transfer(&mut self, plan: &Plan<'_>, from: Option<&str>) -> Result<(), Error> {
        let mode = plan.chmod.as_deref().map(ModeChange::parse).transpose()?;
        let exclude = Ignore::from_patterns(plan.exclude.iter().map(String::as_str))
            .map_err(|fault| Error::value("--exclude", plan.exclude.join(" "), fault.to_string()))?;
        let mut name = plan.keyword.to_owned();
        if let Some(from) = from {
            name = format!("{name} --from={from}");
        }
        let mut said = plan.keyword.to_owned();
        for (flag, value) in [("--chown", &plan.chown), ("--chmod", &plan.chmod)] {
            if let Some(value) = value {
                name = format!("{name} {flag}={value}");
                said = format!("{said} {flag}={value}");
            }
        }
        let before = (self.files.layers.len(), self.files.key.clone());
        self.step(&format!("{name} {}", plan.said), |stage, number| {
            let origin = from.map(|name| stage.origin(name)).transpose()?;
            let coarse = origin.as_ref().map(|origin| stage.coarse_key(plan, origin));
            if let Some(coarse) = &coarse
                && stage.cached(coarse, number)
            {
                return Ok(());
            }
            let (pieces, key) = stage.pieces(plan, &exclude, origin.as_ref(), from)?;
            if stage.cached(&key, number) {
                stage.also(coarse)?;
                return Ok(());
            }
            let layers = if plan.link { Vec::new() } else { stage.files.layers.clone() };
            let root = stage.root(&layers)?;
            let looks = Looks { owner: stage.chown(plan, &root)?, mode };
            Stage::put(plan, &pieces, &root, &looks)?;
            stage.commit(root, &key)?;
            stage.also(coarse)
        })?;
        if plan.link {
            // the layer is the same above whatever is below, the files are not
            let key = Key::new("link").with("parent", before.1).with("layer", &self.files.key);
            self.files.key = key.finish();
        }
        self.say(format!("{said} {} # buildkit", plan.said), self.files.layers.len() > before.0);
        Ok(())
    }

    /// What a copy from a stage or an image is known by before its files are looked at.
    fn coarse_key(&self, plan: &Plan<'_>, origin: &Files) -> String {
        let mut key = self.plan_key("coarse copy", plan).with("origin", &origin.key);
        for source in &plan.sources {
            if let From::Path(path) = source {
                key.add("path", path);
            }
        }
        key.finish()
    }

    fn plan_key(&self, kind: &str, plan: &Plan<'_>) -> Key {
        let parent = if plan.link { "" } else { &self.files.key };
        let mut key = Key::new(kind)
            .with("keyword", plan.keyword)
            .with("parent", parent)
            .with("destination", &plan.destination)
            .with("into", [u8::from(plan.into_directory), u8::from(plan.link), u8::from(plan.parents)])
            .with("chmod", plan.chmod.as_deref().unwrap_or("-"))
            .with("chown", plan.chown.as_deref().unwrap_or("-"));
        if plan.link
            && plan.chown.as_deref().is_some_and(|owner| owner.contains(|c: char| !c.is_ascii_digit()))
        {
            // a name means what the image below says
            key.add("names of", &self.files.key);
        }
        key.list("exclude", &plan.exclude);
        key.add("unpack", format!("{:?}", plan.unpack));
        key
    }

    /// Keeps what was just found or made under one more key.
    fn also(&mut self, key: Option<String>) -> Result<(), Error> {
        let (Some(coarse), builder) = (key, &self.session.builder) else { return Ok(()) };
        let fine = self.files.key.clone();
        if let Some(record) = builder.cache.find(&fine, builder.store) {
            builder.cache.keep(&coarse, &record, builder.store)?;
        }
        Ok(())
    }

    fn chown(&self, plan: &Plan<'_>, root: &Root) -> Result<Option<(u32, u32)>, Error> {
        let Some(text) = &plan.chown else { return Ok(None) };
        if plan.link {
            let below = self.session.files_of(&self.files, "the stage")?;
            return owner::owner(below.root.as_fd(), text).map(Some);
        }
        owner::owner(root.mount.as_fd(), text).map(Some)
    }

    /// All that is to be put there, and the step's key.
    fn pieces(
        &self,
        plan: &Plan<'_>,
        exclude: &Ignore,
        origin: Option<&Files>,
        from: Option<&str>,
    ) -> Result<(Vec<Piece>, String), Error> {
        let session = self.session;
        let mut key = self.plan_key("copy", plan);
        let mut pieces = Vec::new();
        let tree = match origin {
            Some(files) => Some(session.files_of(files, &format!("{:?}", from.unwrap_or_default()))?),
            None => None,
        };
        for source in &plan.sources {
            match source {
                From::Inline { name, content } => {
                    key.add("inline", name);
                    key.add("content", content);
                    pieces.push(Piece::Content {
                        name: (*name).to_owned(),
                        content: content.clone(),
                        mode: 0o644,
                        modified: None,
                    });
                }
                From::Url(url) => pieces.push(self.fetch(plan, url, &mut key)?),
                From::Path(path) => {
                    let tree = match &tree {
                        Some(tree) => Arc::clone(tree),
                        None => Arc::clone(&session.tree),
                    };
                    let mut selection =
                        Selection { exclude, parents: plan.parents, into_directory: plan.into_directory };
                    let mut selected = tree.select(path, &selection)?;
                    if selected.matches > 1 && selected.has_file && !selection.into_directory {
                        // several can only go into a directory
                        selection.into_directory = true;
                        selected = tree.select(path, &selection)?;
                    }
                    key.add("source", "");
                    let mut plain = Vec::new();
                    for item in selected.items {
                        let unpack = plan.keyword == "ADD"
                            && plan.unpack != Some(false)
                            && item.kind == ItemKind::File
                            && selected.matches >= 1
                            && is_top(&item, path)
                            && is_archive(&tree, &item)?;
                        if unpack {
                            let digests = tree.digests(std::slice::from_ref(&item), Some(&session.facts))?;
                            key.add("archive", digests.first().copied().unwrap_or_default());
                            pieces.push(Piece::Archive { tree: Arc::clone(&tree), item });
                        } else {
                            plain.push(item);
                        }
                    }
                    let facts = tree.is_context.then_some(&session.facts);
                    let digests = tree.digests(&plain, facts)?;
                    let looks = Looks {
                        owner: None,
                        mode: plan.chmod.as_deref().map(ModeChange::parse).transpose()?,
                    };
                    for (item, digest) in plain.iter().zip(digests) {
                        describe(&mut key, item, &digest, &looks);
                    }
                    pieces.push(Piece::Items { tree, items: plain, from: path.clone() });
                }
            }
        }
        Ok((pieces, key.finish()))
    }

    fn fetch(&self, plan: &Plan<'_>, url: &str, key: &mut Key) -> Result<Piece, Error> {
        let session = self.session;
        let failed = |source| Error::Fetch { url: url.to_owned(), source };
        let Some(fetch) = session.builder.fetch else {
            return Err(Error::Unsupported {
                what: format!("ADD {url}"),
                reason: "this build fetches nothing",
            });
        };
        let expected = plan.checksum.as_deref();
        if let Some(expected) = expected
            && expected.parse::<container_image::Digest>().is_err()
        {
            return Err(Error::value("--checksum", expected, "it is a digest such as sha256:…"));
        }
        let Fetched { mut body, modified } = fetch.fetch(url).map_err(failed)?;
        // it stays there until the build is over
        let work = session.scratch()?;
        let path = work.join(crate::cache::unique());
        let mut file = std::fs::File::create_new(&path).map_err(Error::io("create", &path))?;
        let mut hasher = Hasher::new(Algorithm::Sha256);
        let mut buffer = vec![0; 128 << 10];
        loop {
            session.is_over()?;
            let count = body.read(&mut buffer).map_err(|error| failed(error.into()))?;
            if count == 0 {
                break;
            }
            let bytes = buffer.get(..count).unwrap_or_default();
            hasher.update(bytes);
            file.write_all(bytes).map_err(Error::io("write", &path))?;
            if hasher.length() > MAX_FETCHED {
                return Err(failed("it does not end".into()));
            }
        }
        let found = hasher.finish();
        if let Some(expected) = expected
            && expected != found.as_str()
        {
            return Err(Error::Checksum {
                url: url.to_owned(),
                expected: expected.to_owned(),
                found: found.to_string(),
            });
        }
        let bare = url.split(['?', '#']).next().unwrap_or(url);
        let name = bare.split("://").nth(1).and_then(|rest| rest.split_once('/')).map(|(_, path)| path);
        let name = name.and_then(|path| path.rsplit('/').next()).unwrap_or_default();
        if plan.into_directory && name.is_empty() {
            return Err(Error::value("ADD", url, "it has no file name, and the destination is a directory"));
        }
        key.add("url", name);
        key.add("content", found.as_str());
        key.add("modified", format!("{modified:?}"));
        Ok(Piece::Fetched {
            path,
            name: name.to_owned(),
            modified: modified.map(|seconds| (seconds, 0)),
            unpack: plan.unpack == Some(true),
        })
    }

    fn put(plan: &Plan<'_>, pieces: &[Piece], root: &Root, looks: &Looks) -> Result<(), Error> {
        let mount = root.mount.as_fd();
        let destination = Path::new(&plan.destination);
        let is_directory = plan.into_directory || view::is_directory(mount, &plan.destination);
        let mut placer = Placer::new(mount, looks);
        if plan.into_directory {
            view::make_directories(mount, &plan.destination, looks.owner, 0o755)?;
        }
        for piece in pieces {
            match piece {
                Piece::Items { tree, items, from } => {
                    let mut into = plan.destination.clone();
                    if let [only] = items.as_slice()
                        && only.kind == ItemKind::File
                        && only.to.as_os_str().is_empty()
                        && is_directory
                    {
                        let name = view::absolute("/", from);
                        let name =
                            only.from.file_name().map_or(name, |name| name.to_string_lossy().into_owned());
                        into = view::absolute(&into, name.trim_start_matches('/'));
                    }
                    placer.place(tree, items, &into)?;
                }
                Piece::Content { name, content, mode, modified } => {
                    let path = if is_directory { destination.join(name) } else { destination.to_owned() };
                    placer.file(&mut content.as_slice(), &path, *mode, *modified)?;
                }
                Piece::Archive { tree, item } => {
                    let file = tree.open(item)?;
                    Self::unpack(file, root, &plan.destination, looks)?;
                }
                Piece::Fetched { path, name, modified, unpack } => {
                    let mut file = std::fs::File::open(path).map_err(Error::io("read", path))?;
                    if *unpack {
                        Self::unpack(file, root, &plan.destination, looks)?;
                        continue;
                    }
                    let target = if is_directory { destination.join(name) } else { destination.to_owned() };
                    placer.file(&mut file, &target, 0o600, *modified)?;
                }
            }
        }
        placer.finish()
    }

    /// An archive's files under a directory: unpacked beside the root first, where nothing of it leads anywhere.
    fn unpack(archive: std::fs::File, root: &Root, destination: &str, looks: &Looks) -> Result<(), Error> {
        let path = root.work.path(&crate::cache::unique());
        std::fs::create_dir(&path).map_err(Error::io("create", &path))?;
        let none: [&Path; 0] = [];
        apply(inflate(BufReader::new(archive))?, &path, &none, &Limits::default())?;
        let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
        let fd = rustix::fs::open(&path, flags, rustix::fs::Mode::empty())
            .map_err(|errno| Error::io("open", &path)(errno.into()))?;
        let tree =
            Tree { root: fd, ignore: Ignore::default(), place: "the archive".to_owned(), is_context: false };
        let selection = Selection { exclude: &Ignore::default(), parents: false, into_directory: true };
        let selected = tree.select("/", &selection)?;
        view::make_directories(root.mount.as_fd(), destination, looks.owner, 0o755)?;
        let mut placer = Placer::new(root.mount.as_fd(), looks);
        placer.place(&tree, &selected.items, destination)?;
        placer.finish()
    }
}

fn describe(key: &mut Key, item: &Item, digest: &[u8; 32], looks: &Looks) {
    let kind = match &item.kind {
        ItemKind::File => "file",
        ItemKind::Directory => "directory",
        ItemKind::Link(target) => {
            key.add("target", target.as_encoded_bytes());
            "link"
        }
    };
    key.add(kind, item.to.as_os_str().as_encoded_bytes());
    if item.to.as_os_str().is_empty() && item.kind == ItemKind::File {
        // it may go into a directory that is there
        key.add("name", item.from.file_name().unwrap_or_default().as_encoded_bytes());
    }
    key.add("mode", looks.mode(item).to_le_bytes());
    key.add("owner", [item.uid.to_le_bytes(), item.gid.to_le_bytes()].concat());
    key.add("digest", digest);
}

/// The item is the source itself, not something in a directory.
fn is_top(item: &Item, source: &str) -> bool {
    let depth = view::absolute("/", source).split('/').filter(|part| !part.is_empty()).count();
    item.from.components().count() == depth
}

fn is_archive(tree: &Tree, item: &Item) -> Result<bool, Error> {
    let mut file = tree.open(item)?;
    let failed = |source| Error::Root { action: "read", path: shown(&item.from), source };
    let mut start = Vec::new();
    Read::by_ref(&mut file).take(512).read_to_end(&mut start).map_err(failed)?;
    let name = shown(&item.from).to_ascii_lowercase();
    let refused = [".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".tbz"].iter().any(|end| name.ends_with(end));
    match Compression::detect(&start) {
        Err(_) if refused => Err(Error::Unsupported {
            what: format!("unpacking {}", shown(&item.from)),
            reason: "gzip, zstd and plain tar are; --unpack=false copies it as it is",
        }),
        Err(_) => Ok(false),
        Ok(Compression::None) => Ok(is_header(&start)),
        Ok(_) => {
            let file = tree.open(item)?;
            let Ok(plain) = inflate(BufReader::new(file)) else { return Ok(false) };
            let mut start = Vec::new();
            // what cannot be inflated is no archive, and is copied
            Ok(plain.take(512).read_to_end(&mut start).is_ok() && is_header(&start))
        }
    }
}

/// True for a tar header: its checksum is right.
fn is_header(block: &[u8]) -> bool {
    if block.len() < 512 || block.iter().all(|byte| *byte == 0) {
        return false;
    }
    let field = block.get(148..156).unwrap_or_default();
    let digits: String = field.iter().map(|byte| char::from(*byte)).filter(char::is_ascii_digit).collect();
    let Ok(expected) = u32::from_str_radix(&digits, 8) else { return false };
    let sum: u32 = block
        .iter()
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
        .sum();
    sum == expected
}

fn is_git(text: &str) -> bool {
    let bare = text.split(['#', '?']).next().unwrap_or(text);
    let web = text.starts_with("http://") || text.starts_with("https://");
    text.starts_with("git@")
        || text.starts_with("git://")
        || text.starts_with("ssh://")
        || (bare.strip_suffix(".git").is_some() && web)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_repositories_are_known_by_their_addresses() {
        for git in ["git@github.com:a/b.git", "git://x/y", "https://x/y.git#main", "ssh://git@x/y"] {
            assert!(is_git(git), "{git}");
        }
        for other in ["https://x/y.tar", "git", "./x.git", "https://x/y.git/z"] {
            assert!(!is_git(other), "{other}");
        }
    }

    #[test]
    fn a_tar_header_is_known_by_its_checksum() {
        let mut block = [0u8; 512];
        assert!(!is_header(&block));
        block[0] = b'a';
        block[148..156].copy_from_slice(b"000541\0 ");
        let sum: u32 = u32::from(b'a') + 8 * 32;
        let text = format!("{sum:06o}\0 ");
        block[148..156].copy_from_slice(text.as_bytes());
        assert!(is_header(&block));
        block[1] = b'b';
        assert!(!is_header(&block));
        assert!(!is_header(&block[..100]));
    }
}
