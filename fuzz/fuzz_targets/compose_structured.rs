//! libFuzzer over `fuzz::compose_structured`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::compose_structured(data));
