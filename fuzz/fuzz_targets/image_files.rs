//! libFuzzer over `fuzz::image_files`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::image_files(data));
