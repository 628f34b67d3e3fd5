//! `.dockerignore`, by the rules of Docker's documentation and of moby's patternmatcher.

use dockerfile_parser::{Code, Ignore};

fn matches(patterns: &str, path: &str) -> bool {
    let (ignore, faults) = Ignore::parse(patterns.as_bytes());
    assert!(faults.is_empty(), "{patterns:?}: {faults:?}");
    ignore.matches(path)
}

fn check(table: &[(&str, &str, bool)]) {
    for (patterns, path, want) in table {
        assert_eq!(matches(patterns, path), *want, "{patterns:?} on {path:?}");
    }
}

#[test]
fn plain_names_match_themselves_and_what_is_in_them() {
    check(&[
        ("a", "a", true),
        ("a", "a/b/c", true),
        ("a", "b/a", false),
        ("a", "ab", false),
        ("/a", "a", true),
        ("a/", "a/b", true),
        ("./a//b/../c", "a/c/x", true),
        ("  a  ", "a", true),
        ("# a", "# a", false),
        ("a", "./a", true),
        ("a.b", "aXb", false),
        ("(a)+", "(a)+", true),
    ]);
}

#[test]
fn stars_and_question_marks_stay_within_a_name() {
    check(&[
        ("*.md", "a.md", true),
        ("*.md", "a/b.md", false),
        ("*/*.md", "a/b.md", true),
        ("*/b*", "a/bc/d", true),
        ("a?", "ab", true),
        ("a?", "a", false),
        ("a?", "a/", false),
        ("*", "a/b/c", true),
        ("a*c", "abbc", true),
        ("a*c", "ab/c", false),
    ]);
}

#[test]
fn two_stars_span_folders() {
    check(&[
        ("**", "a/b", true),
        ("**/a", "a", true),
        ("**/a", "x/y/a", true),
        ("**/a", "x/a/y", true),
        ("**/a", "xa", false),
        ("**a", "xa", true),
        ("a/**", "a/b/c", true),
        ("a/**", "a", false),
        ("a/**/b", "a/b", true),
        ("a/**/b", "a/x/y/b", true),
        ("a/**/b", "a/xb", false),
        ("**/*.o", "x.o", true),
        ("**/*.o", "a/b/x.o", true),
        ("**/x/**", "a/x/b", true),
        ("**/x/**", "x/b", true),
        ("a**", "abc/d", true),
        ("**/a/**/b", "q/a/b", true),
        ("**/**/b", "b", true),
    ]);
}

#[test]
fn brackets_and_backslashes_work() {
    check(&[
        ("[a-c]x", "bx", true),
        ("[^a-c]x", "bx", false),
        ("[^a-c]x", "dx", true),
        ("[!a]x", "!x", true),
        ("\\*", "*", true),
        ("\\*", "a", false),
        ("a\\[b", "a[b", true),
        ("[a\\]]x", "]x", true),
        ("ä?", "äö", true),
    ]);
}

#[test]
fn the_last_pattern_that_matches_decides() {
    check(&[
        ("*.md\n!README.md", "README.md", false),
        ("*.md\n!README*.md\nREADME-secret.md", "README-secret.md", true),
        ("!a\na", "a", true),
        ("a\n!a/b", "a/b", false),
        ("a\n!a/b", "a/c", true),
        ("a\n! a/b", "a/b", false),
        ("**\n!src/**", "src/x", false),
        ("**\n!src", "src/x/y", false),
        ("a/b\n!a", "a/b/c", false),
    ]);
}

#[test]
fn the_root_is_never_left_out() {
    check(&[("*", ".", false), ("**", "", false), ("*", "/", false)]);
}

#[test]
fn malformed_patterns_are_reported_and_left_out() {
    let (ignore, faults) = Ignore::parse(b"[a\n!\nok\nb\\\n[]x\n[a-]\n");
    assert_eq!(faults.len(), 5, "{faults:?}");
    assert!(faults.iter().all(|fault| fault.code == Code::InvalidPattern));
    assert_eq!(faults[1].span.range(), 3..4);
    assert!(ignore.matches("ok"));
    assert!(Ignore::from_patterns(["a", "["]).is_err());
}

#[test]
fn a_folder_is_skipped_only_where_nothing_in_it_can_come_back() {
    let (plain, _) = Ignore::parse(b"node_modules\n");
    assert!(plain.prunes("node_modules"));
    let (negated, _) = Ignore::parse("\u{feff}node_modules\r\n!node_modules/keep\r\n".as_bytes());
    assert!(negated.matches("node_modules") && !negated.prunes("node_modules"));
    assert_eq!(negated.patterns().collect::<Vec<_>>(), ["node_modules", "!node_modules/keep"]);
}

/// The rules written down once more, without any cleverness: all ways are tried.
fn slow(pattern: &[char], path: &[char]) -> bool {
    match pattern {
        [] => path.is_empty() || path[0] == '/',
        ['*', '*', '/', rest @ ..] => {
            slow(rest, path) || (0..path.len()).any(|at| path[at] == '/' && slow(rest, &path[at + 1..]))
        }
        ['*', '*'] => true,
        ['*', rest @ ..] => {
            let end = path.iter().position(|&ch| ch == '/').unwrap_or(path.len());
            (0..=end).any(|at| slow(rest, &path[at..]))
        }
        ['?', rest @ ..] => path.first().is_some_and(|&ch| ch != '/') && slow(rest, &path[1..]),
        [ch, rest @ ..] => path.first() == Some(ch) && slow(rest, &path[1..]),
    }
}

#[test]
fn the_matcher_agrees_with_the_plain_rules() {
    let mut state = 7u64;
    let mut next = |bound: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % bound
    };
    let mut hits = 0;
    for _ in 0..20_000 {
        let parts = ["a", "b", "*", "?", "**", "a*", "*b", "ab"];
        let pattern = (0..=next(3)).map(|_| parts[next(8)]).collect::<Vec<_>>().join("/");
        let path = (0..=next(4)).map(|_| ["a", "b", "ab", "ba"][next(4)]).collect::<Vec<_>>().join("/");
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        let want = slow(&chars(&pattern), &chars(&path));
        hits += usize::from(want);
        assert_eq!(matches(&pattern, &path), want, "{pattern} on {path}");
    }
    assert!(hits > 2000 && hits < 18_000, "{hits}");
}
