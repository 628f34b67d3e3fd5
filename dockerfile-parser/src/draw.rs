//! The stage graph as pictures.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::graph::{EdgeKind, Graph, Target};

impl EdgeKind {
    fn label(self) -> &'static str {
        match self {
            EdgeKind::Base => "FROM",
            EdgeKind::Copy => "COPY",
            EdgeKind::Mount => "mount",
        }
    }
}

/// A box of the picture.
struct Item {
    label: String,
    stage: bool,
}

/// Boxes, and arrows between them from what is needed to what needs it.
struct Picture {
    items: Vec<Item>,
    arrows: Vec<(usize, usize, EdgeKind)>,
}

impl Graph {
    fn picture(&self) -> Picture {
        let mut items: Vec<Item> = self
            .stages()
            .iter()
            .enumerate()
            .map(|(at, stage)| Item {
                label: stage.name.clone().unwrap_or_else(|| format!("stage {at}")),
                stage: true,
            })
            .collect();
        let mut outside: BTreeMap<String, usize> = BTreeMap::new();
        let mut arrows = Vec::new();
        for (to, stage) in self.stages().iter().enumerate() {
            let base = match stage.base {
                Target::Stage(base) => {
                    self.stages().get(base).map(|stage| &stage.onbuild[..]).unwrap_or_default()
                }
                _ => &[],
            };
            for edge in stage.needs.iter().chain(base.iter().take(1000)) {
                let name = match &edge.target {
                    Target::Stage(from) => {
                        arrows.push((*from, to, edge.kind));
                        continue;
                    }
                    Target::Image(name) => name.clone(),
                    Target::Context(name) => format!("context {name}"),
                    Target::Scratch | Target::Unknown => continue,
                };
                let next = items.len();
                let from = *outside.entry(name.clone()).or_insert(next);
                if from == next {
                    items.push(Item { label: name, stage: false });
                }
                arrows.push((from, to, edge.kind));
            }
        }
        arrows.sort_by_key(|&(from, to, kind)| (from, to, kind as u8));
        arrows.dedup();
        Picture { items, arrows }
    }

    /// The graph in the language of Graphviz.
    pub fn to_dot(&self) -> String {
        let picture = self.picture();
        let mut out = String::from("digraph stages {\n  rankdir=LR;\n  node [fontname=\"sans-serif\"];\n");
        for (at, item) in picture.items.iter().enumerate() {
            let shape = if item.stage { "box" } else { "ellipse" };
            let _ = writeln!(out, "  n{at} [shape={shape}, label=\"{}\"];", dot(&item.label));
        }
        for (from, to, kind) in &picture.arrows {
            let style = match kind {
                EdgeKind::Base => "solid",
                EdgeKind::Copy => "dashed",
                EdgeKind::Mount => "dotted",
            };
            let _ = writeln!(out, "  n{from} -> n{to} [style={style}, label=\"{}\"];", kind.label());
        }
        out.push_str("}\n");
        out
    }

    /// The graph as an SVG picture: what is needed to the left, bases by full lines, copies dashed, mounts dotted.
    pub fn to_svg(&self) -> String {
        const WIDTH: usize = 200;
        const HEIGHT: usize = 40;
        const GAP: usize = 80;
        const ROW: usize = 24;
        let picture = self.picture();
        // a box's column is one more than that of all it needs; stages come in an order that allows one pass
        let mut column = vec![0usize; picture.items.len()];
        let mut needs: Vec<Vec<usize>> = vec![Vec::new(); picture.items.len()];
        for &(from, to, _) in &picture.arrows {
            needs[to].push(from);
        }
        let mut done = vec![false; picture.items.len()];
        done.iter_mut().skip(self.stages().len()).for_each(|done| *done = true);
        for stage in self.order() {
            let before = needs[stage].iter().filter(|&&from| done[from]).map(|&from| column[from] + 1).max();
            column[stage] = before.unwrap_or(0);
            done[stage] = true;
        }
        let columns = column.iter().max().map_or(0, |last| last + 1);
        let mut used = vec![0usize; columns];
        let place: Vec<(usize, usize)> = column
            .iter()
            .map(|&at| {
                let row = used[at];
                used[at] += 1;
                (ROW + at * (WIDTH + GAP), ROW + row * (HEIGHT + ROW))
            })
            .collect();
        let rows = used.iter().max().copied().unwrap_or(0);
        let (width, height) = (2 * ROW + columns * (WIDTH + GAP), 2 * ROW + rows * (HEIGHT + ROW));
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n<defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\"/></marker></defs>\n"
        );
        for &(from, to, kind) in &picture.arrows {
            let ((x1, y1), (x2, y2)) = (place[from], place[to]);
            let (x1, y1, y2) = (x1 + WIDTH, y1 + HEIGHT / 2, y2 + HEIGHT / 2);
            let dash = match kind {
                EdgeKind::Base => "",
                EdgeKind::Copy => " stroke-dasharray=\"6 4\"",
                EdgeKind::Mount => " stroke-dasharray=\"2 3\"",
            };
            let bend = GAP / 2;
            let _ = writeln!(
                out,
                "<path d=\"M{x1} {y1}C{} {y1} {} {y2} {x2} {y2}\" fill=\"none\" stroke=\"#555\" marker-end=\"url(#tip)\"{dash}><title>{}</title></path>",
                x1 + bend,
                x2.saturating_sub(bend),
                kind.label()
            );
        }
        for (item, (x, y)) in picture.items.iter().zip(&place) {
            let (round, fill) = if item.stage { (4, "#e8f1fb") } else { (20, "#f3f3f3") };
            let _ = writeln!(
                out,
                "<rect x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"{round}\" fill=\"{fill}\" stroke=\"#555\"/><text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                x + WIDTH / 2,
                y + HEIGHT / 2 + 5,
                xml(&short(&item.label))
            );
        }
        out.push_str("</svg>\n");
        out
    }
}

/// A label that fits a box.
fn short(label: &str) -> String {
    let count = label.chars().count();
    if count <= 26 {
        return label.to_owned();
    }
    let tail: String = label.chars().skip(count - 25).collect();
    format!("…{tail}")
}

fn dot(text: &str) -> String {
    let mut out = String::new();
    for ch in text.chars() {
        match ch {
            '"' | '\\' => out.extend(['\\', ch]),
            ch if ch.is_control() => out.push(' '),
            ch => out.push(ch),
        }
    }
    out
}

fn xml(text: &str) -> String {
    let mut out = String::new();
    for ch in text.chars() {
        match ch {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            ch if ch.is_control() || matches!(ch, '\u{fffe}' | '\u{ffff}') => out.push(' '),
            ch => out.push(ch),
        }
    }
    out
}
