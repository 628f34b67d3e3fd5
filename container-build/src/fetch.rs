use std::error::Error as StdError;
use std::io::Read;

/// What an address gave.
pub struct Fetched {
    /// The bytes.
    pub body: Box<dyn Read + Send>,
    /// When they were changed last, in seconds since 1970, if the server says so.
    pub modified: Option<i64>,
}

impl std::fmt::Debug for Fetched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetched").field("modified", &self.modified).finish_non_exhaustive()
    }
}

/// Fetches what `ADD` names by `http://` and `https://`.
pub trait Fetch: Sync {
    /// Opens what is at an address.
    fn fetch(&self, url: &str) -> Result<Fetched, Box<dyn StdError + Send + Sync>>;
}
