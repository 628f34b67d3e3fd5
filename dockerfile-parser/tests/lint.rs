//! Every rule: a file that breaks it, the words it points at, and a file next to it that does not.

use std::collections::BTreeSet;

use dockerfile_parser::{Check, Code, Diagnostic, Ignore, LintOptions, Origin, Rules, Severity, parse};

fn lint(source: &str) -> Vec<Diagnostic> {
    parse(source.as_bytes()).lint(&LintOptions::default())
}

fn codes(source: &str) -> BTreeSet<&'static str> {
    lint(source).iter().map(|found| found.code.name()).collect()
}

/// (rule, file that breaks it, what it points at, file that does not)
const RULES: &[(Code, &str, &str, &str)] = &[
    (Code::UnknownInstruction, "FROM a:1\nRUNN x\n", "RUNN", "FROM a:1\nRUN x\n"),
    (Code::UnknownFlag, "FROM a:1\nRUN --x y\n", "--x", "FROM a:1\nRUN -- --x y\n"),
    (
        Code::DuplicateFlag,
        "FROM a:1\nCOPY --link --link a /b\n",
        "--link",
        "FROM a:1\nCOPY --exclude=a --exclude=b . /b\n",
    ),
    (Code::MissingFlagValue, "FROM --platform a:1\n", "--platform", "FROM a:1\nCOPY --link a /b\n"),
    (Code::InvalidFlagValue, "FROM a:1\nRUN --network=x y\n", "x", "FROM a:1\nRUN --network=none y\n"),
    (Code::MissingArgument, "FROM a:1\nCOPY a\n", "a", "FROM a:1\nCOPY a /b\n"),
    (Code::ExtraArgument, "FROM a:1 b\n", "b", "FROM a:1 AS b\n"),
    (Code::InvalidStageName, "FROM a:1 AS 0x\n", "0x", "FROM a:1 AS x0\n"),
    (Code::UnterminatedHeredoc, "FROM a:1\nRUN <<EOF\nx\n", "<<EOF", "FROM a:1\nRUN <<EOF\nx\nEOF\n"),
    (Code::MisplacedHeredoc, "FROM a:1\nCOPY a <<E\nE\n", "<<E", "FROM a:1\nCOPY <<E /a\nE\n"),
    (Code::JsonNotStrings, "FROM a:1\nCMD [1]\n", "1", "FROM a:1\nCMD [\"1\"]\n"),
    (Code::JsonFallback, "FROM a:1\nCMD ['a']\n", "['a']", "FROM a:1\nRUN [ -f a ] && b\n"),
    (Code::MissingEquals, "FROM a:1\nENV a=1 b\n", "b", "FROM a:1\nENV a=1 b=\n"),
    (Code::BlankName, "FROM a:1\nENV =b\n", "=b", "FROM a:1\nENV a=\n"),
    (Code::OnbuildForbidden, "FROM a:1\nONBUILD FROM b\n", "ONBUILD FROM", "FROM a:1\nONBUILD RUN b\n"),
    (Code::BeforeFrom, "RUN x\nFROM a:1\n", "RUN", "ARG x\nFROM a:1\n"),
    (Code::NoStage, "ARG x\n", "", "FROM a:1\n"),
    (
        Code::DuplicateDirective,
        "# escape=`\n# escape=`\nFROM a:1\n",
        "# escape=`",
        "# escape=`\n# syntax=x\nFROM a:1\n",
    ),
    (Code::InvalidEscape, "# escape=x\nFROM a:1\n", "x", "# escape=`\nFROM a:1\n"),
    (Code::InvalidCheck, "# check=x=y\nFROM a:1\n", "x=y", "# check=skip=all\nFROM a:1\n"),
    (
        Code::InvalidHealthcheck,
        "FROM a:1\nHEALTHCHECK curl x\n",
        "curl",
        "FROM a:1\nHEALTHCHECK CMD curl x\n",
    ),
    (Code::InvalidExpansion, "FROM a:1\nENV a=${b\n", "${b", "FROM a:1\nENV b=1\nENV a=${b}\n"),
    (Code::ExpansionTooLarge, BIG_ARGUMENTS, "$b$b$b$b$b$b$b$b$b$b", "ARG b=1\nARG c=$b\nFROM a:1\n"),
    (
        Code::NoExpansionHere,
        "FROM a:1 AS x\nFROM a:1\nCOPY --from=$x a /b\n",
        "$x",
        "FROM a:1 AS x\nFROM a:1\nCOPY --from=x a /b\n",
    ),
    (
        Code::CircularDependency,
        "FROM a:1 AS x\nCOPY --from=x a /b\n",
        "x",
        "FROM a:1 AS y\nFROM a:1 AS x\nCOPY --from=y a /b\n",
    ),
    (Code::ForwardReference, "FROM x\nFROM a:1 AS x\n", "x", "FROM a:1 AS x\nFROM x\n"),
    (
        Code::InvalidStageIndex,
        "FROM a:1\nCOPY --from=3 a /b\n",
        "3",
        "FROM a:1\nFROM a:1\nCOPY --from=0 a /b\n",
    ),
    (Code::InvalidPort, "FROM a:1\nEXPOSE 80000\n", "80000", "FROM a:1\nEXPOSE 8000-8010/udp\n"),
    (Code::NulByte, "FROM a:1\nRUN \0\n", "\0", "FROM a:1\nRUN 0\n"),
    (Code::MisplacedBom, "FROM a:1\n\u{feff}RUN x\n", "\u{feff}", "\u{feff}FROM a:1\nRUN x\n"),
    (Code::StageNameCasing, "FROM a:1 AS Build\n", "Build", "FROM a:1 AS build\n"),
    (Code::FromAsCasing, "FROM a:1 as b\n", "as", "from a:1 as b\n"),
    (Code::NoEmptyContinuation, "FROM a:1\nRUN a \\\n\n b\n", "\n", "FROM a:1\nRUN a \\\n# c\n b\n"),
    (Code::ConsistentInstructionCasing, "FROM a:1\nrun x\nUSER y\n", "run", "from a:1\nrun x\n"),
    (Code::DuplicateStageName, "FROM a:1 AS b\nFROM a:1 AS b\n", "b", "FROM a:1 AS b\nFROM a:1 AS c\n"),
    (Code::ReservedStageName, "FROM a:1 AS scratch\n", "scratch", "FROM a:1 AS scratchy\n"),
    (Code::JSONArgsRecommended, "FROM a:1\nCMD a b\n", "a b", "FROM a:1\nCMD [\"a\"]\n"),
    (Code::MaintainerDeprecated, "FROM a:1\nMAINTAINER x\n", "MAINTAINER", "FROM a:1\nLABEL maintainer=x\n"),
    (Code::UndefinedArgInFrom, "ARG TAG=1\nFROM a:$TGA\n", "a:$TGA", "ARG TAG=1\nFROM a:$TAG\n"),
    (Code::WorkdirRelativePath, "FROM a:1\nWORKDIR b\n", "b", "FROM a:1\nWORKDIR /b\nWORKDIR c\n"),
    (Code::UndefinedVar, "FROM scratch\nENV A=$B\n", "$B", "FROM scratch\nARG B\nENV A=$B\n"),
    (
        Code::MultipleInstructionsDisallowed,
        "FROM a:1\nCMD [\"a\"]\nCMD [\"b\"]\n",
        "CMD",
        "FROM a:1\nCMD [\"a\"]\nFROM a:1\nCMD [\"b\"]\n",
    ),
    (Code::LegacyKeyValueFormat, "FROM a:1\nENV a b\n", "a b", "FROM a:1\nENV a=b\n"),
    (
        Code::FromPlatformFlagConstDisallowed,
        "FROM --platform=linux/arm64 a:1\n",
        "linux/arm64",
        "FROM --platform=linux/arm64 a:1 AS arm64\n",
    ),
    (
        Code::RedundantTargetPlatform,
        "FROM --platform=$TARGETPLATFORM a:1\n",
        "$TARGETPLATFORM",
        "FROM --platform=$BUILDPLATFORM a:1\n",
    ),
    (
        Code::SecretsUsedInArgOrEnv,
        "FROM a:1\nENV DB_PASSWORD=x\n",
        "DB_PASSWORD",
        "FROM a:1\nENV DB_PASSWORD_FILE=x KEYBOARD=y\n",
    ),
    (Code::InvalidDefaultArgInFrom, "ARG TAG\nFROM a:$TAG\n", "a:$TAG", "ARG TAG=1\nFROM a:$TAG\n"),
    (Code::ExposeProtoCasing, "FROM a:1\nEXPOSE 80/TCP\n", "80/TCP", "FROM a:1\nEXPOSE 80/tcp\n"),
    (Code::ExposeInvalidFormat, "FROM a:1\nEXPOSE 80:80\n", "80:80", "FROM a:1\nEXPOSE 80\n"),
    (Code::UselessCommand, "FROM a:1\nRUN service x start\n", "service", "FROM a:1\nRUN my-service x\n"),
    (Code::LastUserRoot, "FROM a:1\nUSER root\n", "root", "FROM a:1\nUSER root\nUSER app\n"),
    (Code::UseWorkdir, "FROM a:1\nRUN cd /x && y\n", "cd", "FROM a:1\nRUN y \"cd /x\"\n"),
    (Code::NoSudo, "FROM a:1\nRUN a && sudo b\n", "sudo", "FROM a:1\nRUN pseudo b\n"),
    (Code::UntaggedImage, "FROM debian\n", "debian", "FROM a:1 AS debian\nFROM debian\n"),
    (Code::LatestTag, "FROM a:latest\n", "a:latest", "FROM a:1\n"),
    (
        Code::PinAptVersions,
        "FROM a:1\nRUN apt-get install -y x\n",
        "x",
        "FROM a:1\nRUN apt-get install -y x=1 ./y.deb $Z\n",
    ),
    (
        Code::CleanAptLists,
        "FROM a:1\nRUN apt-get update\n",
        "apt-get",
        "FROM a:1\nRUN apt-get update && rm -rf /var/lib/apt/lists/*\n",
    ),
    (
        Code::PinPipVersions,
        "FROM a:1\nRUN python3 -m pip install x\n",
        "x",
        "FROM a:1\nRUN pip install x==1 -r y.txt .\n",
    ),
    (
        Code::AptAssumeYes,
        "FROM a:1\nRUN apt-get install x\n",
        "install",
        "FROM a:1\nRUN apt-get -qy install x\n",
    ),
    (
        Code::AptNoRecommends,
        "FROM a:1\nRUN apt-get install -y x\n",
        "install",
        "FROM a:1\nRUN apt-get install -y --no-install-recommends x\n",
    ),
    (
        Code::PinNpmVersions,
        "FROM a:1\nRUN npm install -g x @a/b\n",
        "x",
        "FROM a:1\nRUN npm install x@1 @a/b@2 && npm install\n",
    ),
    (
        Code::PinApkVersions,
        "FROM a:1\nRUN apk add --no-cache x\n",
        "x",
        "FROM a:1\nRUN apk add --no-cache -t deps x~1\n",
    ),
    (
        Code::ApkNoCache,
        "FROM a:1\nRUN apk add x=1\n",
        "add",
        "FROM a:1\nRUN --mount=type=cache,target=/var/cache/apk apk add x=1\n",
    ),
    (Code::UseCopy, "FROM a:1\nADD x /y\n", "ADD", "FROM a:1\nADD x.tar.gz https://x/y /z/\n"),
    (Code::CopyDestinationSlash, "FROM a:1\nCOPY a b /c\n", "/c", "FROM a:1\nCOPY a b /c/\n"),
    (Code::UseAptGet, "FROM a:1\nRUN apt update\n", "apt", "FROM a:1\nRUN apt-get update\n"),
    (
        Code::PinGemVersions,
        "FROM a:1\nRUN gem install x\n",
        "x",
        "FROM a:1\nRUN gem install x -v 1 && gem install y:2\n",
    ),
    (Code::YumAssumeYes, "FROM a:1\nRUN yum install x\n", "install", "FROM a:1\nRUN yum install -y x\n"),
    (
        Code::CleanYum,
        "FROM a:1\nRUN yum install -y x\n",
        "install",
        "FROM a:1\nRUN yum install -y x && yum clean all\n",
    ),
    (
        Code::ZypperAssumeYes,
        "FROM a:1\nRUN zypper install x\n",
        "install",
        "FROM a:1\nRUN zypper -n install x\n",
    ),
    (
        Code::CleanZypper,
        "FROM a:1\nRUN zypper in -y x\n",
        "in",
        "FROM a:1\nRUN zypper in -y x && zypper clean\n",
    ),
    (Code::DnfAssumeYes, "FROM a:1\nRUN dnf install x\n", "install", "FROM a:1\nRUN microdnf install -y x\n"),
    (
        Code::CleanDnf,
        "FROM a:1\nRUN dnf install -y x\n",
        "install",
        "FROM a:1\nRUN dnf install -y x && dnf clean all\n",
    ),
    (
        Code::PipNoCache,
        "FROM a:1\nRUN pip install x==1\n",
        "install",
        "FROM a:1\nENV PIP_NO_CACHE_DIR=1\nRUN pip install x==1\n",
    ),
    (
        Code::SelfReferenceInEnv,
        "FROM a:1\nENV A=1 B=$A\n",
        "$A",
        "FROM a:1\nENV A=1\nENV A=2 B=$A PATH=/x:$PATH\n",
    ),
    (Code::RelativeDestination, "FROM a:1\nCOPY a b\n", "b", "FROM a:1\nWORKDIR /x\nCOPY a b\n"),
    (
        Code::UseraddHighId,
        "FROM a:1\nRUN useradd -u 123456 x\n",
        "useradd",
        "FROM a:1\nRUN useradd -l -u 123456 x && useradd -u 1000 y\n",
    ),
    (Code::WgetProgress, "FROM a:1\nRUN wget x\n", "wget", "FROM a:1\nRUN wget -q x\n"),
    (
        Code::MultipleRun,
        "FROM a:1\nRUN a\nRUN b\n",
        "RUN",
        "FROM a:1\nRUN a\nUSER x\nRUN b\nRUN --network=none c\n",
    ),
    (
        Code::CleanYarn,
        "FROM a:1\nRUN yarn install\n",
        "install",
        "FROM a:1\nRUN yarn install && yarn cache clean\n",
    ),
    (
        Code::WgetAndCurl,
        "FROM a:1\nRUN wget -q x && curl y\n",
        "curl",
        "FROM a:1\nRUN curl x\nFROM a:1\nRUN wget -q x\n",
    ),
    (
        Code::UseShell,
        "FROM a:1\nRUN ln -sf /bin/bash /bin/sh\n",
        "ln",
        "FROM a:1\nSHELL [\"/bin/bash\", \"-c\"]\n",
    ),
    (
        Code::PipefailMissing,
        "FROM a:1\nRUN a | b\n",
        "a",
        "FROM a:1\nSHELL [\"/bin/bash\", \"-o\", \"pipefail\", \"-c\"]\nRUN a | b || c\n",
    ),
    (Code::FullWidthCharacter, "FROM a:1\nLABEL a＝b c=d\n", "＝", "FROM a:1\nLABEL a=\"你好：，\"\n"),
    (Code::SmartQuote, "FROM a:1\nENV A=“x”\n", "“", "FROM a:1\nENV A='“x”'\n# “x”\n"),
    (Code::TrailingComment, "FROM a:1 # base\n", "# base", "FROM a:1\nRUN x # base\n"),
    (Code::UnusualSpace, "FROM a:1\nRUN a\u{a0}b\n", "\u{a0}", "FROM a:1\nRUN a 'b\u{a0}c'\n"),
];

