//! libFuzzer over `fuzz::net_words`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::net_words(data));
