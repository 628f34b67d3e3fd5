//! The name service of a container's networks: who has which name, and a server at 127.0.0.11 inside the container.
//!
//! Each endpoint [registers](Record) one file in `names/` of its network's state directory. A [`Directory`] reads
//! the files of some networks, again only if a directory changed. A [`Server`] answers from it, and hands every other
//! question to the upstream servers; it has no thread of its own and is driven by its owner's poll loop.
//!
//! It is no cache, no recursor, and validates no DNSSEC: what the upstream says is passed on as it is.

mod directory;
mod message;
mod resolv;
mod server;
mod stream;
mod upstream;

pub use directory::{Directory, Record};
pub use resolv::ResolvConf;
pub use server::{Interest, Server, answer};
