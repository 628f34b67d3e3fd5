//! What a machine can do at best with the libraries this crate uses: the bounds of `cargo xtask bench image`.
//!
//! `limits inflate FILE...`, `limits hash FILE...`, `limits write OUTPUT FILE...`

use std::fs::File;
use std::io::{self, Read, Write};

use container_image::{Algorithm, Hasher, inflate};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut buffer = vec![0; 256 << 10];
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["inflate", files @ ..] => {
            for file in files {
                let mut input = inflate(io::BufReader::with_capacity(256 << 10, File::open(file)?))?;
                while input.read(&mut buffer)? > 0 {}
            }
        }
        ["hash", files @ ..] => {
            for file in files {
                let (mut input, mut hasher) = (File::open(file)?, Hasher::new(Algorithm::Sha256));
                loop {
                    match input.read(&mut buffer)? {
                        0 => break,
                        count => hasher.update(&buffer[..count]),
                    }
                }
                println!("{}", hasher.finish());
            }
        }
        ["write", output, files @ ..] => {
            let mut output = File::create_new(output)?;
            for file in files {
                let mut input = File::open(file)?;
                loop {
                    match input.read(&mut buffer)? {
                        0 => break,
                        count => output.write_all(&buffer[..count])?,
                    }
                }
            }
        }
        _ => return Err("usage: limits inflate|hash FILE..., limits write OUTPUT FILE...".into()),
    }
    Ok(())
}
