//! libFuzzer over `fuzz::runtime_bundle`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::runtime_bundle(data));
