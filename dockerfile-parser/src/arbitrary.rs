//! Structured Dockerfiles for fuzzing: mostly right, so that a fuzzer gets beyond the first line.

use arbitrary::{Arbitrary, Result, Unstructured};

/// The text of a Dockerfile made from a fuzzer's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Structured(pub String);

const WORDS: [&str; 24] = [
    "a",
    "b.txt",
    "/dst/",
    "$A",
    "${A:-b}",
    "${A#*/}",
    "${A//x/y}",
    "\"two words\"",
    "'$A'",
    "a\\ b",
    "x=1",
    "A=$A$A",
    "<<EOF",
    "<<-\"E\"",
    "&&",
    "|",
    "[\"a\", \"b\"]",
    "['a']",
    "#",
    "é",
    "\\\n",
    "\\\n# c\n",
    "80/tcp",
    "",
];
const KEYWORDS: [&str; 19] = [
    "RUN",
    "COPY",
    "ADD",
    "ENV",
    "ARG",
    "LABEL",
    "CMD",
    "ENTRYPOINT",
    "EXPOSE",
    "VOLUME",
    "USER",
    "WORKDIR",
    "ONBUILD RUN",
    "STOPSIGNAL",
    "HEALTHCHECK CMD",
    "SHELL",
    "MAINTAINER",
    "run",
    "BOGUS",
];
const FLAGS: [&str; 10] = [
    "--from=s0",
    "--mount=type=cache,target=/c",
    "--mount=type=bind,from=s1",
    "--link",
    "--chown=1:1",
    "--exclude=*.md",
    "--network=none",
    "--interval=1s",
    "--platform=$BUILDPLATFORM",
    "--x",
];

impl<'a> Arbitrary<'a> for Structured {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let mut out = String::new();
        if u.ratio(1, 4)? {
            out.push_str(u.choose(&["# escape=`\n", "# syntax=a\n", "# check=skip=all\n", "\u{feff}"])?);
        }
        let mut stages = 0;
        while !u.is_empty() {
            if stages == 0 || u.ratio(1, 6)? {
                let base = if stages > 0 && u.arbitrary()? {
                    format!("s{}", u.int_in_range(0..=stages - 1)?)
                } else {
                    (*u.choose(&["scratch", "alpine:3", "$A"])?).to_owned()
                };
                out.push_str(&["FROM ", &base, " AS s", &stages.to_string(), "\n"].concat());
                stages += 1;
            }
            out.push_str(u.choose(&KEYWORDS)?);
            for _ in 0..u.int_in_range(0..=2)? {
                out.push(' ');
                out.push_str(u.choose(&FLAGS)?);
            }
            for _ in 0..u.int_in_range(0..=6)? {
                out.push(' ');
                out.push_str(u.choose(&WORDS)?);
            }
            out.push('\n');
            if u.ratio(1, 4)? {
                out.push_str(u.choose(&["body $A\nEOF\n", "\tbody\n\tE\n", "EOF\n", "\n", "# comment\n"])?);
            }
        }
        Ok(Self(out))
    }
}
