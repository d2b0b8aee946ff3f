//! See [`fuzz::bodies::resequence`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::bodies::resequence(bytes));