/// Each argument is ten times the one before.
const BIG_ARGUMENTS: &str = "ARG b=1234567890123456\nARG b=$b$b$b$b$b$b$b$b$b$b\nARG b=$b$b$b$b$b$b$b$b$b$b\nARG b=$b$b$b$b$b$b$b$b$b$b\nARG b=$b$b$b$b$b$b$b$b$b$b\nARG b=$b$b$b$b$b$b$b$b$b$b\nFROM a:1\n";

#[test]
fn every_rule_finds_its_fault_at_its_place_and_nothing_where_there_is_none() {
    for (code, bad, place, good) in RULES {
        let found = lint(bad);
        let hit = found.iter().find(|found| found.code == *code);
        let hit = hit.unwrap_or_else(|| panic!("{code:?} is not found in {bad:?}: {found:?}"));
        assert_eq!(&bad[hit.span.range()], *place, "{code:?}");
        assert!(!codes(good).contains(code.name()), "{code:?} is found in {good:?}");
    }
}

#[test]
fn every_code_has_its_test() {
    let here: BTreeSet<&str> = RULES.iter().map(|rule| rule.0.name()).collect();
    // these need more than a file, or bytes that are not UTF-8, and have tests of their own
    let elsewhere = ["CopyIgnoredFile", "InvalidDefinitionDescription", "InvalidUtf8", "InvalidPattern"];
    for code in Code::ALL {
        assert!(here.contains(code.name()) || elsewhere.contains(&code.name()), "{code:?}");
        assert_eq!(Code::find(code.name()), Some(*code));
    }
    assert_eq!(Code::find("DL3008"), Some(Code::PinAptVersions));
    assert_eq!(
        Code::JSONArgsRecommended.url().as_deref(),
        Some("https://docs.docker.com/go/dockerfile/rule/json-args-recommended/")
    );
}

