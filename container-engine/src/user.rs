use container_image::Layers;

use crate::Error;

/// A database of users or groups larger than this is refused.
const MAX_DATABASE: u64 = 4 << 20;
const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

/// Who a process is, by numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Home directory, `/` where the database has none.
    pub home: String,
}

/// Finds out who `text` (`user`, `uid`, `user:group`; empty for root) is in an image, by its own databases. Who it is
/// is in the groups `more` too, names or numbers.
///
/// The databases are input: they are read inside the root, only if they are regular files, and within a limit.
pub(crate) fn resolve(layers: &Layers, text: &str, more: &[String]) -> Result<Identity, Error> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let passwd = read(layers, PASSWD)?;
    let groups = read(layers, GROUP)?;
    let entry = passwd.lines().filter_map(User::parse).find(|entry| {
        // a name wins over a number; `0` is root even where somebody is called so
        if number(user, "user", text).is_ok() { entry.uid.to_string() == user } else { entry.name == user }
    });
    let (uid, mut gid, home, name) = match (&entry, number(user, "user", text)) {
        (Some(entry), _) => (entry.uid, entry.gid, entry.home, entry.name),
        (None, Ok(uid)) => (uid, 0, "/", ""),
        (None, Err(error)) if user.bytes().all(|b| b.is_ascii_digit()) => return Err(error),
        (None, Err(_)) => return Err(missing("user", user, PASSWD)),
    };
    let mut supplementary = Vec::new();
    match group {
        Some(group) if !group.is_empty() => gid = find_group(&groups, group, text)?,
        _ if !name.is_empty() => {
            let member = |entry: &Group<'_>| entry.members.split(',').any(|member| member.trim() == name);
            supplementary =
                groups.lines().filter_map(Group::parse).filter(member).map(|entry| entry.gid).collect();
        }
        _ => {}
    }
    for group in more {
        supplementary.push(find_group(&groups, group, group)?);
    }
    supplementary.sort_unstable();
    supplementary.dedup();
    let home = if home.starts_with('/') { home } else { "/" };
    Ok(Identity { uid, gid, groups: supplementary, home: home.to_owned() })
}

/// The number of `group`, a name in the database `groups` or a number; `whole` is what it was a part of.
fn find_group(groups: &str, group: &str, whole: &str) -> Result<u32, Error> {
    match number(group, "group", whole) {
        Err(error) if group.bytes().all(|b| b.is_ascii_digit()) => Err(error),
        Err(_) => groups
            .lines()
            .filter_map(Group::parse)
            .find(|entry| entry.name == group)
            .map(|entry| entry.gid)
            .ok_or_else(|| missing("group", group, GROUP)),
        found => found,
    }
}

fn read(layers: &Layers, path: &str) -> Result<String, Error> {
    let bytes = layers.read(path, MAX_DATABASE)?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn number(text: &str, what: &'static str, whole: &str) -> Result<u32, Error> {
    text.parse::<u32>()
        .ok()
        .filter(|&id| i32::try_from(id).is_ok() && text.bytes().all(|b| b.is_ascii_digit()))
        .ok_or_else(|| Error::setting(what, whole, "a number is between 0 and 2147483647"))
}

fn missing(what: &'static str, name: &str, file: &'static str) -> Error {
    Error::UserMissing { what, name: name.chars().take(100).collect(), file }
}

struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl<'a> User<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Self { name, uid, gid, home: fields.nth(1).unwrap_or("/") })
    }
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

impl<'a> Group<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some(Self { name, gid, members: fields.next().unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(passwd: &str, group: &str) -> (tempfile::TempDir, Layers) {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("etc")).unwrap();
        std::fs::write(directory.path().join("etc/passwd"), passwd).unwrap();
        std::fs::write(directory.path().join("etc/group"), group).unwrap();
        let layers = Layers::open(&[directory.path()]).unwrap();
        (directory, layers)
    }

    #[test]
    fn names_and_numbers_are_looked_up_in_the_image() {
        let (_directory, layers) = image(
            "root:x:0:0:root:/root:/bin/sh\nredis:x:100:101::/var/lib/redis:\nbroken\n0:x:7:7::/seven:\n",
            "root:x:0:\nredis:x:101:\nwheel:x:10:root,redis\n",
        );
        let id = |text: &str| resolve(&layers, text, &[]).unwrap();
        let redis = Identity { uid: 100, gid: 101, groups: vec![10], home: "/var/lib/redis".to_owned() };
        assert_eq!(id("redis"), redis);
        assert_eq!(id("100"), redis);
        assert_eq!(id(""), Identity { uid: 0, gid: 0, groups: vec![10], home: "/root".to_owned() });
        assert_eq!(id("0").uid, 0, "a user called 0 is not root's number");
        assert_eq!(id("redis:wheel"), Identity { gid: 10, groups: vec![], ..redis });
        assert_eq!(id("1234"), Identity { uid: 1234, gid: 0, groups: vec![], home: "/".to_owned() });
        assert_eq!(id("1234:5678").gid, 5678);
        for bad in ["nobody", "redis:nogroup", "4294967296", "2147483648", "0:4294967295", "-1", "redis:-1"] {
            assert!(resolve(&layers, bad, &[]).is_err(), "{bad}");
        }
        let more = |group: &str| resolve(&layers, "redis", &[group.to_owned(), "wheel".to_owned()]);
        assert_eq!(more("root").unwrap().groups, [0, 10]);
        assert_eq!(more("4000").unwrap().groups, [10, 4000]);
        for bad in ["nogroup", "-1", "2147483648", ""] {
            assert!(more(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn databases_that_lead_elsewhere_are_not_followed() {
        let (directory, layers) = image("", "");
        std::fs::remove_file(directory.path().join("etc/passwd")).unwrap();
        std::os::unix::fs::symlink("/proc/self/environ", directory.path().join("etc/passwd")).unwrap();
        assert_eq!(resolve(&layers, "7", &[]).unwrap().uid, 7, "the link leads to nothing inside the image");
        std::fs::remove_file(directory.path().join("etc/passwd")).unwrap();
        std::fs::create_dir(directory.path().join("etc/passwd")).unwrap();
        assert!(resolve(&layers, "7", &[]).is_err());
    }
}
