use std::{
    fmt::Write,
    net::{IpAddr, SocketAddr},
};

/// The settings of `resolv.conf(5)`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// Servers, in order. A scope behind `%` is left out.
    pub nameservers: Vec<IpAddr>,
    /// Domains to try behind a short name; the last `search` or `domain` line counts.
    pub search: Vec<String>,
    /// Options, `ndots:2`.
    pub options: Vec<String>,
}

impl ResolvConf {
    /// Reads the text of a `resolv.conf`. Lines that are none are passed over, as resolvers do.
    pub fn parse(text: &str) -> Self {
        let mut conf = Self::default();
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let address = words.next().and_then(|word| word.split('%').next());
                    conf.nameservers.extend(address.and_then(|word| word.parse::<IpAddr>().ok()));
                }
                Some("search") => conf.search = words.map(str::to_owned).collect(),
                Some("domain") => conf.search = words.take(1).map(str::to_owned).collect(),
                Some("options") => conf.options.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        conf
    }

    /// The servers at port 53, for [`Server::bind`](super::Server::bind). A loopback address is the host's own and
    /// works, as the questions are sent from the host's namespace.
    pub fn upstreams(&self) -> Vec<SocketAddr> {
        self.nameservers.iter().map(|address| SocketAddr::new(*address, 53)).collect()
    }

    /// The text for a container that has a name server at 127.0.0.11: the same domains and options, `ndots:0`
    /// unless that is set.
    pub fn for_container(&self) -> String {
        let mut text = String::from("nameserver 127.0.0.11\n");
        if !self.search.is_empty() {
            let _ = writeln!(text, "search {}", self.search.join(" "));
        }
        let mut options = self.options.clone();
        if !options.iter().any(|option| option.starts_with("ndots:")) {
            options.push("ndots:0".into());
        }
        let _ = writeln!(text, "options {}", options.join(" "));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolv_conf_is_read_as_resolvers_do() {
        let conf = ResolvConf::parse(
            "# comment\nnameserver 127.0.0.53 ; stub\nnameserver fe80::1%eth0\nnameserver x\n\ndomain a.example\nsearch b.example c.example\noptions edns0 ndots:2\n",
        );
        assert_eq!(conf.nameservers, ["127.0.0.53".parse::<IpAddr>().unwrap(), "fe80::1".parse().unwrap()]);
        assert_eq!(conf.search, ["b.example", "c.example"]);
        assert_eq!(
            conf.for_container(),
            "nameserver 127.0.0.11\nsearch b.example c.example\noptions edns0 ndots:2\n"
        );
        assert_eq!(ResolvConf::default().for_container(), "nameserver 127.0.0.11\noptions ndots:0\n");
    }
}