#[test]
fn suggestions_mend_what_they_are_for() {
    for (code, bad, ..) in RULES {
        let file = parse(bad.as_bytes());
        let before = file.lint(&LintOptions::default());
        let Some(hit) = before.iter().find(|found| found.code == *code) else { panic!("{code:?}") };
        let Some(suggestion) = &hit.suggestion else { continue };
        let after = file.edit(&suggestion.edit).expect("the suggestion fits").lint(&LintOptions::default());
        let count = |all: &[Diagnostic]| all.iter().filter(|found| found.code == *code).count();
        assert!(count(&after) < count(&before), "{code:?}: {bad:?} by {:?}", suggestion.edit);
    }
}

#[test]
fn typical_slips_get_a_hint_that_mends_them() {
    for (slip, mended) in [
        ("FROM a:1\nENTERPOINT [\"x\"]\n", "FROM a:1\nENTRYPOINT [\"x\"]\n"),
        ("FORM a:1\n", "FROM a:1\n"),
        ("FROM a:1\nEXPOSE：80\n", "FROM a:1\nEXPOSE 80\n"),
        ("FROM a:1\nRUN\u{3000}x\n", "FROM a:1\nRUN x\n"),
        ("FROM a:1\nCMD [“a”，“b”]\n", "FROM a:1\nCMD [\"a\", \"b\"]\n"),
        ("FROM a:1\nCOPY --form=0 x y\n", "FROM a:1\nCOPY --from=0 x y\n"),
        ("FROM a:1\nENV A=1 # note\n", "FROM a:1\nENV A=1\n"),
        ("FROM a:1\nHEALTHCHECK curl x\n", "FROM a:1\nHEALTHCHECK CMD curl x\n"),
    ] {
        let file = parse(slip.as_bytes());
        let found = file.lint(&LintOptions::default());
        let edits = found.iter().filter_map(|found| found.suggestion.as_ref());
        let results: Vec<_> = edits
            .map(|suggestion| {
                String::from_utf8(file.edit(&suggestion.edit).expect("it fits").source().to_vec())
            })
            .collect();
        assert!(results.contains(&Ok(mended.to_owned())), "{slip:?} gave {results:?}");
    }
}

