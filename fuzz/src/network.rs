use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::LazyLock;

use container_engine::parse_published;
use container_net::names::{Directory, Record, ResolvConf, answer};
use container_net::{InterfaceName, MacAddr, Subnet};

/// A network of two containers, kept for as long as the process is there.
static NETWORK: LazyLock<PathBuf> = LazyLock::new(|| {
    let place = tempfile::tempdir().expect("room for a directory").keep();
    for (number, name) in ["web", "db"].iter().enumerate() {
        let record = Record {
            container_id: format!("{number:064x}"),
            container_name: (*name).to_owned(),
            network: "front".to_owned(),
            names: vec![(*name).to_owned()],
            addresses: vec![IpAddr::from([10, 9, 8, number as u8 + 2])],
        };
        record.register(&place.join("names")).expect("room for a record");
    }
    place
});

/// Any packet: an answer has the question's id and says that it is an answer.
pub(crate) fn names(data: &[u8]) {
    let mut directory = Directory::new([NETWORK.as_path()]);
    if let Some(reply) = answer(data, &mut directory) {
        assert!(reply.len() >= 12 && reply[..2] == data[..2], "the id of the question");
        assert!(reply[2] & 0x80 != 0, "it is an answer");
        assert!(answer(&reply, &mut directory).is_none(), "answers are not answered");
    }
}

/// What people write: subnets, addresses, names of interfaces, published ports, resolv.conf.
pub(crate) fn words(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(subnet) = text.parse::<Subnet>() {
        assert_eq!(subnet.to_string().parse::<Subnet>().ok(), Some(subnet), "{text:?}");
        assert!(subnet.hosts().take(3).all(|host| subnet.contains(host)));
    }
    if let Ok(address) = text.parse::<MacAddr>() {
        assert_eq!(address.to_string().parse::<MacAddr>().ok(), Some(address));
    }
    if let Ok(name) = text.parse::<InterfaceName>() {
        assert!(!name.as_str().contains('/') && name.as_str().len() < 16, "{text:?}");
    }
    for port in parse_published(text).unwrap_or_default() {
        assert!(port.container_port > 0);
    }
    let conf = ResolvConf::parse(text);
    conf.upstreams();
    let _ = ResolvConf::parse(&conf.for_container());
}
