//! libFuzzer over `fuzz::dockerfile_parse`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::dockerfile_parse(data));
