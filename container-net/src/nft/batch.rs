//! Tables, chains, rules, sets and elements, and the batch that brings them into the kernel all at once.

use std::fmt;

use super::{Netfilter, Step};
use crate::{
    Result,
    netlink::{APPEND, CREATE, EXCL, Message},
};

pub(super) const NEW_TABLE: u16 = 0;
pub(super) const DELETE_TABLE: u16 = 2;
pub(super) const NEW_CHAIN: u16 = 3;
pub(super) const NEW_RULE: u16 = 6;
pub(super) const DELETE_RULE: u16 = 8;
pub(super) const NEW_SET: u16 = 9;
pub(super) const NEW_ELEMENT: u16 = 12;
pub(super) const DELETE_ELEMENT: u16 = 14;

/// Which packets a table sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4 and IPv6.
    Inet,
    /// IPv4 alone.
    Ip,
    /// Frames that cross a bridge.
    Bridge,
}

impl Family {
    pub(super) fn number(self) -> u8 {
        match self {
            Self::Inet => 1,
            Self::Ip => 2,
            Self::Bridge => 7,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inet => "inet",
            Self::Ip => "ip",
            Self::Bridge => "bridge",
        })
    }
}

/// The type of a set's key, a map's value, or a field of either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Datatype {
    /// An interface's name, 16 bytes.
    IfName,
    /// A hardware address.
    EtherAddr,
    /// An IPv4 address.
    Ipv4Addr,
    /// An IPv6 address.
    Ipv6Addr,
    /// The number of a transport protocol.
    InetProto,
    /// A port.
    InetService,
    /// A number in the machine's order.
    Mark,
}

impl Datatype {
    /// The number nft(8) has for it, and its size in bytes.
    fn of_nft(self) -> (u32, u32) {
        match self {
            Self::Ipv4Addr => (7, 4),
            Self::Ipv6Addr => (8, 16),
            Self::EtherAddr => (9, 6),
            Self::InetProto => (12, 1),
            Self::InetService => (13, 2),
            Self::Mark => (19, 4),
            Self::IfName => (41, 16),
        }
    }

    /// Number and size of a concatenation: six bits a type; each field fills whole words.
    fn concatenated(fields: &[Self]) -> (u32, u32) {
        if let [one] = fields {
            return one.of_nft();
        }
        fields.iter().fold((0, 0), |(number, size), field| {
            let (n, s) = field.of_nft();
            (number << 6 | n, size + s.next_multiple_of(4))
        })
    }

    fn nft_name(self) -> &'static str {
        match self {
            Self::IfName => "ifname",
            Self::EtherAddr => "ether_addr",
            Self::Ipv4Addr => "ipv4_addr",
            Self::Ipv6Addr => "ipv6_addr",
            Self::InetProto => "inet_proto",
            Self::InetService => "inet_service",
            Self::Mark => "mark",
        }
    }
}

/// A set, or a map if it has values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Set {
    /// Its name.
    pub name: &'static str,
    /// The fields of its key.
    pub key: &'static [Datatype],
    /// The fields of its values; none for a set.
    pub value: &'static [Datatype],
    /// Whether it holds ranges.
    pub interval: bool,
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |fields: &[Datatype]| fields.iter().map(|t| t.nft_name()).collect::<Vec<_>>().join(" . ");
        let kind = if self.value.is_empty() { "set" } else { "map" };
        write!(f, "{kind} {} {{ type {}", self.name, names(self.key))?;
        if !self.value.is_empty() {
            write!(f, " : {}", names(self.value))?;
        }
        write!(f, "; {}}}", if self.interval { "flags interval; " } else { "" })
    }
}

/// Where a base chain is hooked in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// `filter` or `nat`.
    pub kind: &'static str,
    /// `prerouting`, `input`, `forward`, `output` or `postrouting`.
    pub name: &'static str,
    /// Order among the chains of a hook; lower is earlier.
    pub priority: i32,
}

impl Hook {
    fn number(&self) -> u32 {
        ["prerouting", "input", "forward", "output", "postrouting"]
            .iter()
            .position(|name| *name == self.name)
            .unwrap_or(0) as u32
    }
}

