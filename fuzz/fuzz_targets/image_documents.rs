//! libFuzzer over `fuzz::image_documents`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::image_documents(data));
