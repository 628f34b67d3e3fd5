//! Attacks 30 and 31: files made to be slow, deep, large or strange.
//!
//! Sizes are bounded so that a debug build takes a second or two; what matters is that ten times the input takes
//! about ten times as long. Where time is at stake a test compares two sizes with generous room, and never a clock
//! with a constant.

#![allow(clippy::format_push_string)] // clearer, and no hot path

use std::time::{Duration, Instant};

use dockerfile_parser::{
    Code, ExpandError, FormatOptions, Ignore, Kind, LintOptions, Target, expand, expand_heredoc,
    expand_words, parse,
};

/// All that is done with a file.
fn everything(source: &[u8]) {
    let file = parse(source);
    let diagnostics = file.lint(&LintOptions::default());
    file.format(&FormatOptions::default());
    assert_eq!(file.tree().print(), source);
    let graph = file.graph();
    graph.order();
    let few: Vec<_> = diagnostics.into_iter().take(100).collect();
    file.report_text("Dockerfile", &few);
}

fn timed(source: &[u8]) -> Duration {
    let start = Instant::now();
    everything(source);
    start.elapsed()
}

/// Eight times the input takes less than forty times as long; quadratic work would take sixty-four.
fn is_linear(make: impl Fn(usize) -> Vec<u8>, count: usize) {
    let (small, large) = (make(count), make(count * 8));
    let small = (0..3).map(|_| timed(&small)).min().expect("three rounds");
    let large = (0..2).map(|_| timed(&large)).min().expect("two rounds");
    // of what takes no time at all, the ratio says nothing
    assert!(large < small * 40 + Duration::from_millis(300), "{small:?} became {large:?}");
}

#[test]
fn one_long_line_takes_linear_time() {
    is_linear(|count| format!("FROM a\nRUN {}", "echo x && ".repeat(count)).into_bytes(), 4000);
    is_linear(|count| format!("FROM a\nENV {}", "a=b ".repeat(count)).into_bytes(), 4000);
    is_linear(|count| format!("FROM a\nCOPY {} /x/", "a ".repeat(count)).into_bytes(), 4000);
    is_linear(|count| format!("FROM a\nCMD [{}\"x\"]", "\"a\", ".repeat(count)).into_bytes(), 4000);
}

#[test]
fn many_instructions_take_linear_time() {
    is_linear(|count| format!("FROM a\n{}", "RUN x\nENV A=$B\n".repeat(count)).into_bytes(), 500);
    is_linear(|count| "FRM x\n".repeat(count).into_bytes(), 500);
    is_linear(
        |count| format!("FROM a\n{}", "ENTERPOINT y\nCOPY --form=x a b\n".repeat(count)).into_bytes(),
        200,
    );
}

#[test]
fn continuations_comments_and_empty_lines_take_linear_time() {
    is_linear(|count| format!("FROM a\nRUN x {}", "\\\n".repeat(count)).into_bytes(), 4000);
    is_linear(|count| format!("FROM a\nRUN x \\\n{}", "# c\n\n".repeat(count)).into_bytes(), 4000);
    is_linear(|count| format!("FROM a\nENV {}", "a=\\\nb c=d \\\n".repeat(count)).into_bytes(), 1500);
    is_linear(
        |count| format!("FROM a\nRUN {}", "--mount=type=cache,target=/x \\\n".repeat(count)).into_bytes(),
        500,
    );
}

#[test]
fn heredocs_that_never_end_take_linear_time() {
    is_linear(|count| format!("FROM a\nRUN {}\nx\n", "<<E ".repeat(count)).into_bytes(), 2000);
    is_linear(|count| format!("FROM a\nRUN <<E\n{}", "RUN <<F\n".repeat(count)).into_bytes(), 4000);
    is_linear(
        |count| format!("FROM a\nCOPY {} /x/\n{}", "<<E ".repeat(count), "E\n".repeat(count)).into_bytes(),
        1500,
    );
    let file = parse(b"FROM a\nRUN <<EOF\nx\n");
    assert!(file.diagnostics().iter().any(|found| found.code == Code::UnterminatedHeredoc));
    assert_eq!(file.instructions().len(), 2);
}

