//! Hints for slips that people make when they type a file from a page of notes.
use crate::diagnostic::Diagnostic;
use crate::model::{Project, Service};
use crate::source::{FileId, Position, Span};
use crate::yaml::{Node, Value};

fn place(file: FileId, line: usize, column: usize) -> Span {
    let at = Position { line: line as u32 + 1, column: column as u32 + 1, offset: 0 };
    Span { file, start: at, end: Position { column: at.column + 1, ..at } }
}

/// Hints from the text alone. `broken`: the parser found a fault.
pub(crate) fn scan(file: FileId, text: &str, broken: bool, found: &mut Vec<Diagnostic>) {
    let mut tabs = 0;
    let mut colons = 0;
    for (at, line) in text.lines().enumerate() {
        let body = line.trim_start();
        if body.starts_with('#') {
            continue;
        }
        let indent = &line[..line.len() - body.len()];
        if broken
            && tabs < 20
            && let Some(column) = indent.find('\t')
        {
            tabs += 1;
            found.push(
                Diagnostic::hint(
                    place(file, at, column),
                    "a tab stands in the indentation; YAML knows blanks only",
                )
                .suggest("write two blanks for each level"),
            );
        }
        if let Some(column) = body.find('：').filter(|_| colons < 20) {
            let key = body[..column].trim_start_matches("- ");
            if !key.is_empty()
                && key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
            {
                colons += 1;
                let column = indent.chars().count() + body[..column].chars().count();
                found.push(
                    Diagnostic::hint(place(file, at, column), "a full-width colon `：` is no colon to YAML")
                        .suggest(format!("write `{key}: `, with the colon of ASCII and a blank")),
                );
            }
        }
    }
}

/// A hint when the line of a fault is indented by one column more or less than a line above it.
pub(crate) fn indentation(fault: &Diagnostic, text: &str, found: &mut Vec<Diagnostic>) {
    let lines: Vec<(usize, &str)> = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
        .take_while(|(at, _)| *at < fault.span.start.line as usize)
        .collect();
    let depth = |line: &str| line.len() - line.trim_start_matches(' ').len();
    for back in 0..2 {
        let Some((last, before)) = lines.get(..lines.len().saturating_sub(back)).and_then(<[_]>::split_last)
        else {
            return;
        };
        let (at, line) = *last;
        let own = depth(line);
        // the lines that this one could stand beside, nearest first
        for (above, other) in before.iter().rev().take(200) {
            let theirs = depth(other);
            if theirs == own {
                break;
            }
            let beside = own == theirs + 1 && (!other.trim_end().ends_with(':') || back == 0 && own % 2 == 1);
            if beside || theirs == own + 1 {
                let by = if own > theirs { "right" } else { "left" };
                found.push(
                    Diagnostic::hint(
                        place(fault.span.file, at, own),
                        format!("this line stands one column to the {by} of line {}", above + 1),
                    )
                    .suggest(format!("begin it with {theirs} blanks, as line {} does", above + 1)),
                );
                return;
            }
            if theirs < own {
                break;
            }
        }
    }
}

/// Says where a key belongs that is not known where it stands.
pub(crate) fn misplaced(key: &str, what: &str, finding: Diagnostic) -> Diagnostic {
    if key.contains('：') {
        return finding.suggest("the full-width colon `：` is no colon to YAML; write `: `");
    }
    if what == "the project" && Service::KEYS.contains(&key) {
        return finding
            .suggest("it is a key of a service; indent it below `services:` and the service's name");
    }
    if what == "a service" && Project::KEYS.contains(&key) {
        return finding.suggest("it is a key of the project; write it at the left edge");
    }
    match key {
        "net" => finding.suggest("write `network_mode`"),
        "log_driver" | "log_opt" => finding.suggest("write `logging: { driver: …, options: … }`"),
        "dockerfile" => finding.suggest("write it below `build:`"),
        "volume_driver" => finding.suggest("give the volume a `driver` below the top-level `volumes:`"),
        "cpu" => finding.suggest("write `cpus`"),
        "memory" => finding.suggest("write `mem_limit`"),
        _ => finding,
    }
}

/// A text where a mapping should be: most often a colon without a blank behind it, or one of full width.
pub(crate) fn colonless(node: &Node, finding: Diagnostic) -> Diagnostic {
    match node.as_text() {
        Some(text) if text.contains('：') => {
            finding.suggest("the full-width colon `：` is no colon to YAML; write `: `")
        }
        Some(text) if text.contains(':') => {
            finding.suggest("write a blank behind each colon that follows a key")
        }
        _ => finding,
    }
}

/// Keys and the `version` that the old docker-compose wanted before it took them.
const SINCE: &[(&[&str], u32)] = &[
    (&["secrets"], 1),
    (&["configs"], 3),
    (&["services", "*", "secrets"], 1),
    (&["services", "*", "configs"], 3),
    (&["services", "*", "init"], 7),
    (&["services", "*", "profiles"], 9),
    (&["services", "*", "healthcheck", "start_period"], 4),
    (&["services", "*", "build", "target"], 4),
    (&["services", "*", "build", "cache_from"], 2),
    (&["services", "*", "build", "labels"], 3),
    (&["services", "*", "build", "network"], 4),
    (&["services", "*", "build", "shm_size"], 5),
    (&["services", "*", "deploy", "rollback_config"], 7),
    (&["services", "*", "credential_spec"], 3),
    (&["volumes", "*", "name"], 4),
    (&["networks", "*", "name"], 5),
];

/// Notes on the obsolete key `version`, and on keys that an old docker-compose refuses under it.
pub(crate) fn version(tree: &Node, found: &mut Vec<Diagnostic>) {
    let Some(version) = tree.get("version") else { return };
    let Some(text) = version.scalar() else {
        found.push(
            Diagnostic::error(version.span, format!("here is {}", version.kind()))
                .at("version")
                .expected("a text such as \"3.8\""),
        );
        return;
    };
    found.push(
        Diagnostic::hint(version.span, "the key `version` is obsolete and ignored")
            .at("version")
            .suggest("remove the line"),
    );
    let Some(minor) = text
        .strip_prefix('3')
        .and_then(|rest| rest.strip_prefix('.').map_or(Some(0), |minor| minor.parse::<u32>().ok()))
    else {
        return;
    };
    for (path, since) in SINCE.iter().filter(|(_, since)| *since > minor) {
        let mut level = vec![(String::new(), tree)];
        for step in *path {
            level = level
                .into_iter()
                .filter_map(
                    |(key, node)| if let Value::Map(map) = &node.value { Some((key, map)) } else { None },
                )
                .flat_map(|(key, map)| {
                    map.iter().filter(move |(name, _)| *step == "*" || name == step).map(
                        move |(name, member)| {
                            (
                                if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") },
                                &member.node,
                            )
                        },
                    )
                })
                .collect();
        }
        for (key, node) in level.into_iter().take(5) {
            let name = path.last().copied().unwrap_or_default();
            found.push(
                Diagnostic::hint(
                    node.span,
                    format!("under version \"{text}\" the old docker-compose answers: Additional property {name} is not allowed"),
                )
                .at(key)
                .suggest(format!("remove the key `version`, or write \"3.{since}\" for the old one")),
            );
        }
    }
}
