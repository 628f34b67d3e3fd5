//! libFuzzer over `fuzz::dockerfile_edit`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::dockerfile_edit(data));