#[test]
fn quotes_and_brackets_that_never_close_take_linear_time() {
    is_linear(|count| format!("FROM a\nENV a=\"{}", "x ".repeat(count)).into_bytes(), 4000);
    is_linear(|count| format!("FROM a\nCMD {}", "[".repeat(count)).into_bytes(), 4000);
    is_linear(|count| format!("FROM a\nCMD [{}", "{\"a\":[".repeat(count)).into_bytes(), 1000);
    is_linear(|count| format!("FROM a\nRUN {}", "'\"".repeat(count)).into_bytes(), 4000);
    is_linear(|count| format!("FROM a\n{}", "CMD ['a\n".repeat(count)).into_bytes(), 500);
}

#[test]
fn ten_thousand_stages_in_a_circle_are_ordered_and_reported() {
    let mut source = String::new();
    let count = 10_000;
    for at in 0..count {
        source.push_str(&format!("FROM scratch AS s{at}\nCOPY --from=s{} / /\n", (at + 1) % count));
    }
    let file = parse(source.as_bytes());
    let graph = file.graph();
    assert_eq!(graph.stages().len(), count);
    assert_eq!(graph.needed(0).len(), count);
    assert_eq!(graph.diagnostics().iter().filter(|found| found.code == Code::CircularDependency).count(), 1);
}

#[test]
fn stages_with_many_onbuild_triggers_take_linear_time() {
    is_linear(
        |count| {
            let mut source = String::from("FROM scratch AS x\nFROM scratch AS base\n");
            source.push_str(&"ONBUILD COPY --from=x / /\n".repeat(count));
            for at in 0..count {
                source.push_str(&format!("FROM base AS c{at}\n"));
            }
            source.into_bytes()
        },
        250,
    );
}

#[test]
fn stages_on_stages_with_ever_more_variables_take_linear_time() {
    is_linear(
        |count| {
            let mut source = String::from("FROM scratch AS s0\n");
            for at in 1..count {
                source.push_str(&format!("FROM s{} AS s{at}\nENV V{at}=$V{}\n", at - 1, at - 1));
            }
            source.into_bytes()
        },
        400,
    );
}

#[test]
fn a_variable_that_doubles_is_stopped_at_the_limit() {
    let mut value = String::from("x");
    let mut stopped = None;
    for round in 0..30 {
        match expand("$A$A", '\\', &mut |_| Some(value.clone().into()), 1 << 20) {
            Ok(text) => value = text,
            Err(fault) => {
                stopped = Some((round, fault));
                break;
            }
        }
    }
    assert_eq!(stopped, Some((20, ExpandError::TooLarge { limit: 1 << 20 })));
    everything(format!("FROM a\nENV A=x\n{}", "ENV A=$A$A\n".repeat(1000)).as_bytes());
}

#[test]
fn a_doubling_variable_is_an_error_of_its_scope_and_costs_no_memory() {
    use dockerfile_parser::{Arguments, Globals, Scope};
    let file = parse(format!("FROM a\nENV A=xxxxxxxx\n{}", "ENV A=$A$A\n".repeat(3000)).as_bytes());
    let arguments = Arguments::default();
    let globals = Globals::new(&file, &arguments);
    let mut scope = Scope::new(&file);
    let mut failed = 0;
    for instruction in file.instructions() {
        failed += usize::from(scope.apply(&file, instruction, &globals, &arguments).is_err());
    }
    assert!(failed > 2900, "{failed}");
    assert!(scope.value("A").expect("it was set").len() <= 1 << 20);
}

#[test]
fn deep_nesting_takes_no_stack() {
    let depth = 50_000;
    let nested = format!("{}{}", "${a:-".repeat(depth), "}".repeat(depth));
    assert_eq!(expand(&nested, '\\', &mut |_| None, 1 << 20).as_deref(), Ok(""));
    assert_eq!(expand(&"${a:-".repeat(depth), '\\', &mut |_| None, 1 << 20), Err(ExpandError::Brace));
    assert!(expand_words(&nested, '\\', &mut |_| None, 1 << 20).is_ok());
    assert!(expand_heredoc(&nested, &mut |_| None, 1 << 20).is_ok());
    everything(format!("FROM a\nENV x={nested}\nCMD {}\n", "[".repeat(depth)).as_bytes());
    everything(format!("FROM a\n{}RUN x\n", "ONBUILD ".repeat(depth)).as_bytes());
}

