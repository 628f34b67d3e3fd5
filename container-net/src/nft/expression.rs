//! What a rule is made of, as `nft(8)` writes it and as the kernel's virtual machine takes it.

use std::{fmt, net::IpAddr};

use crate::{address::octets, netlink::Message};

/// Something of a packet that a rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Key {
    /// Name of the interface it came in by.
    IifName,
    /// Name of the interface it leaves by.
    OifName,
    /// Ethernet type, in the bridge family.
    Protocol,
    /// The family of a packet in an `inet` table.
    NfProto,
    /// Number of the transport protocol.
    L4Proto,
    /// Source of the Ethernet frame.
    EtherSaddr,
    /// Source of an IPv4 packet.
    IpSaddr,
    /// Destination of an IPv4 packet.
    IpDaddr,
    /// Source of an IPv6 packet.
    Ip6Saddr,
    /// Destination of an IPv6 packet.
    Ip6Daddr,
    /// Sender's hardware address in an ARP packet.
    ArpSaddrEther,
    /// Sender's IPv4 address in an ARP packet.
    ArpSaddrIp,
    /// Destination port of the transport header.
    ThDport,
    /// Type of an ICMP message.
    IcmpType,
    /// Type of an ICMPv6 message.
    Icmp6Type,
    /// The target of a neighbour solicitation or advertisement.
    NdTarget,
    /// The connection's state, a set of bits.
    CtState,
    /// The connection's status, a set of bits.
    CtStatus,
    /// The kind of the destination address by the routing table.
    FibDaddrType,
    /// A number below this, by chance.
    RandomSlot(u32),
    /// A number below this, the same for each IPv4 source.
    IpSourceSlot(u32),
    /// A number below this, the same for each IPv6 source.
    Ip6SourceSlot(u32),
}

/// Where a hash keeps what it hashes, out of the way of concatenated keys.
const SCRATCH: u32 = 16;
/// Any number, but always the same: a client has its slot on every host.
const SEED: u32 = 0x6475_6e6e;

enum Source {
    Random(u32),
    /// Offset and size in the network header, and the modulus.
    Hash(u32, u32, u32),
    Meta(u32),
    Ct(u32),
    /// Base (link 0, network 1, transport 2) and offset.
    Payload(u32, u32),
    FibDaddrType,
}

impl Key {
    /// Its size in bytes.
    fn size(self) -> usize {
        match self {
            Self::IifName | Self::OifName | Self::Ip6Saddr | Self::Ip6Daddr | Self::NdTarget => 16,
            Self::EtherSaddr | Self::ArpSaddrEther => 6,
            Self::Protocol | Self::ThDport => 2,
            Self::NfProto | Self::L4Proto | Self::IcmpType | Self::Icmp6Type => 1,
            Self::IpSaddr
            | Self::IpDaddr
            | Self::ArpSaddrIp
            | Self::CtState
            | Self::CtStatus
            | Self::FibDaddrType
            | Self::RandomSlot(_)
            | Self::IpSourceSlot(_)
            | Self::Ip6SourceSlot(_) => 4,
        }
    }

    fn source(self) -> Source {
        match self {
            Self::Protocol => Source::Meta(1),
            Self::IifName => Source::Meta(6),
            Self::OifName => Source::Meta(7),
            Self::NfProto => Source::Meta(15),
            Self::L4Proto => Source::Meta(16),
            Self::EtherSaddr => Source::Payload(0, 6),
            Self::IpSaddr => Source::Payload(1, 12),
            Self::IpDaddr => Source::Payload(1, 16),
            Self::Ip6Daddr => Source::Payload(1, 24),
            Self::Ip6Saddr | Self::ArpSaddrEther => Source::Payload(1, 8),
            Self::ArpSaddrIp => Source::Payload(1, 14),
            Self::ThDport => Source::Payload(2, 2),
            Self::IcmpType | Self::Icmp6Type => Source::Payload(2, 0),
            Self::NdTarget => Source::Payload(2, 8),
            Self::CtState => Source::Ct(0),
            Self::CtStatus => Source::Ct(2),
            Self::FibDaddrType => Source::FibDaddrType,
            Self::RandomSlot(modulus) => Source::Random(modulus),
            Self::IpSourceSlot(modulus) => Source::Hash(12, 4, modulus),
            Self::Ip6SourceSlot(modulus) => Source::Hash(8, 16, modulus),
        }
    }

    /// 32-bit registers it takes.
    fn words(self) -> u32 {
        self.size().div_ceil(4) as u32
    }

