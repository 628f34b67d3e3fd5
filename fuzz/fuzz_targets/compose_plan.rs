//! libFuzzer over `fuzz::compose_plan`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::compose_plan(data));
