//! Counts what two images of an OCI layout share: layers, and bytes as they lie in the layout.
//!
//! `cargo run -p container-image --example shared -- LAYOUT ONE OTHER`

use container_image::Store;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [layout, one, other] = words.as_slice() else {
        return Err("usage: shared LAYOUT ONE OTHER".into());
    };
    let store = Store::open(layout)?;
    let (one, other) = (store.find(one)?.image, store.find(other)?.image);
    let shared: Vec<_> =
        one.manifest.layers.iter().filter(|layer| other.manifest.layers.contains(layer)).collect();
    let bytes: u64 = shared.iter().map(|layer| layer.size).sum();
    println!("{} layers of {} and {}", shared.len(), one.manifest.layers.len(), other.manifest.layers.len());
    println!("{bytes} bytes of {} and {}", one.stored_size(), other.stored_size());
    Ok(())
}
