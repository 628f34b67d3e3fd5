use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A network address and the length of its prefix, `172.20.0.0/16` or `fd00:1::/64`.
///
/// The bits behind the prefix are zero: `172.20.0.5/16` is refused, so that a typing error does not
/// become another network. [`Subnet::containing`] is the way from a host's address to its subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    address: IpAddr,
    prefix: u8,
}

impl Subnet {
    /// A subnet of exactly this network address. An error if host bits are set or the prefix is too long.
    pub fn new(address: IpAddr, prefix: u8) -> Result<Self> {
        let whole = Self::containing(address, prefix)?;
        if whole.address != address {
            return Err(Error::Subnet {
                text: format!("{address}/{prefix}"),
                reason: format!("bits are set behind the prefix; the network is {whole}"),
            });
        }
        Ok(whole)
    }

    /// The subnet of this prefix that `address` lies in.
    pub fn containing(address: IpAddr, prefix: u8) -> Result<Self> {
        if prefix > width(address) {
            return Err(Error::Subnet {
                text: format!("{address}/{prefix}"),
                reason: format!("the prefix is longer than {}", width(address)),
            });
        }
        Ok(Self { address: from_bits(address, to_bits(address) & mask(address, prefix)), prefix })
    }

    /// The network address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Length of the prefix in bits.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether it is an IPv4 subnet.
    pub fn is_ipv4(&self) -> bool {
        self.address.is_ipv4()
    }

    /// Whether `address` lies inside. An address of the other family never does.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.is_ipv4()
            && to_bits(address) & mask(address, self.prefix) == to_bits(self.address)
    }

    /// Whether the whole of `other` lies inside.
    pub fn includes(&self, other: &Subnet) -> bool {
        other.prefix >= self.prefix && self.contains(other.address)
    }

    /// Whether the two share an address.
    pub fn overlaps(&self, other: &Subnet) -> bool {
        self.includes(other) || other.includes(self)
    }

    /// The last address: IPv4's broadcast address.
    pub fn last(&self) -> IpAddr {
        from_bits(self.address, to_bits(self.address) | !mask(self.address, self.prefix) & full(self.address))
    }

    /// How many addresses a host may have: without the network's own and, for IPv4, the broadcast
    /// address (RFC 3021's /31 and a /32 lose none).
    pub fn host_count(&self) -> u128 {
        let all = to_bits(self.last()) - to_bits(self.address);
        match (self.is_ipv4(), u32::from(width(self.address) - self.prefix)) {
            (_, 0 | 1) => all + 1,
            (true, _) => all - 1,
            (false, _) => all,
        }
    }

    /// The addresses a host may have, in order.
    pub fn hosts(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let (base, skip) = (self.address, u128::from(width(self.address) - self.prefix > 1));
        let first = to_bits(base) + skip;
        let count = self.host_count();
        (0..count).map(move |n| from_bits(base, first + n))
    }

    /// Whether a host may have the address: inside, and neither the network's nor IPv4's broadcast address.
    pub fn is_host(&self, address: IpAddr) -> bool {
        if !self.contains(address) {
            return false;
        }
        if width(self.address) - self.prefix <= 1 {
            return true;
        }
        address != self.address && !(self.is_ipv4() && address == self.last())
    }

    /// The `n`th address counted from the network's own; none if that is outside.
    pub fn nth(&self, n: u128) -> Option<IpAddr> {
        let bits = to_bits(self.address).checked_add(n)?;
        (bits <= to_bits(self.last())).then(|| from_bits(self.address, bits))
    }

    /// How far `address` is from the network's own; none if it is outside.
    pub fn offset(&self, address: IpAddr) -> Option<u128> {
        self.contains(address).then(|| to_bits(address) - to_bits(self.address))
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Subnet {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong =
            |reason: &str| Error::Subnet { text: text.chars().take(64).collect(), reason: reason.into() };
        let (address, prefix) = text
            .split_once('/')
            .ok_or_else(|| wrong("an address, a slash and a prefix length are needed"))?;
        let address = address.parse().map_err(|_| wrong("the address cannot be read"))?;
        if prefix.is_empty() || prefix.len() > 3 || !prefix.bytes().all(|b| b.is_ascii_digit()) {
            return Err(wrong("the prefix length is no number"));
        }
        Self::new(address, prefix.parse().map_err(|_| wrong("the prefix length is too large"))?)
    }
}

impl TryFrom<String> for Subnet {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn full(address: IpAddr) -> u128 {
    if address.is_ipv4() { u128::from(u32::MAX) } else { u128::MAX }
}

fn mask(address: IpAddr, prefix: u8) -> u128 {
    let host_bits = u32::from(width(address).saturating_sub(prefix));
    full(address) & u128::MAX.checked_shl(host_bits).unwrap_or(0)
}

fn to_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(a) => u128::from(a.to_bits()),
        IpAddr::V6(a) => a.to_bits(),
    }
}

fn from_bits(family: IpAddr, bits: u128) -> IpAddr {
    match family {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(bits as u32)),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(bits)),
    }
}

/// The bytes of an address in network order.
pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

