use std::fs::File;
use std::io::Read;

use crate::Error;

const MAX_NAME: usize = 200;

/// Checks a name for a container: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`, as Docker has it, at most 200 bytes.
pub(crate) fn check(what: &'static str, name: &str) -> Result<(), Error> {
    let refuse = |reason| Err(Error::setting(what, name.chars().take(MAX_NAME).collect::<String>(), reason));
    let mut bytes = name.bytes();
    if !bytes.next().is_some_and(|b| b.is_ascii_alphanumeric()) {
        return refuse("a name starts with a letter or a digit");
    }
    if name.len() < 2 || name.len() > MAX_NAME {
        return refuse("a name has between 2 and 200 characters");
    }
    if !bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-')) {
        return refuse("a name consists of letters, digits, _ . and -");
    }
    Ok(())
}

/// Makes up a name of two words.
pub(crate) fn made_up() -> Result<String, Error> {
    let [adjective, noun] = random::<2>()?;
    let pick = |words: &[&'static str], byte: u8| words[usize::from(byte) % words.len()];
    Ok(format!("{}_{}", pick(&ADJECTIVES, adjective), pick(&NOUNS, noun)))
}

/// A new id: 64 random hexadecimal digits. Not all of the first twelve are decimal, since the short id
/// serves as a host name.
pub(crate) fn new_id() -> Result<String, Error> {
    use std::fmt::Write;
    loop {
        let mut id = String::with_capacity(64);
        for byte in random::<32>()? {
            // writing to a string does not fail
            let _ = write!(id, "{byte:02x}");
        }
        if id[..12].bytes().any(|b| b.is_ascii_alphabetic()) {
            return Ok(id);
        }
    }
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    let path = "/dev/urandom";
    File::open(path).and_then(|mut file| file.read_exact(&mut bytes)).map_err(Error::io("read", path))?;
    Ok(bytes)
}

/// The first twelve digits of an id.
pub fn short_id(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

const ADJECTIVES: [&str; 48] = [
    "able", "ample", "brisk", "bright", "calm", "candid", "clever", "crisp", "daring", "deft", "eager",
    "even", "fair", "fleet", "frank", "gentle", "glad", "grand", "hardy", "honest", "ideal", "jolly", "just",
    "keen", "kind", "lively", "lucid", "merry", "mild", "neat", "nimble", "noble", "patient", "plain",
    "proud", "quick", "quiet", "ready", "sober", "solid", "steady", "swift", "tidy", "true", "vivid", "warm",
    "witty", "zesty",
];
// parts and people of a harbour
const NOUNS: [&str; 48] = [
    "anchor", "ballast", "beacon", "bilge", "bollard", "boom", "bosun", "bowline", "brig", "buoy", "cabin",
    "capstan", "clipper", "compass", "coxswain", "crane", "cutter", "davit", "deck", "derrick", "dock",
    "ferry", "fender", "galley", "gangway", "halyard", "hatch", "hawser", "helm", "hold", "hull", "jetty",
    "keel", "ketch", "lanyard", "lighter", "mast", "mooring", "pallet", "pilot", "pier", "quay", "rigging",
    "rudder", "schooner", "sloop", "tiller", "tug",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_be_an_option_or_a_path_are_refused() {
        for bad in ["", "a", "-rf", "../x", "a/b", "a b", "a\nb", ".ab", "ä1", &"x".repeat(201)] {
            assert!(check("container name", bad).is_err(), "{bad:?}");
        }
        check("container name", "web-1_a.b").unwrap();
        check("container name", &made_up().unwrap()).unwrap();
        assert_eq!(new_id().unwrap().len(), 64);
    }
}
