//! Makes an image from a folder and brings it to a registry.
//!
//! `cargo run -p container-image --features registry --example publish -- FOLDER HOST[:PORT]/NAME[:TAG]`

use std::path::Path;

use container_image::{Commit, ContainerConfig, Diff, Http, HttpOptions, Reference, Registry, Store};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [folder, name] = words.as_slice() else {
        return Err("usage: publish FOLDER HOST[:PORT]/NAME[:TAG]".into());
    };
    let name: Reference = name.parse()?;
    // the layout is only on the way: what is made in it goes with it
    let place = tempfile::tempdir()?;
    let store = Store::open(place.path().join("layout"))?;
    let _lease = store.lease()?;
    let commit = Commit {
        config: ContainerConfig { cmd: Some(vec!["/bin/sh".to_owned()]), ..ContainerConfig::default() },
        created_by: Some(format!("publish {folder}")),
        ..Commit::default()
    };
    let image = store.commit(None, &Diff::of_layers(&[Path::new(folder)])?, commit)?;
    let client = Registry::new(Http::new(&HttpOptions::default())?);
    let digest = client.push(&store, &image, &name, None, &|event| eprintln!("{event:?}"))?;
    println!("{name}@{digest}");
    Ok(())
}