/// A chain; its policy, if it is a base chain, is to accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: &'static str,
    /// Where it is hooked in; none for a chain that is jumped to.
    pub hook: Option<Hook>,
}

/// A rule with the comment it is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The chain it is appended to.
    pub chain: &'static str,
    /// What it does.
    pub steps: Vec<Step>,
    /// Its comment, at most 127 bytes.
    pub comment: &'static str,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            write!(f, "{step} ")?;
        }
        write!(f, "comment \"{}\"", self.comment)
    }
}

/// An element of a set or map, in the kernel's bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Element {
    /// The set's name.
    pub set: &'static str,
    /// The key; fields padded to four bytes.
    pub key: Vec<u8>,
    /// The value, empty for a set.
    pub value: Vec<u8>,
    /// Whether it is the end (exclusive) of a range.
    pub end: bool,
    /// Comment, at most 127 bytes: who owns it.
    pub owner: String,
}

/// Changes of one table that the kernel makes all at once, or not at all.
#[derive(Debug)]
pub struct Batch {
    family: Family,
    table: String,
    messages: Vec<Message>,
    sets: u32,
}

fn header(family: u8, resource: u16) -> [u8; 4] {
    let [high, low] = resource.to_be_bytes();
    [family, 0, high, low]
}

/// A comment as nft(8) keeps it in user data: type 0, length, text, zero.
fn comment(text: &str) -> Vec<u8> {
    let text = text.as_bytes();
    let text = text.get(..127).unwrap_or(text);
    let mut bytes = vec![0, text.len() as u8 + 1];
    bytes.extend_from_slice(text);
    bytes.push(0);
    bytes
}

pub(super) fn read_comment(data: &[u8]) -> Option<String> {
    let mut rest = data;
    while let [kind, length, tail @ ..] = rest {
        let value = tail.get(..usize::from(*length))?;
        if *kind == 0 {
            let text = value.split(|&b| b == 0).next().unwrap_or_default();
            return Some(String::from_utf8_lossy(text).into_owned());
        }
        rest = tail.get(usize::from(*length)..)?;
    }
    None
}

pub(super) fn message(kind: u16, flags: u16, family: Family, purpose: String) -> Message {
    Message::new(10 << 8 | kind, flags, purpose).raw(&header(family.number(), 0))
}

impl Batch {
    /// An empty batch for a table.
    pub fn new(family: Family, table: impl Into<String>) -> Self {
        Self { family, table: table.into(), messages: Vec::new(), sets: 0 }
    }

    fn add(&mut self, kind: u16, flags: u16, purpose: String, fill: impl FnOnce(Message) -> Message) {
        self.messages.push(fill(message(kind, flags, self.family, purpose).text(1, &self.table)));
    }

    /// Makes the table, if it is not there.
    pub fn table(&mut self) -> &mut Self {
        let purpose = format!("add table {} {}", self.family, self.table);
        self.add(NEW_TABLE, CREATE, purpose, |m| m);
        self
    }

    /// Deletes the table with everything in it.
    pub fn delete_table(&mut self) -> &mut Self {
        let purpose = format!("delete table {} {}", self.family, self.table);
        self.add(DELETE_TABLE, 0, purpose, |m| m);
        self
    }

    /// Makes a set, if it is not there.
    pub fn set(&mut self, set: &Set) -> &mut Self {
        self.sets += 1;
        let id = self.sets;
        let (key_type, key_size) = Datatype::concatenated(set.key);
        let flags = (u32::from(set.interval) * 4) | (u32::from(!set.value.is_empty()) * 8);
        self.add(NEW_SET, CREATE, format!("add {set}"), |m| {
            let m = m
                .text(2, set.name)
                .big_endian(3, flags)
                .big_endian(4, key_type)
                .big_endian(5, key_size)
                .big_endian(10, id);
            let m = match set.key {
                // for nft(8): an interface's name is in the machine's order (1), all else in the network's (2)
                [one] => {
                    let order = if matches!(one, Datatype::IfName | Datatype::Mark) { 1_u32 } else { 2 };
                    let mut data = vec![0, 4];
                    data.extend_from_slice(&order.to_ne_bytes());
                    m.attribute(13, &data)
                }
                _ => m,
            };
            if set.value.is_empty() {
                return m;
            }
            let (value_type, value_size) = Datatype::concatenated(set.value);
            m.big_endian(6, value_type).big_endian(7, value_size)
        });
        self
    }

