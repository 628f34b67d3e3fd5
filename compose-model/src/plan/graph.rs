//! Pictures of plans and projects: DOT, Mermaid and SVG.
use std::fmt::Write as _;

use crate::model::Project;

/// Nodes with texts, and arrows between them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Graph {
    nodes: Vec<String>,
    edges: Vec<(usize, usize, String)>,
}

/// The size of a node in the picture, and the room between nodes.
const HEIGHT: usize = 32;
const GAP: usize = 16;
const ROOM: usize = 56;

impl Graph {
    pub(crate) fn node(&mut self, text: impl Into<String>) -> usize {
        self.nodes.push(text.into());
        self.nodes.len() - 1
    }

    pub(crate) fn edge(&mut self, from: usize, to: usize, text: &str) {
        self.edges.push((from, to, text.to_owned()));
    }

    /// The graph in the language of Graphviz.
    pub fn to_dot(&self) -> String {
        let mut out = "digraph {\n  rankdir=LR;\n  node [shape=box];\n".to_owned();
        let quoted = |text: &str| clean(text).replace('\\', "\\\\").replace('"', "\\\"");
        for (at, text) in self.nodes.iter().enumerate() {
            let _ = writeln!(out, "  n{at} [label=\"{}\"];", quoted(text));
        }
        for (from, to, text) in &self.edges {
            let label =
                if text.is_empty() { String::new() } else { format!(" [label=\"{}\"]", quoted(text)) };
            let _ = writeln!(out, "  n{from} -> n{to}{label};");
        }
        out + "}\n"
    }

    /// The graph in the language of Mermaid.
    pub fn to_mermaid(&self) -> String {
        let mut out = "flowchart LR\n".to_owned();
        let quoted = |text: &str| {
            clean(text).replace('#', "#35;").replace('"', "#quot;").replace('<', "#lt;").replace('>', "#gt;")
        };
        for (at, text) in self.nodes.iter().enumerate() {
            let _ = writeln!(out, "  n{at}[\"{}\"]", quoted(text));
        }
        for (from, to, text) in &self.edges {
            let label = if text.is_empty() { String::new() } else { format!("|\"{}\"|", quoted(text)) };
            let _ = writeln!(out, "  n{from} -->{label} n{to}");
        }
        out
    }

    /// The graph as a picture, from left to right, without scripts or fonts of its own.
    pub fn to_svg(&self) -> String {
        let columns = self.columns();
        let width =
            |text: &str| clean(text).chars().map(|c| if c.is_ascii() { 8 } else { 15 }).sum::<usize>() + 24;
        let mut places = vec![(0, 0, 0); self.nodes.len()];
        let (mut x, mut bottom) = (GAP, 0);
        for column in &columns {
            let widest =
                column.iter().filter_map(|at| self.nodes.get(*at)).map(|text| width(text)).max().unwrap_or(0);
            for (row, at) in column.iter().enumerate() {
                let y = GAP + row * (HEIGHT + GAP);
                if let Some(place) = places.get_mut(*at) {
                    *place = (x, y, widest);
                }
                bottom = bottom.max(y + HEIGHT + GAP);
            }
            x += widest + ROOM;
        }
        let right = x.saturating_sub(ROOM) + GAP;
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {right} {bottom}\" width=\"{right}\" height=\"{bottom}\" \
             font-family=\"monospace\" font-size=\"13\">\n<defs><marker id=\"a\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" \
             markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"#555\"/></marker></defs>\n"
        );
        let text = |text: &str| clean(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        for (from, to, label) in &self.edges {
            let (Some((fx, fy, fw)), Some((tx, ty, _))) = (places.get(*from), places.get(*to)) else {
                continue;
            };
            let (x1, y1, x2, y2) = (fx + fw, fy + HEIGHT / 2, *tx, ty + HEIGHT / 2);
            let _ = writeln!(
                out,
                "<path d=\"M{x1} {y1}C{} {y1} {} {y2} {x2} {y2}\" fill=\"none\" stroke=\"#555\" marker-end=\"url(#a)\"/>",
                x1 + ROOM / 2,
                x2.saturating_sub(ROOM / 2),
            );
            if !label.is_empty() {
                let _ = writeln!(
                    out,
                    "<text x=\"{}\" y=\"{}\" fill=\"#555\" font-size=\"10\">{}</text>",
                    x1 + 4,
                    y1 - 4,
                    text(label)
                );
            }
        }
        for (label, (x, y, w)) in self.nodes.iter().zip(&places) {
            let _ = writeln!(
                out,
                "<rect x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{HEIGHT}\" rx=\"4\" fill=\"#eef4fb\" stroke=\"#357\"/><text x=\"{}\" y=\"{}\">{}</text>",
                x + 12,
                y + 21,
                text(label),
            );
        }
        out + "</svg>\n"
    }

    /// Nodes by the longest way to them. Arrows of a circle are left out of account.
    fn columns(&self) -> Vec<Vec<usize>> {
        let mut incoming = vec![0usize; self.nodes.len()];
        let mut outgoing: Vec<Vec<usize>> = vec![Vec::new(); self.nodes.len()];
        for (from, to, _) in &self.edges {
            if let (Some(count), Some(list)) = (incoming.get_mut(*to), outgoing.get_mut(*from)) {
                *count += 1;
                list.push(*to);
            }
        }
        let mut columns = Vec::new();
        let mut placed = vec![false; self.nodes.len()];
        let mut column: Vec<usize> =
            (0..self.nodes.len()).filter(|at| incoming.get(*at) == Some(&0)).collect();
        while !column.is_empty() {
            let mut next = Vec::new();
            for at in &column {
                if let Some(placed) = placed.get_mut(*at) {
                    *placed = true;
                }
                for to in outgoing.get(*at).into_iter().flatten() {
                    if let Some(count) = incoming.get_mut(*to) {
                        *count -= 1;
                        if *count == 0 {
                            next.push(*to);
                        }
                    }
                }
            }
            columns.push(std::mem::replace(&mut column, next));
        }
        let rest: Vec<usize> =
            placed.iter().enumerate().filter(|(_, placed)| !**placed).map(|(at, _)| at).collect();
        if !rest.is_empty() {
            columns.push(rest);
        }
        columns
    }
}

/// A text without control characters, at most 80 characters.
fn clean(text: &str) -> String {
    text.chars().take(80).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl Project {
    /// The services and what each depends on, to be drawn; an arrow goes to the one that waits.
    pub fn graph(&self) -> Graph {
        let mut graph = Graph::default();
        let mut places = std::collections::HashMap::new();
        for name in self.services.keys() {
            places.insert(name, graph.node(name));
        }
        for (name, service) in self.services.iter() {
            for (other, dependency) in service.depends_on.iter() {
                let (Some(from), Some(to)) = (places.get(other), places.get(name)) else { continue };
                let label = match dependency.condition.as_deref() {
                    Some("service_healthy") => "healthy",
                    Some("service_completed_successfully") => "completed",
                    _ => "",
                };
                graph.edge(*from, *to, label);
            }
        }
        graph
    }
}
