//! nftables, spoken directly: atomic batches in tables of our own, beside whatever rules the host has.
//!
//! [`Tables`] is the whole of it for containers: rules that never change, and sets and maps whose elements are the
//! networks, the containers' addresses and the published ports. Each element carries its owner as comment, so the
//! kernel itself is the record of what is whose, and `nft list table inet dunnage` reads well.
//!
//! [`Batch`] is one floor below, for rules of another kind: tables, chains, sets and rules made of [`Step`]s; [`Netfilter`]
//! carries batches out and reads what is there.
//!
//! Two things another firewall on the host decides, not we:
//!
//! * An `accept` in our table does not override a `drop` elsewhere. Where the host's own rules have a forward
//!   chain whose policy is to drop (Docker sets `iptables -P FORWARD DROP` if it was the one to switch
//!   forwarding on), packets to and from containers end there. [`Netfilter::forward_drops`] finds such chains; the remedy is a rule of the
//!   administrator's, `iptables -I FORWARD -i BRIDGE -j ACCEPT` and the same with `-o`.
//! * Our rules only ever drop packets that come from or go to a bridge of ours.
//!
//! ```no_run
//! use container_net::nft::{Batch, Chain, Family, Hook, Key, Rule, Step, Verdict};
//!
//! let mut batch = Batch::new(Family::Inet, "example");
//! batch.table().fresh_chain(&Chain {
//!     name: "input",
//!     hook: Some(Hook { kind: "filter", name: "input", priority: 0 }),
//! });
//! batch.rule(&Rule {
//!     chain: "input",
//!     steps: vec![Step::Is(Key::L4Proto, vec![6]), Step::Is(Key::ThDport, vec![0, 23]), Step::Go(Verdict::Drop)],
//!     comment: "no telnet",
//! });
//! batch.commit()?;
//! # Ok::<(), container_net::Error>(())
//! ```

mod balance;
mod batch;
mod expression;
mod netfilter;
mod ruleset;
mod tables;

pub use balance::{SLOTS, Spread, VirtualIp, VirtualIps};
pub use batch::{Batch, Chain, Datatype, Element, Family, Hook, Rule, Set};
pub use expression::{Key, Step, Verdict};
pub use netfilter::Netfilter;
pub use tables::{Membership, Tables};

pub(crate) use ruleset::names_batch;
pub(crate) use tables::{membership_elements, network_elements};
