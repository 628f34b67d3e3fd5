//! The topology of networks, containers, addresses and ports, as a picture.

use std::fmt::Write;

use crate::{Container, Engine, Error, Network, NetworkDriver, short_id};

/// Networks and the containers in them. [`dot`](Self::dot) is for Graphviz, [`svg`](Self::svg) is a picture by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    networks: Vec<Node>,
    containers: Vec<Node>,
    places: Vec<Place>,
}

/// A box: its first line is its name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    id: String,
    lines: Vec<String>,
    /// A network that is closed, or a container that does not run.
    dimmed: bool,
}

/// A container's place in a network: their positions, and its addresses there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    network: usize,
    container: usize,
    addresses: String,
}

impl Engine {
    /// How networks and containers are connected now.
    pub async fn topology(&self) -> Result<Topology, Error> {
        Ok(Topology::of(&self.networks().await?, &self.containers().await?))
    }
}

impl Topology {
    fn of(networks: &[Network], containers: &[Container]) -> Self {
        let container_nodes = containers
            .iter()
            .map(|container| {
                let mut lines =
                    vec![container.name.clone(), format!("{} · {}", container.image, container.phase.name())];
                for status in container.networks.iter().filter_map(|network| network.status.as_ref()) {
                    for port in &status.ports {
                        let host = match port.host_ip {
                            Some(address) if address.is_ipv6() => format!("[{address}]"),
                            Some(address) => address.to_string(),
                            None => "*".to_owned(),
                        };
                        let (at, to, by) = (port.host_port, port.container_port, port.protocol);
                        let line = format!("{host}:{at} → {to}/{by}");
                        if !lines.contains(&line) {
                            lines.push(line);
                        }
                    }
                }
                let dimmed = !container.phase.is_running();
                Node { id: short_id(&container.id).to_owned(), lines, dimmed }
            })
            .collect();
        let network_nodes = networks
            .iter()
            .map(|network| {
                let mut lines = vec![network.name.clone(), network.driver.name().to_owned()];
                let mut dimmed = false;
                if let NetworkDriver::Bridge(config) = &network.driver {
                    if config.internal {
                        lines.push("internal".to_owned());
                        dimmed = true;
                    }
                    if let Some(parent) = &config.parent {
                        lines.push(format!("on {parent}"));
                    }
                    lines.extend(config.subnets.iter().map(|subnet| subnet.subnet.to_string()));
                }
                Node { id: short_id(&network.id).to_owned(), lines, dimmed }
            })
            .collect();
        let mut places = Vec::new();
        for (position, container) in containers.iter().enumerate() {
            for network in &container.networks {
                let Some(at) = networks.iter().position(|other| other.id == network.id) else { continue };
                let addresses: Vec<String> = network
                    .status
                    .iter()
                    .flat_map(|status| status.addresses.iter().map(ToString::to_string))
                    .collect();
                places.push(Place { network: at, container: position, addresses: addresses.join(", ") });
            }
        }
        Self { networks: network_nodes, containers: container_nodes, places }
    }

    /// In the language of Graphviz.
    pub fn dot(&self) -> String {
        let mut text = String::from("graph networks {\n  rankdir=LR;\n  node [fontname=\"sans-serif\"];\n");
        for (kind, shape, nodes) in [("n", "ellipse", &self.networks), ("c", "box", &self.containers)] {
            for node in nodes {
                let label: Vec<String> = node.lines.iter().map(|line| quoted(line)).collect();
                let style = if node.dimmed { ", style=dashed" } else { "" };
                let _ = writeln!(
                    text,
                    "  {kind}{} [shape={shape}{style}, label=\"{}\"];",
                    node.id,
                    label.join("\\n")
                );
            }
        }
        for place in &self.places {
            let (network, container) =
                (&self.networks[place.network].id, &self.containers[place.container].id);
            let _ = writeln!(text, "  n{network} -- c{container} [label=\"{}\"];", quoted(&place.addresses));
        }
        text.push_str("}\n");
        text
    }

