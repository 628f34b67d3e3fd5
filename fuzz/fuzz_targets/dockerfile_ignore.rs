//! libFuzzer over `fuzz::dockerfile_ignore`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::dockerfile_ignore(data));
