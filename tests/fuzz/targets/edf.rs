//! See [`fuzz::bodies::edf`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::bodies::edf(bytes));