#[test]
fn skip_and_error_of_the_directive_count() {
    let bad = "FROM a:1\nMAINTAINER x\nCMD y\n";
    assert!(codes(bad).is_superset(&BTreeSet::from(["MaintainerDeprecated", "JSONArgsRecommended"])));
    let one = codes(&format!("# check=skip=JSONArgsRecommended\n{bad}"));
    assert!(one.contains("MaintainerDeprecated") && !one.contains("JSONArgsRecommended"));
    assert!(codes(&format!("# check=skip=all\n{bad}")).is_empty());
    let grave = lint(&format!("# check=skip=JSONArgsRecommended;error=true\n{bad}"));
    assert_eq!(
        grave.iter().find(|found| found.code == Code::MaintainerDeprecated).map(|found| found.severity),
        Some(Severity::Error)
    );
    let broken = codes("# check=skip=all\nFROM a:1\nBOGUS\n");
    assert!(broken.contains("UnknownInstruction"), "a fault of syntax cannot be skipped");
    let options = LintOptions {
        check: Check { skip: Rules::parse("DL4000"), ..Check::default() },
        ..LintOptions::default()
    };
    let found = parse(bad.as_bytes()).lint(&options);
    assert!(!found.iter().any(|found| found.code == Code::MaintainerDeprecated));
}