#[test]
fn patterns_in_substitutions_are_no_exponential() {
    let value = "a".repeat(4_000);
    let mut lookup = |_: &str| Some(value.as_str().into());
    let stars = "*a".repeat(30);
    for word in [
        format!("${{x#{stars}b}}"),
        format!("${{x%%{stars}b}}"),
        format!("${{x//{stars}b/y}}"),
        "${x//a/bb}".into(),
    ] {
        let text = expand(&word, '\\', &mut lookup, 1 << 20).expect("it is done in time");
        assert!(text == value || text == "bb".repeat(4_000));
    }
    // a pattern and a value of a megabyte each are refused instead
    let pattern = "*a".repeat(200_000);
    let fault = expand(&format!("${{x#{pattern}b}}"), '\\', &mut lookup, 1 << 20);
    assert_eq!(fault, Err(ExpandError::TooComplex));
}

#[test]
fn ignore_patterns_are_no_exponential() {
    for pattern in
        ["*a".repeat(40), "**/".repeat(40) + "b", "**a".repeat(40), "?*".repeat(40), "[a-z]*".repeat(40)]
    {
        let (ignore, faults) = Ignore::parse(format!("{pattern}c\n").as_bytes());
        assert!(faults.is_empty(), "{pattern}");
        for path in ["a".repeat(10_000), "a/".repeat(5_000)] {
            assert!(!ignore.matches(&path), "{pattern}");
        }
    }
    // a path a hundred thousand folders deep
    let (ignore, _) = Ignore::parse(b"**/x\n!**/y\n*/*/z\nb/**\n**/q*\n");
    assert!(!ignore.matches(&"a/".repeat(100_000)));
    assert!(ignore.matches(&("a/".repeat(100_000) + "x")));
}

#[test]
fn strange_bytes_are_kept_and_reported() {
    for (source, code) in [
        (&b"FROM a\nRUN \xff\xfe\n"[..], Code::InvalidUtf8),
        (b"FROM a\nRUN a\0b\n", Code::NulByte),
        (b"FROM a\n\xEF\xBB\xBFRUN x\n", Code::MisplacedBom),
    ] {
        let file = parse(source);
        assert!(
            file.diagnostics().iter().any(|found| found.code == code),
            "{code:?}: {:?}",
            file.diagnostics()
        );
        assert_eq!(file.tree().print(), source);
        everything(source);
    }
    let file = parse(b"\xEF\xBB\xBFFROM a\n");
    assert!(matches!(file.instructions()[0].kind, Kind::From(_)));
    assert!(file.diagnostics().is_empty());
}

#[test]
fn a_report_lets_no_control_character_of_the_file_through() {
    let file = parse("FROM a\nBAD\x1b[31m\u{202e}x y\nCOPY --\x07 a b\n".as_bytes());
    let diagnostics = file.lint(&LintOptions::default());
    let text = file.report_text("Dockerfile", &diagnostics);
    assert!(!text.contains(['\x1b', '\x07', '\u{202e}']), "{text:?}");
    assert!(!file.report_json(&diagnostics).contains(['\x1b', '\x07']));
    let graph = parse(b"FROM \"x\\\x1b<&>\" AS a\n").graph();
    assert!(!graph.to_dot().contains('\x1b') && !graph.to_svg().contains("<&"));
}

#[test]
fn names_of_stages_cannot_close_a_circle_through_from() {
    let file = parse(b"FROM a AS b\nFROM b AS a\nFROM c AS c\n");
    let graph = file.graph();
    assert_eq!(graph.stages()[0].base, Target::Image("a".into()));
    assert_eq!(graph.stages()[1].base, Target::Stage(0));
    assert_eq!(graph.stages()[2].base, Target::Image("c".into()));
}
