//! A small seeded generator, so that a failure can be repeated.

/// xorshift64*: good enough to pick pieces.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % bound.max(1)
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

const PIECES: &[&str] = &[
    "FROM ",
    "RUN ",
    "COPY ",
    "ADD ",
    "ENV ",
    "LABEL ",
    "ARG ",
    "CMD ",
    "ENTRYPOINT ",
    "HEALTHCHECK ",
    "ONBUILD ",
    "SHELL ",
    "EXPOSE ",
    "VOLUME ",
    "USER ",
    "WORKDIR ",
    "STOPSIGNAL ",
    "MAINTAINER ",
    "from ",
    "Run ",
    "run",
    "bogus ",
    "# comment\n",
    "# escape=`\n",
    "# escape=\\\n",
    "#syntax=x\n",
    "# check=skip=all\n",
    "\n",
    "\n\n",
    "\\\n",
    "\\ \n",
    "`\n",
    "\\",
    "`",
    "\\\r\n",
    "\r\n",
    " ",
    "  ",
    "\t",
    "\"",
    "'",
    "[",
    "]",
    "[\"a\", \"b\"]",
    "['a']",
    "[\"a\",]",
    "{\"a\": [1, null]}",
    ",",
    "=",
    "a=b",
    "a",
    "b c",
    "x=\"y z\"",
    "$",
    "${",
    "}",
    "$A",
    "${A}",
    "${A:-b}",
    "${A#*x}",
    "${A//b/c}",
    "<<EOF",
    "<<-EOF",
    "<<\"EOF\"",
    "EOF",
    "EOF\n",
    "\tEOF\n",
    "<<",
    "<<<",
    "3<<E",
    "--from=build ",
    "--mount=type=cache,target=/x ",
    "--link ",
    "--chown=\"a b\" ",
    "--interval=30s ",
    "--",
    "--x",
    " AS build\n",
    " as Build",
    "alpine",
    "scratch",
    "golang:1.2",
    "&& ",
    "| ",
    "; ",
    "apt-get install x",
    "pip install y",
    "cd /x",
    "“",
    "：",
    "\u{3000}",
    "\u{a0}",
    "\u{feff}",
    "\0",
    "é",
    "\x0b",
    "NONE",
    "CMD x",
    "80/TCP",
    "0",
    "/dst/",
    ".",
    "# not a comment",
    "$(echo \"x\")",
];

/// Something between noise and a Dockerfile.
pub(crate) fn dockerfile(random: &mut Random, pieces: usize) -> Vec<u8> {
    let mut out = Vec::new();
    if random.below(8) == 0 {
        out.extend_from_slice("\u{feff}".as_bytes());
    }
    for _ in 0..random.below(pieces) {
        if random.below(60) == 0 {
            out.push(random.below(256) as u8);
        } else {
            out.extend_from_slice(random.pick(PIECES).as_bytes());
        }
        if random.below(6) == 0 {
            out.push(b'\n');
        }
    }
    out
}

/// Any bytes.
pub(crate) fn noise(random: &mut Random, length: usize) -> Vec<u8> {
    (0..random.below(length)).map(|_| random.below(256) as u8).collect()
}
