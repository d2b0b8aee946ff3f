//! See [`fuzz::bodies::annotation`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::bodies::annotation(bytes));