    /// Makes a chain, if it is not there, and removes all rules in it.
    pub fn fresh_chain(&mut self, chain: &Chain) -> &mut Self {
        self.add(NEW_CHAIN, CREATE, format!("add chain {}", chain.name), |m| {
            let m = m.text(3, chain.name);
            let Some(hook) = chain.hook else { return m };
            m.nest(4, |m| m.big_endian(1, hook.number()).big_endian(2, hook.priority as u32))
                .big_endian(5, 1)
                .text(7, hook.kind)
        });
        self.add(DELETE_RULE, 0, format!("flush chain {}", chain.name), |m| m.text(2, chain.name));
        self
    }

    /// Appends a rule.
    pub fn rule(&mut self, rule: &Rule) -> &mut Self {
        self.add(NEW_RULE, CREATE | APPEND, format!("add rule {}: {rule}", rule.chain), |m| {
            m.text(2, rule.chain)
                .nest(4, |list| rule.steps.iter().fold(list, |list, step| step.encode(list)))
                .attribute(7, &comment(rule.comment))
        });
        self
    }

    /// Adds an element. One of the same key that is there already is left if it is the same, and
    /// fails the batch if its value differs or `exclusive` is set.
    pub fn element(&mut self, element: &Element, exclusive: bool) -> &mut Self {
        let flags = CREATE | if exclusive { EXCL } else { 0 };
        self.element_message(NEW_ELEMENT, flags, "add", element);
        self
    }

    /// Deletes an element. That it is not there fails the batch.
    pub fn delete_element(&mut self, element: &Element) -> &mut Self {
        self.element_message(DELETE_ELEMENT, 0, "delete", element);
        self
    }

    fn element_message(&mut self, kind: u16, flags: u16, verb: &str, element: &Element) {
        let purpose = format!("{verb} an element of {} for {}", element.set, element.owner);
        self.add(kind, flags, purpose, |m| {
            m.text(2, element.set).nest(3, |m| {
                m.nest(1, |m| {
                    let mut m = m.nest(1, |m| m.attribute(1, &element.key));
                    if element.end {
                        m = m.big_endian(3, 1);
                    }
                    if kind == DELETE_ELEMENT {
                        return m;
                    }
                    if !element.value.is_empty() {
                        m = m.nest(2, |m| m.attribute(1, &element.value));
                    }
                    // the kernel takes comments at the beginning of a range only
                    if element.owner.is_empty() || element.end {
                        return m;
                    }
                    m.attribute(6, &comment(&element.owner))
                })
            })
        });
    }

    /// Whether nothing would change.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// What would be done, a line each.
    pub fn lines(&self) -> Vec<String> {
        self.messages.iter().map(|m| m.purpose.clone()).collect()
    }

    /// Carries it out in the calling thread's network namespace. Atomic.
    pub fn commit(self) -> Result<()> {
        Netfilter::open()?.commit(vec![self])
    }
}

/// The messages that carry out several batches in one transaction; none if there is nothing to do. With a generation,
/// the kernel refuses them by `ERESTART` once the rules are of another.
pub(super) fn transaction(batches: Vec<Batch>, generation: Option<u32>) -> Vec<Message> {
    let mut messages = Vec::new();
    let frame = |kind, purpose: &str| Message::new(kind, 0, purpose).raw(&header(0, 10));
    let begin = frame(0x10, "change the nftables rules");
    messages.push(match generation {
        Some(generation) => begin.big_endian(1, generation),
        None => begin,
    });
    messages.extend(batches.into_iter().flat_map(|batch| batch.messages));
    if messages.len() == 1 {
        return Vec::new();
    }
    messages.push(frame(0x11, "finish the change of the nftables rules"));
    messages
}
