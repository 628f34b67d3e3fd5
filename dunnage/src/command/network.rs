use std::net::IpAddr;

use clap::{Args, Subcommand};
use container_engine::{EndpointOptions, Engine, NetworkOptions, Subnet, short_id};

use crate::command::options::pairs;
use crate::command::{image, inspect};
use crate::context::{Failure, Roots, each, print};
use crate::listing::{Format, Listing, ObjectFormat};

#[derive(Debug, Subcommand)]
pub(crate) enum Network {
    /// Create a network
    Create(Create),
    /// List networks
    #[command(alias = "list")]
    Ls(Ls),
    /// Show everything known of networks, as JSON
    Inspect(InspectNames),
    /// Give a container a place in a network
    Connect(Connect),
    /// Take a container's place in a network away
    Disconnect(Disconnect),
    /// Remove networks
    #[command(alias = "remove")]
    Rm(Names),
    /// Remove every network that no container has a place in
    Prune(Prune),
    /// Show how networks and containers are connected, in the language of Graphviz
    Graph(Graph),
}

#[derive(Debug, Args)]
pub(crate) struct Graph {
    /// As a picture instead
    #[arg(long)]
    svg: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// bridge, macvlan or ipvlan
    #[arg(short, long, default_value = "bridge", value_name = "DRIVER")]
    driver: String,
    /// Subnet, as 10.1.0.0/16; a free one if none is given
    #[arg(long, value_name = "SUBNET")]
    subnet: Vec<Subnet>,
    /// Gateway; the first address of the subnet
    #[arg(long, value_name = "ADDRESS")]
    gateway: Vec<IpAddr>,
    /// Take addresses from this part of the subnet
    #[arg(long, value_name = "SUBNET")]
    ip_range: Vec<Subnet>,
    /// No way out
    #[arg(long)]
    internal: bool,
    /// An IPv6 subnet too
    #[arg(long)]
    ipv6: bool,
    /// com.docker.network.driver.mtu=BYTES; parent=INTERFACE, macvlan_mode=bridge|private|vepa|passthru, ipvlan_mode=l2|l3|l3s
    #[arg(short, long, value_name = "OPTION")]
    opt: Vec<String>,
    /// Set a label
    #[arg(long, value_name = "KEY[=VALUE]")]
    label: Vec<String>,
    /// Its name
    name: String,
}

#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Ids only
    #[arg(short, long)]
    quiet: bool,
    /// Do not shorten ids
    #[arg(long)]
    no_trunc: bool,
    #[command(flatten)]
    format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct Names {
    /// Networks
    #[arg(required = true)]
    networks: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct InspectNames {
    #[command(flatten)]
    format: ObjectFormat,
    /// Networks
    #[arg(required = true)]
    networks: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Connect {
    /// A further name of the container there
    #[arg(long, value_name = "NAME")]
    alias: Vec<String>,
    /// Fixed address
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<IpAddr>,
    /// Network
    network: String,
    /// Container
    container: String,
}

#[derive(Debug, Args)]
pub(crate) struct Disconnect {
    /// Network
    network: String,
    /// Container
    container: String,
}

impl Network {
    pub(crate) async fn run(self, roots: &Roots) -> Result<u8, Failure> {
        let engine = roots.engine().await?;
        match self {
            Self::Create(create) => {
                print(engine.create_network(&create.options()?).await?)?;
                Ok(0)
            }
            Self::Ls(ls) => {
                let networks = engine.networks().await?;
                let id = |id: &str| if ls.no_trunc { id.to_owned() } else { short_id(id).to_owned() };
                if ls.quiet {
                    let ids: Vec<String> = networks.iter().map(|network| id(&network.id)).collect();
                    return print(ids.join("\n")).map(|()| 0);
                }
                let mut listing = Listing::new(&[
                    ("ID", "NETWORK ID"),
                    ("Name", "NAME"),
                    ("Driver", "DRIVER"),
                    ("Scope", "SCOPE"),
                ]);
                for network in &networks {
                    listing.row([
                        ("ID", id(&network.id)),
                        ("Name", network.name.clone()),
                        ("Driver", network.driver.name().to_owned()),
                        ("Scope", "local".to_owned()),
                        ("CreatedAt", network.created.clone()),
                    ]);
                }
                listing.print(&ls.format)
            }
            Self::Inspect(names) => inspect::networks(&engine, &names.networks, &names.format).await,
            Self::Connect(connect) => {
                let options = EndpointOptions { aliases: connect.alias, ip: connect.ip };
                engine.connect(&connect.network, &connect.container, &options).await?;
                Ok(0)
            }
            Self::Disconnect(disconnect) => {
                engine.disconnect(&disconnect.network, &disconnect.container).await?;
                Ok(0)
            }
            Self::Rm(names) => {
                each(&names.networks, |name| {
                    let engine = &engine;
                    async move {
                        engine.remove_network(&name).await?;
                        Ok(name)
                    }
                })
                .await
            }
            Self::Graph(graph) => {
                let topology = engine.topology().await?;
                print(if graph.svg { topology.svg() } else { topology.dot() }.trim_end())?;
                Ok(0)
            }
            Self::Prune(command) => {
                if command.force || image::confirmed("all networks that no container has a place in")? {
                    prune(&engine).await?;
                }
                Ok(0)
            }
        }
    }
}

/// Removes every network that no container has a place in, and says which.
pub(crate) async fn prune(engine: &Engine) -> Result<(), Failure> {
    let mut removed = Vec::new();
    for network in engine.networks().await? {
        let stays = matches!(network.name.as_str(), "bridge" | "host" | "none");
        // one that is used from now on is no failure
        if !stays && network.containers.is_empty() && engine.remove_network(&network.id).await.is_ok() {
            removed.push(network.name);
        }
    }
    if !removed.is_empty() {
        print(format_args!("Deleted Networks:\n{}\n", removed.join("\n")))?;
    }
    Ok(())
}

impl Create {
    fn options(self) -> Result<NetworkOptions, Failure> {
        let mut options = NetworkOptions {
            name: self.name,
            subnets: self.subnet,
            gateways: self.gateway,
            ip_ranges: self.ip_range,
            internal: self.internal,
            ipv6: self.ipv6,
            labels: pairs("label", &self.label, true)?,
            ..NetworkOptions::default()
        };
        options.set_driver(&self.driver)?;
        for (key, value) in pairs("network option", &self.opt, false)? {
            options.set_driver_option(&key, &value)?;
        }
        Ok(options)
    }
}
