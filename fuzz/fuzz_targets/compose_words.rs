//! libFuzzer over `fuzz::compose_words`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::compose_words(data));
