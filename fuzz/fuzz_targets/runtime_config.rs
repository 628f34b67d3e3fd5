//! libFuzzer over `fuzz::runtime_config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::runtime_config(data));
