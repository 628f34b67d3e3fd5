//! All hot paths by the clock: `cargo bench -p benches`, or `cargo bench -p benches -- compose` for some of them.
//! `DUNNAGE_BENCH_SCALE=100` makes the inputs a hundred times as large.

use benches::{Amount, PATHS, Scale};
use criterion::{Criterion, Throughput};

fn main() {
    let scale = std::env::var("DUNNAGE_BENCH_SCALE")
        .map_or(1, |text| text.parse().expect("DUNNAGE_BENCH_SCALE is a number"));
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let mut criterion = Criterion::default().sample_size(20).configure_from_args();
    for (name, prepare) in PATHS {
        // no input is made for a path that was not asked for
        if !wanted.is_empty() && !wanted.iter().any(|word| name.contains(word)) {
            continue;
        }
        let place = tempfile::tempdir().expect("room for a directory");
        let mut path = prepare(Scale(scale), place.path());
        let (part, work) = name.split_once('/').expect("crate/work");
        let mut group = criterion.benchmark_group(part);
        group.throughput(match path.amount {
            Amount::Bytes(bytes) => Throughput::Bytes(bytes),
            Amount::Items(items) => Throughput::Elements(items),
        });
        group.bench_function(work, |bencher| bencher.iter(|| path.run()));
        group.finish();
    }
    criterion.final_summary();
}
