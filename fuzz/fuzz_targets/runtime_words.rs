//! libFuzzer over `fuzz::runtime_words`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::runtime_words(data));
