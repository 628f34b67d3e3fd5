//! Unpacks an image of an OCI layout into a folder; a normal user's files are then that user's.
//!
//! `cargo run -p container-image --example unpack -- LAYOUT NAME FOLDER`

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use container_image::{Limits, Owners, Store};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [layout, name, folder] = words.as_slice() else {
        return Err("usage: unpack LAYOUT NAME FOLDER".into());
    };
    let store = Store::open(layout)?;
    let image = store.find(name)?.image;
    // the owner of our own process tells whether we are root
    let owners = if std::fs::metadata("/proc/self")?.uid() == 0 { Owners::Archive } else { Owners::Caller };
    let applied = store.unpack_tree(&image, Path::new(folder), owners, &Limits::default())?;
    println!("{} entries, {} bytes", applied.entries, applied.bytes);
    Ok(())
}