#[test]
fn comments_before_an_instruction_skip_for_it_alone() {
    let text = "FROM a:1\n# hadolint ignore=DL3003,UseWorkdir\nRUN cd /x\nUSER y\nRUN cd /z\n";
    let places: Vec<_> = lint(text)
        .into_iter()
        .filter(|found| found.code == Code::UseWorkdir)
        .map(|found| found.span.start)
        .collect();
    assert_eq!(places, [text.rfind("cd").expect("it is there")]);
    let text = "# check=error=false\nFROM a:1\n# check=skip=LegacyKeyValueFormat\nENV a b\nENV c d\n";
    let places: Vec<_> = lint(text)
        .into_iter()
        .filter(|found| found.code == Code::LegacyKeyValueFormat)
        .map(|found| found.span.start)
        .collect();
    assert_eq!(places, [text.rfind("c d").expect("it is there")]);
}

#[test]
fn experimental_rules_are_off_until_asked_for() {
    let text = "FROM a:1\n# says nothing of it\nARG VERSION=1\n";
    assert!(!codes(text).contains("InvalidDefinitionDescription"));
    assert!(codes(&format!("# check=experimental=all\n{text}")).contains("InvalidDefinitionDescription"));
    let good = "# check=experimental=InvalidDefinitionDescription\nFROM a:1\n# VERSION is the version\nARG VERSION=1\n";
    assert!(!codes(good).contains("InvalidDefinitionDescription"));
}

