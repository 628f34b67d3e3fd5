//! libFuzzer over `fuzz::image_diff`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::image_diff(data));