    /// As a picture: networks on the left, containers on the right.
    pub fn svg(&self) -> String {
        const LINE: usize = 18;
        const GAP: usize = 16;
        const WIDE: usize = 260;
        const RIGHT: usize = 560;
        let column = |nodes: &[Node]| {
            let mut top = GAP;
            nodes
                .iter()
                .map(|node| {
                    let height = LINE * node.lines.len() + 14;
                    let place = (top, height);
                    top += height + GAP;
                    place
                })
                .collect::<Vec<_>>()
        };
        let (left, right) = (column(&self.networks), column(&self.containers));
        let bottom =
            |places: &[(usize, usize)]| places.last().map_or(GAP, |(top, height)| top + height + GAP);
        let height = bottom(&left).max(bottom(&right));
        let width = RIGHT + WIDE + GAP;
        let mut text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
        );
        for place in &self.places {
            let ((from, tall), (to, high)) = (left[place.network], right[place.container]);
            let (x1, y1, x2, y2) = (GAP + WIDE, from + tall / 2, RIGHT, to + high / 2);
            let _ = writeln!(text, "<line x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\" stroke=\"#667\"/>");
            // nearer to the container, where lines are apart
            let (x, y) = (x1 + (x2 - x1) * 3 / 4, (y1 + y2 * 3) / 4);
            let _ = writeln!(
                text,
                "<text x=\"{x}\" y=\"{}\" text-anchor=\"middle\" font-size=\"11\" stroke=\"#fff\" stroke-width=\"4\" \
                 paint-order=\"stroke\" fill=\"#334\">{}</text>",
                y.saturating_sub(3),
                escaped(&place.addresses)
            );
        }
        for (nodes, places, x, round, fill) in
            [(&self.networks, &left, GAP, 18, "#e3f0ff"), (&self.containers, &right, RIGHT, 3, "#eef7e8")]
        {
            for (node, (top, tall)) in nodes.iter().zip(places) {
                let dash = if node.dimmed { " stroke-dasharray=\"5 4\"" } else { "" };
                let _ = writeln!(
                    text,
                    "<rect x=\"{x}\" y=\"{top}\" width=\"{WIDE}\" height=\"{tall}\" rx=\"{round}\" fill=\"{fill}\" \
                     stroke=\"#667\"{dash}/>"
                );
                for (number, line) in node.lines.iter().enumerate() {
                    let weight = if number == 0 { " font-weight=\"bold\"" } else { "" };
                    let short: String = line.chars().take(36).collect();
                    let _ = writeln!(
                        text,
                        "<text x=\"{}\" y=\"{}\"{weight}>{}</text>",
                        x + 12,
                        top + 20 + number * LINE,
                        escaped(&short)
                    );
                }
            }
        }
        text.push_str("</svg>\n");
        text
    }
}

/// Inside the quotes of a DOT string.
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace(['\n', '\r'], " ")
}

/// Inside an XML element.
fn escaped(text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control()).collect();
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_names_hold_is_text_in_both_languages() {
        let node = |name: &str, dimmed| Node { id: "0123".into(), lines: vec![name.to_owned()], dimmed };
        let topology = Topology {
            networks: vec![node("a\"b\\", false)],
            containers: vec![node("<script>&\n", true)],
            places: vec![Place { network: 0, container: 0, addresses: "10.0.0.2".into() }],
        };
        let dot = topology.dot();
        assert!(
            dot.contains(r#"label="a\"b\\""#) && dot.contains("n0123 -- c0123 [label=\"10.0.0.2\"]"),
            "{dot}"
        );
        let svg = topology.svg();
        assert!(svg.contains("&lt;script&gt;&amp;") && !svg.contains("<script"), "{svg}");
        assert!(svg.contains("stroke-dasharray") && svg.ends_with("</svg>\n"));
    }
}
