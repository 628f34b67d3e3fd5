//! libFuzzer over `fuzz::dockerfile_expand`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::dockerfile_expand(data));
