//! libFuzzer over `fuzz::compose_load`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::compose_load(data));
