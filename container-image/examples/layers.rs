//! Prints the layers of an image of an OCI layout, and how each was made.
//!
//! `cargo run -p container-image --example layers -- LAYOUT NAME`

use container_image::Store;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [layout, name] = words.as_slice() else {
        return Err("usage: layers LAYOUT NAME".into());
    };
    let image = Store::open(layout)?.find(name)?.image;
    println!("{}", image.id);
    for step in image.history() {
        let by = step.history.created_by.as_deref().unwrap_or("?");
        match step.layer {
            Some(layer) => println!("{} {:>12} {by}", layer.digest.short(), layer.size),
            None => println!("{:12} {:>12} {by}", "", 0),
        }
    }
    Ok(())
}