    fn load(self, list: Message, register: u32, size: usize) -> Message {
        match self.source() {
            Source::Meta(key) => expression(list, "meta", |m| m.big_endian(1, register).big_endian(2, key)),
            Source::Ct(key) => expression(list, "ct", |m| m.big_endian(1, register).big_endian(2, key)),
            Source::Payload(base, offset) => expression(list, "payload", |m| {
                m.big_endian(1, register).big_endian(2, base).big_endian(3, offset).big_endian(4, size as u32)
            }),
            // type 1 is by chance
            Source::Random(modulus) => expression(list, "numgen", |m| {
                m.big_endian(1, register).big_endian(2, modulus).big_endian(3, 1).big_endian(4, 0)
            }),
            // type 0 is Jenkins's
            Source::Hash(offset, length, modulus) => {
                let loaded = expression(list, "payload", |m| {
                    m.big_endian(1, SCRATCH).big_endian(2, 1).big_endian(3, offset).big_endian(4, length)
                });
                expression(loaded, "hash", |m| {
                    m.big_endian(1, SCRATCH)
                        .big_endian(2, register)
                        .big_endian(3, length)
                        .big_endian(4, modulus)
                        .big_endian(5, SEED)
                        .big_endian(7, 0)
                })
            }
            // result addrtype, of the destination
            Source::FibDaddrType => {
                expression(list, "fib", |m| m.big_endian(1, register).big_endian(2, 3).big_endian(3, 2))
            }
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::IifName => "iifname",
            Self::OifName => "oifname",
            Self::Protocol => "meta protocol",
            Self::NfProto => "meta nfproto",
            Self::L4Proto => "meta l4proto",
            Self::EtherSaddr => "ether saddr",
            Self::IpSaddr => "ip saddr",
            Self::IpDaddr => "ip daddr",
            Self::Ip6Saddr => "ip6 saddr",
            Self::Ip6Daddr => "ip6 daddr",
            Self::ArpSaddrEther => "arp saddr ether",
            Self::ArpSaddrIp => "arp saddr ip",
            Self::ThDport => "th dport",
            Self::IcmpType => "icmp type",
            Self::Icmp6Type => "icmpv6 type",
            Self::NdTarget => "icmpv6 taddr",
            Self::CtState => "ct state",
            Self::CtStatus => "ct status",
            Self::FibDaddrType => "fib daddr type",
            Self::RandomSlot(modulus) => return write!(f, "numgen random mod {modulus}"),
            Self::IpSourceSlot(modulus) => return write!(f, "jhash ip saddr mod {modulus}"),
            Self::Ip6SourceSlot(modulus) => return write!(f, "jhash ip6 saddr mod {modulus}"),
        })
    }
}

/// Where a packet goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Past this base chain.
    Accept,
    /// Nowhere.
    Drop,
    /// Back to the calling chain.
    Return,
    /// Through a chain and back.
    Jump(&'static str),
}

