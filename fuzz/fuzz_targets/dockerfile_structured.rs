//! libFuzzer over `fuzz::dockerfile_structured`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::dockerfile_structured(data));
