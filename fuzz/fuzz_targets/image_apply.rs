//! libFuzzer over `fuzz::image_apply`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::image_apply(data));