/// One step of a rule. The first that does not match ends the rule.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// The key equals the value. A shorter value is a prefix (of headers only).
    Is(Key, Vec<u8>),
    /// One of the bits is set.
    Has(Key, u32),
    /// The keys together are in the set.
    In(Vec<Key>, &'static str),
    /// The keys together are not in the set.
    NotIn(Vec<Key>, &'static str),
    /// Destination becomes what the map says of the keys. `true` for IPv4.
    DnatByMap(bool, Vec<Key>, &'static str),
    /// The destination's address becomes what the map says of the keys, the port stays. `true` for IPv4.
    DnatAddressByMap(bool, Vec<Key>, &'static str),
    /// Destination becomes this.
    DnatTo(IpAddr, u16),
    /// Source becomes the outgoing interface's.
    Masquerade,
    /// The end.
    Go(Verdict),
}

/// First of the 32-bit registers.
const REGISTER: u32 = 8;

fn expression(list: Message, name: &str, fill: impl FnOnce(Message) -> Message) -> Message {
    list.nest(1, |m| m.text(1, name).nest(2, fill))
}

fn value(message: Message, kind: u16, bytes: &[u8]) -> Message {
    message.nest(kind, |m| m.attribute(1, bytes))
}

fn load_all(mut list: Message, keys: &[Key]) -> Message {
    let mut register = REGISTER;
    for key in keys {
        list = key.load(list, register, key.size());
        register += key.words();
    }
    list
}

fn lookup(list: Message, keys: &[Key], set: &str, inverse: bool) -> Message {
    expression(load_all(list, keys), "lookup", |m| {
        let m = m.text(1, set).big_endian(2, REGISTER);
        if inverse { m.big_endian(5, 1) } else { m }
    })
}

fn nat(list: Message, ipv4: bool) -> Message {
    let (family, port) = if ipv4 { (2, REGISTER + 1) } else { (10, REGISTER + 4) };
    expression(list, "nat", |m| {
        m.big_endian(1, 1).big_endian(2, family).big_endian(3, REGISTER).big_endian(5, port)
    })
}

impl Step {
    pub(crate) fn encode(&self, list: Message) -> Message {
        match self {
            Self::Is(key, bytes) => expression(key.load(list, REGISTER, bytes.len()), "cmp", |m| {
                value(m.big_endian(1, REGISTER).big_endian(2, 0), 3, bytes)
            }),
            Self::Has(key, bits) => {
                let masked = expression(key.load(list, REGISTER, 4), "bitwise", |m| {
                    let m = m.big_endian(1, REGISTER).big_endian(2, REGISTER).big_endian(3, 4);
                    value(value(m, 4, &bits.to_ne_bytes()), 5, &[0; 4])
                });
                expression(masked, "cmp", |m| value(m.big_endian(1, REGISTER).big_endian(2, 1), 3, &[0; 4]))
            }
            Self::In(keys, set) => lookup(list, keys, set, false),
            Self::NotIn(keys, set) => lookup(list, keys, set, true),
            Self::DnatByMap(ipv4, keys, map) => {
                let found = expression(load_all(list, keys), "lookup", |m| {
                    m.text(1, map).big_endian(2, REGISTER).big_endian(3, REGISTER)
                });
                nat(found, *ipv4)
            }
            Self::DnatAddressByMap(ipv4, keys, map) => {
                let found = expression(load_all(list, keys), "lookup", |m| {
                    m.text(1, map).big_endian(2, REGISTER).big_endian(3, REGISTER)
                });
                expression(found, "nat", |m| {
                    m.big_endian(1, 1).big_endian(2, if *ipv4 { 2 } else { 10 }).big_endian(3, REGISTER)
                })
            }
            Self::DnatTo(address, port) => {
                let port_register = if address.is_ipv4() { REGISTER + 1 } else { REGISTER + 4 };
                let list =
                    expression(list, "immediate", |m| value(m.big_endian(1, REGISTER), 2, &octets(*address)));
                let list = expression(list, "immediate", |m| {
                    value(m.big_endian(1, port_register), 2, &port.to_be_bytes())
                });
                nat(list, address.is_ipv4())
            }
            Self::Masquerade => expression(list, "masq", |m| m),
            Self::Go(verdict) => {
                let (code, chain) = match verdict {
                    Verdict::Drop => (0_i32, None),
                    Verdict::Accept => (1, None),
                    Verdict::Jump(chain) => (-3, Some(*chain)),
                    Verdict::Return => (-5, None),
                };
                expression(list, "immediate", |m| {
                    m.big_endian(1, 0).nest(2, |m| {
                        m.nest(2, |m| {
                            let m = m.big_endian(1, code as u32);
                            chain.map_or_else(|| m.clone(), |chain| m.clone().text(2, chain))
                        })
                    })
                })
            }
        }
    }
}

fn joined(keys: &[Key]) -> String {
    keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(" . ")
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(key, bytes) => write!(f, "{key} {}", literal(*key, bytes)),
            Self::Has(key, bits) => {
                let names: &[(u32, &str)] = match key {
                    Key::CtState => &[(1, "invalid"), (2, "established"), (4, "related"), (8, "new")],
                    Key::CtStatus => &[(0x20, "dnat"), (0x10, "snat")],
                    _ => &[],
                };
                let set: Vec<_> =
                    names.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| *name).collect();
                write!(f, "{key} {}", set.join(","))
            }
            Self::In(keys, set) => write!(f, "{} @{set}", joined(keys)),
            Self::NotIn(keys, set) => write!(f, "{} != @{set}", joined(keys)),
            Self::DnatByMap(v4, keys, map) | Self::DnatAddressByMap(v4, keys, map) => {
                write!(f, "dnat {} to {} map @{map}", if *v4 { "ip" } else { "ip6" }, joined(keys))
            }
            Self::DnatTo(IpAddr::V4(address), port) => write!(f, "dnat to {address}:{port}"),
            Self::DnatTo(IpAddr::V6(address), port) => write!(f, "dnat to [{address}]:{port}"),
            Self::Masquerade => f.write_str("masquerade"),
            Self::Go(Verdict::Accept) => f.write_str("accept"),
            Self::Go(Verdict::Drop) => f.write_str("drop"),
            Self::Go(Verdict::Return) => f.write_str("return"),
            Self::Go(Verdict::Jump(chain)) => write!(f, "jump {chain}"),
        }
    }
}

fn literal(key: Key, bytes: &[u8]) -> String {
    match (key, bytes) {
        (Key::NfProto, [2]) => "ipv4".into(),
        (Key::NfProto, [10]) => "ipv6".into(),
        (Key::Protocol, [8, 0]) => "ip".into(),
        (Key::Protocol, [8, 6]) => "arp".into(),
        (Key::Protocol, [0x86, 0xdd]) => "ip6".into(),
        (Key::L4Proto, [1]) => "icmp".into(),
        (Key::L4Proto, [6]) => "tcp".into(),
        (Key::L4Proto, [17]) => "udp".into(),
        (Key::L4Proto, [58]) => "ipv6-icmp".into(),
        (Key::FibDaddrType, _) => "local".into(),
        (Key::IpSaddr | Key::IpDaddr, prefix) if prefix.len() < 4 => {
            let mut whole = [0_u8; 4];
            for (to, from) in whole.iter_mut().zip(prefix) {
                *to = *from;
            }
            format!("{}/{}", IpAddr::from(whole), prefix.len() * 8)
        }
        (Key::IpSaddr | Key::IpDaddr, &[a, b, c, d]) => format!("{a}.{b}.{c}.{d}"),
        (Key::ThDport, &[a, b]) => u16::from_be_bytes([a, b]).to_string(),
        (_, [byte]) => byte.to_string(),
        (_, bytes) => format!("{bytes:02x?}"),
    }
}
