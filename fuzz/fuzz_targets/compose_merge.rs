//! libFuzzer over `fuzz::compose_merge`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::compose_merge(data));
