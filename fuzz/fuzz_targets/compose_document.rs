//! libFuzzer over `fuzz::compose_document`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::compose_document(data));
