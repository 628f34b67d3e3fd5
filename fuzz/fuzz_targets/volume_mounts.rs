//! libFuzzer over `fuzz::volume_mounts`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::volume_mounts(data));
