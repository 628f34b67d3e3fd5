//! Users and groups by the databases of an image.

use std::os::fd::BorrowedFd;

use container_ns::User;

use crate::{Error, view};

/// A database larger than this is refused.
const LIMIT: u64 = 4 << 20;
const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

/// Who runs a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) user: User,
    pub(crate) home: String,
}

/// Who `text` (`user`, `uid`, `user:group`; empty for root) is.
pub(crate) fn identity(root: BorrowedFd<'_>, text: &str) -> Result<Identity, Error> {
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let user = if user.is_empty() { "0" } else { user };
    let passwd = database(root, PASSWD)?;
    let number = number(user, text)?;
    let entry = passwd.lines().filter_map(entry).find(|entry| match number {
        Some(uid) => entry.id == uid,
        None => entry.name == user,
    });
    let uid = match (&entry, number) {
        (Some(entry), _) => entry.id,
        (None, Some(uid)) => uid,
        (None, None) => return Err(missing("user", user, PASSWD)),
    };
    let own = entry.as_ref().and_then(|entry| entry.fields.first()?.parse().ok()).unwrap_or(0);
    let home = entry.as_ref().and_then(|entry| entry.fields.get(2).copied()).unwrap_or("/");
    let home = if home.starts_with('/') { home } else { "/" };
    let mut identity = Identity { user: User { uid, gid: own, ..User::default() }, home: home.to_owned() };
    match group.filter(|group| !group.is_empty()) {
        Some(group) => identity.user.gid = gid(root, group)?,
        None => {
            if let Some(entry) = entry {
                let groups = database(root, GROUP)?;
                let has = |group: &Entry<'_>| {
                    group
                        .fields
                        .first()
                        .is_some_and(|list| list.split(',').any(|name| name.trim() == entry.name))
                };
                let mut ids: Vec<u32> =
                    groups.lines().filter_map(self::entry).filter(has).map(|group| group.id).collect();
                ids.sort_unstable();
                ids.dedup();
                identity.user.additional_gids = ids;
            }
        }
    }
    Ok(identity)
}

/// What `--chown` means: a user, and a group, which is the user's number if none is given.
pub(crate) fn owner(root: BorrowedFd<'_>, text: &str) -> Result<(u32, u32), Error> {
    let (user, group) = text.split_once(':').map_or((text, None), |(user, group)| (user, Some(group)));
    let uid = match number(user, text)? {
        Some(uid) => uid,
        None if user.is_empty() => 0,
        None => {
            let passwd = database(root, PASSWD)?;
            let found = passwd.lines().filter_map(entry).find(|entry| entry.name == user);
            found.map(|entry| entry.id).ok_or_else(|| missing("user", user, PASSWD))?
        }
    };
    match group.filter(|group| !group.is_empty()) {
        Some(group) => Ok((uid, gid(root, group)?)),
        // a name's own group, as the classic builder and BuildKit have it; a number alone is both
        None if number(user, text)?.is_none() && !user.is_empty() => {
            let passwd = database(root, PASSWD)?;
            let found = passwd.lines().filter_map(entry).find(|entry| entry.name == user);
            Ok((uid, found.and_then(|entry| entry.fields.first()?.parse().ok()).unwrap_or(uid)))
        }
        None => Ok((uid, uid)),
    }
}

fn gid(root: BorrowedFd<'_>, text: &str) -> Result<u32, Error> {
    if let Some(gid) = number(text, text)? {
        return Ok(gid);
    }
    let groups = database(root, GROUP)?;
    let found = groups.lines().filter_map(entry).find(|group| group.name == text);
    found.map(|group| group.id).ok_or_else(|| missing("group", text, GROUP))
}

/// A line of either database: name, number, and what follows.
struct Entry<'a> {
    name: &'a str,
    id: u32,
    fields: Vec<&'a str>,
}

fn entry(line: &str) -> Option<Entry<'_>> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty())?;
    let id = fields.nth(1)?.parse().ok()?;
    Some(Entry { name, id, fields: fields.collect() })
}

fn database(root: BorrowedFd<'_>, path: &str) -> Result<String, Error> {
    let bytes = view::read(root, path, LIMIT)?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The number that a text is; none if it is a name.
fn number(text: &str, whole: &str) -> Result<Option<u32>, Error> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    let number = text.parse::<u32>().ok().filter(|id| i32::try_from(*id).is_ok());
    number.map(Some).ok_or_else(|| Error::value("user", whole, "a number is between 0 and 2147483647"))
}

fn missing(what: &'static str, name: &str, file: &'static str) -> Error {
    Error::UserMissing { what, name: name.chars().take(100).collect(), file }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn names_and_numbers_are_those_of_the_image() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("etc")).unwrap();
        let passwd = "root:x:0:0::/root:/bin/sh\nweb:x:33:44::/var/www:/bin/sh\nbroken\n";
        std::fs::write(directory.path().join("etc/passwd"), passwd).unwrap();
        std::fs::write(directory.path().join("etc/group"), "root:x:0:\nweb:x:44:\nextra:x:55:web,root\n")
            .unwrap();
        let root = std::fs::File::open(directory.path()).unwrap();
        let of = |text: &str| {
            let identity = identity(root.as_fd(), text).unwrap();
            (identity.user.uid, identity.user.gid, identity.user.additional_gids, identity.home)
        };
        assert_eq!(of(""), (0, 0, vec![55], "/root".to_owned()));
        assert_eq!(of("web"), (33, 44, vec![55], "/var/www".to_owned()));
        assert_eq!(of("33:extra"), (33, 55, vec![], "/var/www".to_owned()));
        assert_eq!(of("1234"), (1234, 0, vec![], "/".to_owned()));
        let owner = |text: &str| owner(root.as_fd(), text).unwrap();
        assert_eq!(owner("web"), (33, 44));
        assert_eq!(owner("web:extra"), (33, 55));
        assert_eq!(owner("7"), (7, 7));
        assert_eq!(owner("7:web"), (7, 44));
        assert_eq!(owner(":extra"), (0, 55));
        for wrong in ["nobody", "web:nogroup", "4294967296", "2147483648"] {
            assert!(super::owner(root.as_fd(), wrong).is_err(), "{wrong}");
            assert!(identity(root.as_fd(), wrong).is_err(), "{wrong}");
        }
    }
}
