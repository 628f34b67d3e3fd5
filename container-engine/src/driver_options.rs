//! Options of a network's driver, by Docker's names.

use container_net::{Driver, InterfaceName, IpvlanMode, MacvlanMode};

use crate::Error;
use crate::networks::NetworkOptions;

impl NetworkOptions {
    /// Sets the driver by its name: `bridge`, `macvlan` or `ipvlan`.
    pub fn set_driver(&mut self, name: &str) -> Result<(), Error> {
        self.driver = match name {
            "bridge" => Driver::Bridge,
            "macvlan" => Driver::Macvlan,
            "ipvlan" => Driver::Ipvlan,
            _ => return Err(Error::setting("network driver", name, "bridge, macvlan and ipvlan are there")),
        };
        Ok(())
    }

    /// Sets an option of the driver, which is set before: `com.docker.network.driver.mtu` or `mtu`, `parent`, `macvlan_mode`, `ipvlan_mode`.
    pub fn set_driver_option(&mut self, key: &str, value: &str) -> Result<(), Error> {
        let wrong = |reason: &str| Error::setting("network option", format!("{key}={value}"), reason);
        match (key, self.driver) {
            ("com.docker.network.driver.mtu" | "mtu", _) => {
                self.mtu = Some(value.parse().map_err(|_| wrong("not a number of bytes"))?);
            }
            ("parent", Driver::Macvlan | Driver::Ipvlan) => {
                let name = value.parse::<InterfaceName>();
                self.parent = Some(name.map_err(|_| wrong("not the name of an interface"))?);
            }
            ("macvlan_mode", Driver::Macvlan) => {
                self.macvlan = match value {
                    "bridge" => MacvlanMode::Bridge,
                    "private" => MacvlanMode::Private,
                    "vepa" => MacvlanMode::Vepa,
                    "passthru" => MacvlanMode::Passthru,
                    _ => return Err(wrong("none of bridge, private, vepa and passthru")),
                }
            }
            ("ipvlan_mode", Driver::Ipvlan) => {
                self.ipvlan = match value {
                    "l2" => IpvlanMode::L2,
                    "l3" => IpvlanMode::L3,
                    "l3s" => IpvlanMode::L3s,
                    _ => return Err(wrong("none of l2, l3 and l3s")),
                }
            }
            _ => return Err(wrong("this option is not known to the driver")),
        }
        Ok(())
    }
}
