//! Expansion, as the Dockerfile reference and BuildKit's own lexer have it.

use std::borrow::Cow;

use dockerfile_parser::{ExpandError, expand, expand_heredoc, expand_words};

fn lookup(name: &str) -> Option<Cow<'static, str>> {
    Some(match name {
        "HOME" => "/root".into(),
        "FILE" => "archive.tar.gz".into(),
        "PATHS" => "a/b/a/c".into(),
        "EMPTY" => "".into(),
        "LINES" => "one\ntwo".into(),
        "SPACED" => " x  y ".into(),
        "STAR" => "a*b?c".into(),
        "ÄÖ" => "umlaut".into(),
        _ => return None,
    })
}

fn check(table: &[(&str, Result<&str, ExpandError>)]) {
    for (word, want) in table {
        let got = expand(word, '\\', &mut lookup, 1 << 16);
        assert_eq!(got.as_deref().map_err(Clone::clone), want.clone(), "{word}");
    }
}

#[test]
fn variables_are_replaced() {
    check(&[
        ("a", Ok("a")),
        ("$HOME", Ok("/root")),
        ("${HOME}x", Ok("/rootx")),
        ("$HOMEx", Ok("")),
        ("a$HOME.b", Ok("a/root.b")),
        ("$NONE", Ok("")),
        ("$", Ok("$")),
        ("a$.b", Ok("a$.b")),
        ("$1x", Ok("x")),
        ("$12x", Ok("x")),
        ("$@x$$y", Ok("xy")),
        ("$ÄÖ", Ok("umlaut")),
    ]);
}

#[test]
fn quotes_and_escapes_are_resolved() {
    check(&[
        ("'a $HOME'", Ok("a $HOME")),
        ("\"a $HOME\"", Ok("a /root")),
        ("\"a \\$HOME \\\" \\\\ \\n\"", Ok("a $HOME \" \\ \\n")),
        ("\\$HOME", Ok("$HOME")),
        ("a\\bc", Ok("abc")),
        ("a\\", Ok("a")),
        ("\"it's\"", Ok("it's")),
        ("'a", Err(ExpandError::Quote { quote: '\'' })),
        ("\"a", Err(ExpandError::Quote { quote: '"' })),
        ("it's", Err(ExpandError::Quote { quote: '\'' })),
    ]);
}

#[test]
fn defaults_alternatives_and_requirements_work() {
    let required =
        |name: &str, message: &str| Err(ExpandError::Required { name: name.into(), message: message.into() });
    check(&[
        ("${NONE:-d}", Ok("d")),
        ("${EMPTY:-d}", Ok("d")),
        ("${EMPTY-d}", Ok("")),
        ("${HOME:-d}", Ok("/root")),
        ("${NONE-d}", Ok("d")),
        ("${NONE:+d}", Ok("")),
        ("${EMPTY:+d}", Ok("")),
        ("${EMPTY+d}", Ok("d")),
        ("${HOME:+d}", Ok("d")),
        ("${NONE:-${HOME}/x}", Ok("/root/x")),
        ("${NONE:-${OTHER:-\"a b\"}}", Ok("a b")),
        ("${HOME:?gone}", Ok("/root")),
        ("${NONE:?gone}", required("NONE", "gone")),
        ("${NONE?}", required("NONE", "is not allowed to be unset")),
        ("${EMPTY:?}", required("EMPTY", "is not allowed to be empty")),
        ("${EMPTY?}", Ok("")),
    ]);
}

#[test]
fn prefixes_and_suffixes_are_taken_off() {
    check(&[
        ("${FILE#*.}", Ok("tar.gz")),
        ("${FILE##*.}", Ok("gz")),
        ("${FILE%.*}", Ok("archive.tar")),
        ("${FILE%%.*}", Ok("archive")),
        ("${FILE#x}", Ok("archive.tar.gz")),
        ("${FILE#?}", Ok("rchive.tar.gz")),
        ("${FILE%??}", Ok("archive.tar.")),
        ("${STAR#a\\*}", Ok("b?c")),
        ("${STAR%\\?c}", Ok("a*b")),
        ("${LINES#*w}", Ok("one\ntwo")),
        ("${FILE#\\a}", Err(ExpandError::Pattern { escaped: "a".into() })),
        ("${FILE:#a}", Err(ExpandError::Modifier { modifier: ":#".into() })),
    ]);
}

#[test]
fn replacements_are_made_once_or_everywhere() {
    check(&[
        ("${PATHS/a/x}", Ok("x/b/a/c")),
        ("${PATHS//a/x}", Ok("x/b/x/c")),
        ("${PATHS/\\//-}", Ok("a-b/a/c")),
        ("${PATHS//\\//-}", Ok("a-b-a-c")),
        ("${PATHS//?\\//}", Ok("c")),
        ("${PATHS/b*/}", Ok("a/")),
        ("${PATHS/none/x}", Ok("a/b/a/c")),
        ("${PATHS//a/$HOME}", Ok("/root/b//root/c")),
        ("${NONE/a/b}", Ok("")),
        ("${PATHS/a}", Err(ExpandError::Replacement)),
    ]);
}

#[test]
fn what_is_malformed_is_told() {
    check(&[
        ("${}", Err(ExpandError::Substitution)),
        ("${{a}", Err(ExpandError::Substitution)),
        ("${:-a}", Err(ExpandError::Substitution)),
        ("${HOME", Err(ExpandError::Brace)),
        ("${HOME:-a", Err(ExpandError::Brace)),
        ("${", Err(ExpandError::Brace)),
        ("${HOME:=a}", Err(ExpandError::Modifier { modifier: ":=".into() })),
        ("${HOME^}", Err(ExpandError::Modifier { modifier: "^".into() })),
        ("${HOME}}", Ok("/root}")),
    ]);
}

#[test]
fn the_backtick_can_be_the_escape() {
    let got = expand("C:\\`$HOME\\$HOME", '`', &mut lookup, 100);
    assert_eq!(got.as_deref(), Ok("C:\\$HOME\\/root"));
}

#[test]
fn words_are_split_outside_of_quotes() {
    let words = |word: &str| expand_words(word, '\\', &mut lookup, 1000).expect("it expands");
    assert_eq!(words("80 $SPACED 90"), ["80", "x", "y", "90"]);
    assert_eq!(words("a\"$SPACED\"b"), ["a x  y b"]);
    assert_eq!(words("a\\ b c"), ["a b", "c"]);
    assert_eq!(words("a$SPACED"), ["a", "x", "y"]);
    assert_eq!(words("p${NONE:-8 9}q"), ["p8", "9q"]);
    assert!(words("$NONE").is_empty());
}

#[test]
fn a_heredoc_keeps_its_quotes() {
    let got = expand_heredoc("say \"$HOME\" and '$HOME' and \\$HOME", &mut lookup, 1000);
    assert_eq!(got.as_deref(), Ok("say \"/root\" and '/root' and $HOME"));
}

#[test]
fn the_limit_is_exact() {
    assert!(expand("$HOME$HOME", '\\', &mut lookup, 10).is_ok());
    assert_eq!(expand("$HOME$HOME", '\\', &mut lookup, 9), Err(ExpandError::TooLarge { limit: 9 }));
    assert_eq!(expand("abc", '\\', &mut lookup, 2), Err(ExpandError::TooLarge { limit: 2 }));
}
