//! libFuzzer over `fuzz::image_names`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::image_names(data));
