//! libFuzzer over `fuzz::volume_restore`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::volume_restore(data));
