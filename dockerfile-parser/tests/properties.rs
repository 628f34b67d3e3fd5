//! What holds for any input.
#![allow(clippy::format_push_string)] // clearer, and no hot path

mod support;

use dockerfile_parser::{
    Command, Dockerfile, Edit, FormatOptions, Instruction, Kind, LintOptions, Separator, Span, expand,
    expand_words, parse,
};
use support::{Random, dockerfile, noise};

/// Inputs of a property, of both kinds.
fn inputs(seed: u64, count: u64) -> impl Iterator<Item = (u64, Vec<u8>)> {
    (0..count).map(move |at| {
        let mut random = Random::new(seed + at);
        let input = if at % 10 == 0 { noise(&mut random, 200) } else { dockerfile(&mut random, 40) };
        (seed + at, input)
    })
}

#[test]
fn printing_the_tree_gives_the_source() {
    for (seed, input) in inputs(1, 2500) {
        let file = parse(&input);
        let tree = file.tree();
        assert_eq!(tree.print(), input, "seed {seed}: {:?}", String::from_utf8_lossy(&input));
        let mut at = 0;
        for token in tree.tokens() {
            assert_eq!(token.span.start, at, "seed {seed}: a gap before {token:?}");
            assert!(!token.span.is_empty());
            at = token.span.end;
        }
        let mut at = 0;
        for node in tree.nodes() {
            assert_eq!(node.span.start, at, "seed {seed}: a gap before {node:?}");
            at = node.span.end;
        }
        assert_eq!(at, input.len());
    }
}

#[test]
fn spans_lie_in_the_file_and_in_order() {
    for (seed, input) in inputs(100_000, 1200) {
        let file = parse(&input);
        let mut end = 0;
        for instruction in file.instructions() {
            assert!(instruction.span.start >= end, "seed {seed}");
            assert!(instruction.span.end <= input.len() && !instruction.span.is_empty(), "seed {seed}");
            assert!(instruction.span.contains(instruction.keyword), "seed {seed}: {instruction:?}");
            end = instruction.span.end;
        }
        let diagnostics = file.lint(&LintOptions::default());
        for found in &diagnostics {
            assert!(
                found.span.start <= found.span.end && found.span.end <= input.len(),
                "seed {seed}: {found:?}"
            );
            if let Some(suggestion) = &found.suggestion {
                file.edit(&suggestion.edit).expect("a suggestion can be carried out");
            }
        }
        // the reports take any of it
        file.report_text("x", &diagnostics);
        assert!(
            serde_json::from_str::<serde_json::Value>(&file.report_json(&diagnostics)).is_ok(),
            "seed {seed}"
        );
        assert!(
            serde_json::from_str::<serde_json::Value>(&file.report_sarif("x", &diagnostics)).is_ok(),
            "seed {seed}"
        );
        assert!(serde_json::from_str::<serde_json::Value>(&file.ast().to_json()).is_ok(), "seed {seed}");
        file.graph().to_svg();
        file.graph().to_dot();
    }
}

#[test]
fn a_finding_in_a_script_that_is_not_utf_8_lies_in_the_file() {
    for input in [
        &b"FROM a\nRUN pip install x\xb6\xb6\xb6\xb6\xb6\xb6\xb6\xb6 y"[..],
        b"FROM a\nRUN <<E\npip install \xb6\xb6\xb6\xb6\nE",
        b"FROM a\nRUN pip install \\\n \xb6\xb6\xb6\xb6",
    ] {
        let found = parse(input).lint(&LintOptions::default());
        assert!(!found.is_empty());
        assert!(found.iter().all(|finding| finding.span.end <= input.len()), "{found:?}");
    }
}

#[test]
fn an_edit_changes_only_what_it_names() {
    for (seed, input) in inputs(200_000, 2000) {
        let file = parse(&input);
        let mut random = Random::new(seed);
        let start = random.below(input.len() + 1);
        let span = Span::new(start, start + random.below(input.len() + 1 - start));
        let edited = file.edit(&Edit::replace(span, "new\n")).expect("the span is in the file");
        let (before, after) = (&input[..span.start], &input[span.end..]);
        assert_eq!(edited.source(), [before, b"new\n", after].concat(), "seed {seed}");
    }
}

/// White space outside of quotes as one blank.
fn squeeze(text: &str, escape: char) -> String {
    let mut out = String::new();
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(ch) = chars.next() {
        if quote != Some('\'') && (ch == escape || ch == '\\') {
            out.push(ch);
            out.extend(chars.next());
        } else if quote.is_none() && matches!(ch, ' ' | '\t') {
            if !out.ends_with(' ') {
                out.push(' ');
            }
        } else {
            if quote == Some(ch) {
                quote = None;
            } else if quote.is_none() && matches!(ch, '"' | '\'') {
                quote = Some(ch);
            }
            out.push(ch);
        }
    }
    out
}

