use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;

use dockerfile_parser::{FormatOptions, Ignore, LintOptions};

use crate::{Amount, HotPath, Random, Scale};

const IMAGES: [&str; 5] =
    ["debian:bookworm-slim", "alpine:3.20", "golang:1.23", "node:22-slim", "python:3.12"];
const PACKAGES: [&str; 8] =
    ["ca-certificates", "curl", "git", "build-essential", "libssl-dev", "tini", "jq", "xz-utils"];

/// A Dockerfile in the manner of those in the wild, of about 2 kB: one to three stages, in each an ARG, an ENV over two lines, a
/// RUN over three to eleven lines with a cache mount, copies, up to three more RUN; a here-document in every third, comments
/// and labels in all, and at the end what most files end with.
pub fn dockerfile(random: &mut Random) -> String {
    let mut out = String::from(
        "# syntax=docker/dockerfile:1\n# Builds the service and its tools.\nARG VERSION=1.2.3\n\n",
    );
    for stage in 0..=random.below(3) {
        let image = random.pick(&IMAGES);
        let _ = write!(
            out,
            "FROM {image} AS stage{stage}\nARG VERSION\nENV APP_HOME=/srv/app LANG=C.UTF-8 \\\n    PATH=/srv/app/bin:$PATH\n\
             WORKDIR /srv/app\n\n# packages that the build needs; keep them sorted\n\
             RUN --mount=type=cache,target=/var/cache/apt,sharing=locked apt-get update \\\n \
             && apt-get install -y --no-install-recommends \\\n"
        );
        for _ in 0..=random.below(9) {
            let (package, major, minor) = (random.pick(&PACKAGES), random.below(9), random.below(99));
            let _ = writeln!(out, "      {package}={major}.{minor} \\");
        }
        out.push_str(
            " && rm -rf /var/lib/apt/lists/*\n\nCOPY --chown=app:app package.json package-lock.json ./\n",
        );
        if stage > 0 {
            let _ = writeln!(out, "COPY --from=stage{} /srv/app/dist /srv/app/dist", stage - 1);
        }
        for step in 0..random.below(4) {
            let _ = writeln!(
                out,
                "RUN set -eux; make -j\"$(nproc)\" PREFIX=/usr/local target{step} && make install && strip /usr/local/bin/tool{step}"
            );
        }
        if random.below(3) == 0 {
            out.push_str(
                "RUN <<EOF\nset -eu\nfor file in /etc/app/*.conf; do\n    echo \"checking $file\"\n    app-check \"$file\"\ndone\nEOF\n",
            );
        }
        out.push_str(
            "LABEL org.opencontainers.image.source=\"https://example.com/app\" \\\n      \
             org.opencontainers.image.version=$VERSION\nCOPY . .\n\n",
        );
    }
    out.push_str(
        "EXPOSE 8080 9090/tcp\nUSER app\n\
         HEALTHCHECK --interval=30s --timeout=3s CMD curl -f http://localhost:8080/ || exit 1\n\
         ENTRYPOINT [\"/usr/bin/tini\", \"--\"]\nCMD [\"/srv/app/bin/server\", \"--port\", \"8080\"]\n",
    );
    out
}

/// Files of together at least 1 MB times the scale, and their bytes.
fn files(scale: Scale) -> (Vec<String>, Amount) {
    let mut random = Random::new(0x5eed);
    let (mut files, mut bytes) = (Vec::new(), 0);
    while bytes < scale.0 * 1_000_000 {
        let file = dockerfile(&mut random);
        bytes += file.len();
        files.push(file);
    }
    (files, Amount::Bytes(bytes as u64))
}

pub(crate) fn parse(scale: Scale, _: &Path) -> HotPath {
    let (files, amount) = files(scale);
    HotPath::new("dockerfile/parse", amount, move || {
        for file in &files {
            black_box(dockerfile_parser::parse(file.as_bytes()));
        }
    })
}

pub(crate) fn lint(scale: Scale, _: &Path) -> HotPath {
    let (files, _) = files(scale);
    let parsed: Vec<_> = files.iter().map(|file| dockerfile_parser::parse(file.as_bytes())).collect();
    HotPath::new("dockerfile/lint", Amount::Items(parsed.len() as u64), move || {
        for file in &parsed {
            black_box(file.lint(&LintOptions::default()));
        }
    })
}

pub(crate) fn format(scale: Scale, _: &Path) -> HotPath {
    let (files, amount) = files(scale);
    let parsed: Vec<_> = files.iter().map(|file| dockerfile_parser::parse(file.as_bytes())).collect();
    HotPath::new("dockerfile/format", amount, move || {
        for file in &parsed {
            black_box(file.format(&FormatOptions::default()));
        }
    })
}

/// Twenty patterns over 10,000 paths.
pub(crate) fn ignore(scale: Scale, _: &Path) -> HotPath {
    let mut text = String::from("**/node_modules\n*.log\n!keep.log\ndocs/**/*.md\n");
    for at in 0..16 {
        let _ = writeln!(text, "src/part{at}/*.tmp");
    }
    let mut random = Random::new(7);
    let paths: Vec<String> = (0..scale.0 * 10_000)
        .map(|at| {
            let folder = random.pick(&["src", "docs", "web/node_modules", "vendor/lib"]);
            let end = random.pick(&["rs", "md", "tmp", "log"]);
            format!("{folder}/part{}/file{at}.{end}", random.below(16))
        })
        .collect();
    let (rules, _) = Ignore::parse(text.as_bytes());
    HotPath::new("dockerfile/ignore", Amount::Items(paths.len() as u64), move || {
        for path in &paths {
            black_box(rules.matches(path));
        }
    })
}
