//! libFuzzer over `fuzz::image_load`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::image_load(data));