/// What a file says, without its shape.
fn meaning(file: &Dockerfile) -> Vec<String> {
    let one = |instruction: &Instruction| {
        let inner = instruction.innermost();
        let mut out = format!("{} {}", instruction.kind.name(), inner.kind.name());
        if inner.kind == Kind::Unknown {
            // a keyword may run over lines, with comments in between
            let keyword = file.str(inner.keyword);
            out.push_str(if keyword.contains('\n') { "" } else { &keyword });
        }
        for flag in instruction.flags.iter().chain(&inner.flags) {
            out.push_str(&format!(
                " --{}={:?}",
                flag.name.text(file),
                flag.value.as_ref().map(|value| value.text(file))
            ));
        }
        let rest = match &inner.kind {
            Kind::Env(pairs) | Kind::Label(pairs) => {
                pairs.iter().any(|pair| pair.separator == Separator::Space)
            }
            Kind::User(_) | Kind::Workdir(_) | Kind::Stopsignal(_) | Kind::Maintainer(_) | Kind::Unknown => {
                true
            }
            _ => false,
        };
        let text = file.arguments(inner);
        let text = if rest {
            String::from_utf8_lossy(&text).into_owned()
        } else {
            squeeze(&String::from_utf8_lossy(&text), file.escape())
        };
        out.push_str(&if matches!(inner.kind, Kind::From(_)) { text.to_lowercase() } else { text });
        for heredoc in &inner.heredocs {
            out.push_str(&format!("{}{}", heredoc.name, String::from_utf8_lossy(&heredoc.content(file))));
        }
        out
    };
    let directives = file
        .directives()
        .iter()
        .map(|directive| format!("{}={}", file.str(directive.name), file.str(directive.value)));
    directives.chain(file.instructions().iter().map(one)).collect()
}

#[test]
fn formatting_keeps_the_meaning_and_is_done_after_once() {
    for (seed, input) in inputs(300_000, 3000) {
        // what is not UTF-8 is read as replacement characters
        let input = String::from_utf8_lossy(&input).into_owned();
        let file = parse(input.as_bytes());
        let once = file.format(&FormatOptions::default());
        let formatted = parse(once.as_bytes());
        assert_eq!(meaning(&file), meaning(&formatted), "seed {seed}\n{input:?}\n{once:?}");
        let twice = formatted.format(&FormatOptions::default());
        assert_eq!(once, twice, "seed {seed}\n{input:?}");
        let comments = |text: &str| text.lines().filter(|line| line.trim_start().starts_with('#')).count();
        assert!(comments(&once) >= comments(&input).min(comments(&once)), "seed {seed}");
    }
}

#[test]
fn expanding_never_exceeds_its_limit() {
    for seed in 0..4000 {
        let mut random = Random::new(seed);
        let word = String::from_utf8_lossy(&dockerfile(&mut random, 30)).into_owned();
        let limit = random.below(200);
        let value = "ab/c".repeat(random.below(50));
        let mut lookup = |name: &str| (name != "unset").then(|| value.clone().into());
        if let Ok(text) = expand(&word, '\\', &mut lookup, limit) {
            assert!(text.len() <= limit, "seed {seed}: {} bytes", text.len());
        }
        if let Ok(words) = expand_words(&word, '`', &mut lookup, limit) {
            assert!(words.iter().map(String::len).sum::<usize>() <= limit, "seed {seed}");
        }
    }
}

#[test]
fn a_shell_text_is_the_logical_line_whatever_its_shape() {
    let flat = parse(b"RUN a   b c");
    let broken = parse(b"RUN a \\\n # x\n\n  b\\\r\n c\n");
    let text = |file: &Dockerfile| match &file.instructions()[0].kind {
        Kind::Run(run) => match &run.command {
            Command::Shell(word) => word.text(file).into_owned(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    assert_eq!(text(&flat), text(&broken));
}

#[cfg(feature = "arbitrary")]
#[test]
fn structured_files_parse_print_and_keep_their_meaning() {
    use arbitrary::Arbitrary as _;
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let bytes = noise(&mut random, 600);
        let text = dockerfile_parser::Structured::arbitrary(&mut arbitrary::Unstructured::new(&bytes))
            .expect("there is always a file")
            .0;
        let file = parse(text.as_bytes());
        assert_eq!(file.tree().print(), text.as_bytes(), "seed {seed}");
        let once = file.format(&FormatOptions::default());
        assert_eq!(meaning(&file), meaning(&parse(once.as_bytes())), "seed {seed}\n{text}\n{once}");
    }
}
