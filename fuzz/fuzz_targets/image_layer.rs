//! libFuzzer over `fuzz::image_layer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::image_layer(data));
