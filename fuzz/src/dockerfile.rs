use std::cell::Cell;

use arbitrary::{Arbitrary as _, Unstructured};
use dockerfile_parser::{
    Dockerfile, Edit, FormatOptions, Ignore, LintOptions, Span, Structured, expand as expand_word,
    expand_heredoc, expand_words,
};

/// What holds of any file: the tree is the file, spans lie in it and in order, a suggested edit can be made, reports take it, and a
/// formatted file is formatted.
fn holds(input: &[u8]) {
    let file = dockerfile_parser::parse(input);
    let tree = file.tree();
    assert_eq!(tree.print(), input, "the tree is the file");
    let mut end = 0;
    for token in tree.tokens() {
        assert_eq!(token.span.start, end, "no gap before {token:?}");
        end = token.span.end;
    }
    let mut end = 0;
    for instruction in file.instructions() {
        assert!(instruction.span.start >= end && instruction.span.end <= input.len(), "{instruction:?}");
        assert!(instruction.span.contains(instruction.keyword), "{instruction:?}");
        end = instruction.span.end;
    }
    let found = file.lint(&LintOptions::default());
    for finding in &found {
        assert!(finding.span.start <= finding.span.end && finding.span.end <= input.len(), "{finding:?}");
        if let Some(suggestion) = &finding.suggestion {
            file.edit(&suggestion.edit).expect("a suggestion can be carried out");
        }
    }
    file.report_text("Dockerfile", &found);
    for report in [file.report_json(&found), file.report_sarif("Dockerfile", &found), file.ast().to_json()] {
        serde_json::from_str::<serde_json::Value>(&report).expect("a report is JSON");
    }
    let graph = file.graph();
    for stage in 0..graph.stages().len() {
        assert!(graph.needed(stage).contains(&stage), "a stage needs itself");
    }
    formats(&file, input);
}

/// What is not UTF-8 is read as replacement characters, so only UTF-8 is compared.
fn formats(file: &Dockerfile, input: &[u8]) {
    if std::str::from_utf8(input).is_err() {
        return;
    }
    let once = file.format(&FormatOptions::default());
    let again = dockerfile_parser::parse(once.as_bytes());
    assert_eq!(again.format(&FormatOptions::default()), once, "formatted once is formatted");
    let names = |file: &Dockerfile| -> Vec<&'static str> {
        file.instructions().iter().map(|instruction| instruction.kind.name()).collect()
    };
    assert_eq!(names(&again), names(file), "formatting keeps the instructions");
}

pub(crate) fn parse(data: &[u8]) {
    holds(data);
}

pub(crate) fn structured(data: &[u8]) {
    if let Ok(Structured(text)) = Structured::arbitrary(&mut Unstructured::new(data)) {
        holds(text.as_bytes());
    }
}

/// Two bytes name a stretch; the rest is the file, in which it is replaced.
pub(crate) fn edit(data: &[u8]) {
    let [from, length, input @ ..] = data else { return };
    let start = usize::from(*from) * input.len() / 256;
    let end = start + usize::from(*length) * (input.len() - start) / 256;
    let file = dockerfile_parser::parse(input);
    let Ok(edited) = file.edit(&Edit::replace(Span::new(start, end), "RUN new\n")) else {
        panic!("{start}..{end} lies in the file");
    };
    assert_eq!(edited.source(), [&input[..start], b"RUN new\n", &input[end..]].concat());
    assert_eq!(edited.tree().print(), edited.source());
}

/// The limit is kept, and each form ends.
pub(crate) fn expand(data: &[u8]) {
    let [limit, input @ ..] = data else { return };
    let Ok(word) = std::str::from_utf8(input) else { return };
    let limit = usize::from(*limit) * 8;
    let asked = Cell::new(0);
    let mut lookup = |name: &str| {
        asked.set(asked.get() + 1);
        (name != "unset").then(|| format!("<{name}/value>").into())
    };
    for escape in ['\\', '`'] {
        if let Ok(text) = expand_word(word, escape, &mut lookup, limit) {
            assert!(text.len() <= limit);
        }
        if let Ok(words) = expand_words(word, escape, &mut lookup, limit) {
            assert!(words.iter().map(String::len).sum::<usize>() <= limit);
        }
    }
    if let Ok(text) = expand_heredoc(word, &mut lookup, limit) {
        assert!(text.len() <= limit);
    }
    assert!(asked.get() <= word.len() * 5 + 5, "a variable is asked for once where it stands");
}

/// Patterns, an empty line, paths: below a folder that is pruned nothing may be kept.
pub(crate) fn ignore(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (patterns, paths) = text.split_once("\n\n").unwrap_or((&text, "a/b/c.txt\na\n.git/x"));
    let (rules, _) = Ignore::parse(patterns.as_bytes());
    // as a walk gives them
    let plain = |path: &&str| path.split('/').all(|part| !matches!(part, "" | "." | ".."));
    for path in paths.lines().filter(plain).take(50) {
        let kept = !rules.matches(path);
        let above: Vec<&str> =
            path.match_indices('/').map(|(at, _)| &path[..at]).filter(|folder| !folder.is_empty()).collect();
        for folder in above {
            assert!(
                !(kept && rules.prunes(folder)),
                "{path:?} is kept, but {folder:?} pruned by {patterns:?}"
            );
        }
    }
}
