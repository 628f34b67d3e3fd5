//! How fast Dockerfiles are parsed and linted: `cargo run --release -p dockerfile-parser --example throughput`.
//!
//! The corpus is made from a seed, in the manner of files in the wild: several stages, long `RUN` with
//! continuation lines, comments, flags, here-documents. An argument gives its size in MB, 100 otherwise.

#![allow(clippy::format_push_string, clippy::cast_precision_loss)] // clearer, and only figures to read

use std::hint::black_box;
use std::time::Instant;

use dockerfile_parser::{LintOptions, parse};

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len() as u64) as usize]
    }
}

const IMAGES: [&str; 5] =
    ["debian:bookworm-slim", "alpine:3.20", "golang:1.23", "node:22-slim", "python:3.12"];
const PACKAGES: [&str; 8] =
    ["ca-certificates", "curl", "git", "build-essential", "libssl-dev", "tini", "jq", "xz-utils"];

fn file(random: &mut Random) -> String {
    let mut out = String::from(
        "# syntax=docker/dockerfile:1\n# Builds the service and its tools.\nARG VERSION=1.2.3\n\n",
    );
    for stage in 0..=random.below(3) {
        let image = random.pick(&IMAGES);
        out.push_str(&format!("FROM {image} AS stage{stage}\nARG VERSION\nENV APP_HOME=/srv/app LANG=C.UTF-8 \\\n    PATH=/srv/app/bin:$PATH\nWORKDIR /srv/app\n\n"));
        out.push_str("# packages that the build needs; keep them sorted\nRUN --mount=type=cache,target=/var/cache/apt,sharing=locked apt-get update \\\n && apt-get install -y --no-install-recommends \\\n");
        for _ in 0..=random.below(9) {
            out.push_str(&format!(
                "      {}={}.{} \\\n",
                random.pick(&PACKAGES),
                random.below(9),
                random.below(99)
            ));
        }
        out.push_str(
            " && rm -rf /var/lib/apt/lists/*\n\nCOPY --chown=app:app package.json package-lock.json ./\n",
        );
        if stage > 0 {
            out.push_str(&format!("COPY --from=stage{} /srv/app/dist /srv/app/dist\n", stage - 1));
        }
        for step in 0..random.below(4) {
            out.push_str(&format!("RUN set -eux; make -j\"$(nproc)\" PREFIX=/usr/local target{step} && make install && strip /usr/local/bin/tool{step}\n"));
        }
        if random.below(3) == 0 {
            out.push_str("RUN <<EOF\nset -eu\nfor file in /etc/app/*.conf; do\n    echo \"checking $file\"\n    app-check \"$file\"\ndone\nEOF\n");
        }
        out.push_str("LABEL org.opencontainers.image.source=\"https://example.com/app\" \\\n      org.opencontainers.image.version=$VERSION\nCOPY . .\n\n");
    }
    out.push_str("EXPOSE 8080 9090/tcp\nUSER app\nHEALTHCHECK --interval=30s --timeout=3s CMD curl -f http://localhost:8080/ || exit 1\nENTRYPOINT [\"/usr/bin/tini\", \"--\"]\nCMD [\"/srv/app/bin/server\", \"--port\", \"8080\"]\n");
    out
}

/// Seconds this thread has had a processor, so that a busy machine does not count.
fn processor_time() -> f64 {
    let nanoseconds = std::fs::read_to_string("/proc/thread-self/schedstat")
        .ok()
        .and_then(|text| text.split(' ').next().and_then(|first| first.parse::<f64>().ok()));
    nanoseconds.map_or_else(|| START.elapsed().as_secs_f64(), |nanoseconds| nanoseconds / 1e9)
}

static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);

fn main() {
    let megabytes: usize = std::env::args().nth(1).and_then(|size| size.parse().ok()).unwrap_or(100);
    let mut random = Random(0x5eed);
    let mut files = Vec::new();
    let mut total = 0;
    while total < megabytes * 1_000_000 {
        let file = file(&mut random);
        total += file.len();
        files.push(file);
    }
    let joined: String = files.concat();
    let mut best = f64::MAX;
    let mut instructions = 0;
    for _ in 0..5 {
        let start = processor_time();
        instructions = 0;
        for file in &files {
            instructions += black_box(parse(file.as_bytes())).instructions().len();
        }
        best = best.min(processor_time() - start);
    }
    println!("{} files of {} bytes, {instructions} instructions", files.len(), total / files.len());
    println!("parse, file by file: {:.0} MB/s", total as f64 / best / 1e6);
    let start = processor_time();
    let whole = parse(joined.as_bytes());
    println!("parse, all as one:   {:.0} MB/s", total as f64 / (processor_time() - start) / 1e6);
    drop(whole);
    let some: Vec<_> = files.iter().take(500).map(|file| parse(file.as_bytes())).collect();
    let mut best = f64::MAX;
    let mut found = 0;
    for _ in 0..5 {
        let start = processor_time();
        found = some.iter().map(|file| black_box(file.lint(&LintOptions::default())).len()).sum();
        best = best.min(processor_time() - start);
    }
    println!(
        "lint: {:.1} µs a file, {:.1} findings a file",
        best / some.len() as f64 * 1e6,
        found as f64 / some.len() as f64
    );
}