/// FNV-1a, for what must be the same each time.
pub(crate) fn fnv64(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes
        .into_iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// A hardware address of an Ethernet interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddr([u8; 6]);

impl MacAddr {
    /// From its six bytes. A group address (lowest bit of the first byte set) or all zeros cannot be an
    /// interface's own and is refused.
    pub fn new(bytes: [u8; 6]) -> Result<Self> {
        let reason = match bytes {
            [0, 0, 0, 0, 0, 0] => "it is all zeros",
            [first, ..] if first & 1 == 1 => "it is a group address",
            _ => return Ok(Self(bytes)),
        };
        Err(Error::Mac { text: Self(bytes).to_string(), reason })
    }

    /// The address of the interface that has this IP address: locally administered, the same each time,
    /// `02:42` and the four bytes for IPv4 (as Docker makes them), a hash for IPv6.
    pub fn from_ip(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(a) => {
                let [first, second, third, fourth] = a.octets();
                Self([0x02, 0x42, first, second, third, fourth])
            }
            IpAddr::V6(a) => {
                let hash = fnv64(a.octets()).to_be_bytes();
                let mut bytes = [0x06; 6];
                for (to, from) in bytes.iter_mut().skip(1).zip(hash) {
                    *to = from;
                }
                Self(bytes)
            }
        }
    }

    /// The six bytes.
    pub fn octets(&self) -> [u8; 6] {
        self.0
    }

    /// The link-local IPv6 address an interface makes of it by itself (modified EUI-64, RFC 4291 appendix A).
    pub fn link_local(&self) -> Ipv6Addr {
        let mut bytes = [0; 16];
        let (head, tail) = self.0.split_at(3);
        let parts = [0xfe, 0x80, 0, 0, 0, 0, 0, 0].iter().chain(head).chain(&[0xff, 0xfe]).chain(tail);
        for (to, from) in bytes.iter_mut().zip(parts) {
            *to = *from;
        }
        // the universal/local bit is inverted
        Ipv6Addr::from(u128::from_be_bytes(bytes) ^ (2 << 56))
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, byte) in self.0.iter().enumerate() {
            write!(out, "{}{byte:02x}", if position == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

impl FromStr for MacAddr {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::Mac {
            text: text.chars().take(64).collect(),
            reason: "six pairs of hex digits are needed",
        };
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().filter(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()));
            *byte = u8::from_str_radix(part.ok_or_else(wrong)?, 16).map_err(|_| wrong())?;
        }
        if parts.next().is_some() {
            return Err(wrong());
        }
        Self::new(bytes)
    }
}

impl TryFrom<String> for MacAddr {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<MacAddr> for String {
    fn from(mac: MacAddr) -> Self {
        mac.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_knows_what_it_contains_at_every_prefix() {
        for prefix in 0..=32 {
            let subnet = Subnet::containing(IpAddr::from([10, 200, 3, 77]), prefix).unwrap();
            assert!(subnet.contains(IpAddr::from([10, 200, 3, 77])), "{subnet}");
            assert_eq!(subnet.nth(subnet.offset(subnet.last()).unwrap() + 1), None, "{subnet}");
            assert_eq!(subnet.to_string().parse::<Subnet>().unwrap(), subnet);
        }
        for prefix in 0..=128 {
            let subnet = Subnet::containing("fd00:1:2::77".parse().unwrap(), prefix).unwrap();
            assert!(subnet.contains("fd00:1:2::77".parse().unwrap()), "{subnet}");
            assert!(!subnet.contains(IpAddr::from([10, 0, 0, 1])));
            let _ = (subnet.host_count(), subnet.last(), subnet.hosts().next());
        }
    }

    #[test]
    fn hosts_leave_out_the_network_and_the_broadcast_address() {
        let hosts: Vec<_> =
            "192.0.2.0/30".parse::<Subnet>().unwrap().hosts().map(|a| a.to_string()).collect();
        assert_eq!(hosts, ["192.0.2.1", "192.0.2.2"]);
        assert_eq!("192.0.2.0/31".parse::<Subnet>().unwrap().hosts().count(), 2);
        assert_eq!("192.0.2.7/32".parse::<Subnet>().unwrap().hosts().count(), 1);
        assert_eq!("10.0.0.0/16".parse::<Subnet>().unwrap().host_count(), 65_534);
    }

    #[test]
    fn a_subnet_with_host_bits_or_a_long_prefix_is_refused_with_the_reason() {
        let message = "172.20.0.5/16".parse::<Subnet>().unwrap_err().to_string();
        assert!(message.contains("the network is 172.20.0.0/16"), "{message}");
        for text in
            ["", "/", "1.2.3.4", "1.2.3.4/33", "::/129", "1.2.3.0/+24", "1.2.3.0/ 24", "x/8", "1.2.3.0/256"]
        {
            assert!(text.parse::<Subnet>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_mac_address_is_read_and_written() {
        let mac: MacAddr = "02:42:ac:11:00:02".parse().unwrap();
        assert_eq!(mac, MacAddr::from_ip(IpAddr::from([172, 17, 0, 2])));
        assert_eq!(mac.link_local().to_string(), "fe80::42:acff:fe11:2");
        for text in [
            "",
            "02:42:ac:11:00",
            "02:42:ac:11:00:02:03",
            "01:00:5e:00:00:01",
            "00:00:00:00:00:00",
            "+2:42:ac:11:00:02",
        ] {
            assert!(text.parse::<MacAddr>().is_err(), "{text}");
        }
    }
}
