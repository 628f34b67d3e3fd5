//! libFuzzer over `fuzz::net_names`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::net_names(data));
