use std::hint::black_box;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use container_net::names::{Directory, Record};
use container_net::{Pool, SubnetConfig};

use crate::{Amount, HotPath, Scale};

/// An address leased from a /16 that has 1,000 leases already, and given back.
pub(crate) fn lease(scale: Scale, at: &Path) -> HotPath {
    let subnet = "10.213.0.0/16".parse().expect("a subnet");
    let pool =
        Pool::open(at, &SubnetConfig::new(subnet).expect("room for a gateway")).expect("an empty directory");
    for owner in 0..1000 * scale.0 {
        pool.lease(&format!("owner{owner}"), None).expect("a /16 has room");
    }
    HotPath::new("net/lease", Amount::Items(1), move || {
        black_box(pool.lease("guest", None).expect("a /16 has room"));
        pool.release("guest").expect("it was leased");
    })
}

/// A thousand names looked up among as many containers.
pub(crate) fn names(scale: Scale, at: &Path) -> HotPath {
    let names: Vec<String> = (0..scale.0 * 1000).map(|number| format!("web{number}")).collect();
    for (number, name) in names.iter().enumerate() {
        let [high, low] = (number as u16).to_be_bytes();
        let record = Record {
            container_id: format!("{number:064x}"),
            container_name: name.clone(),
            network: "front".into(),
            names: vec![name.clone()],
            addresses: vec![IpAddr::from([10, 213, high, low])],
        };
        record.register(&at.join("names")).expect("room for a record");
    }
    let mut directory = Directory::new([at]);
    // a directory that was written this moment is read again at each question
    std::thread::sleep(Duration::from_millis(60));
    HotPath::new("net/names", Amount::Items(names.len() as u64), move || {
        for name in &names {
            assert!(directory.lookup(name).is_some());
        }
    })
}