#[test]
fn copying_an_ignored_file_is_found_with_the_ignore_file_at_hand() {
    let file =
        parse(b"FROM a:1\nCOPY target/x src /y/\nCOPY --from=0 target /y\nADD https://x/target.tar /y\n");
    let with = |patterns: &[u8]| {
        let (ignore, _) = Ignore::parse(patterns);
        let options = LintOptions { ignore: Some(&ignore), ..LintOptions::default() };
        file.lint(&options)
            .iter()
            .filter(|found| found.code == Code::CopyIgnoredFile)
            .map(|found| file.str(found.span).into_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(with(b"target\n"), ["target/x"]);
    assert!(with(b"target\n!target/keep\n").is_empty(), "exclusions cannot be told from names alone");
}

#[test]
fn docker_rules_alone_on_request() {
    let options = LintOptions { practice: false, ..LintOptions::default() };
    let found = parse(b"FROM debian\nRUN cd /x && sudo apt install y | z\nCMD x\n").lint(&options);
    assert!(found.iter().all(|found| found.code.origin() == Origin::Docker), "{found:?}");
    assert_eq!(found.len(), 1);
}

#[test]
fn variables_of_a_base_stage_are_known_and_those_of_an_image_are_not_certain() {
    let text = "FROM scratch AS a\nENV A=1\nFROM a\nENV B=$A C=$D\nFROM x:1\nENV E=$A F=$JAVA_HOME\n";
    let found: Vec<_> = lint(text)
        .into_iter()
        .filter(|found| found.code == Code::UndefinedVar)
        .map(|found| (text[found.span.range()].to_owned(), found.severity))
        .collect();
    assert_eq!(
        found,
        [
            ("$D".to_owned(), Severity::Warning),
            ("$A".to_owned(), Severity::Info),
            ("$JAVA_HOME".to_owned(), Severity::Info),
        ]
    );
}

#[test]
fn places_in_joined_lines_and_here_documents_are_exact() {
    for text in [
        "FROM a:1\nRUN true && \\\n  # comment\n\n   sudo x\n",
        "FROM a:1\nRUN <<EOF\ntrue\n  sudo x\nEOF\n",
        "FROM a:1\r\nRUN --network=none true \\\r\n&& sudo x\r\n",
    ] {
        let found = lint(text);
        let hit = found.iter().find(|found| found.code == Code::NoSudo).expect("it is found");
        assert_eq!(&text[hit.span.range()], "sudo", "{text:?}");
    }
}

#[test]
fn the_notes_dockerfile_has_no_errors() {
    let found = lint(
        "FROM python:3.7-alpine\nWORKDIR /app\nCOPY . /app\nRUN pip install flask redis\nEXPOSE 5000\nCMD [\"python\", \"app.py\"]\n",
    );
    assert!(found.iter().all(|found| found.severity < Severity::Error), "{found:?}");
}
