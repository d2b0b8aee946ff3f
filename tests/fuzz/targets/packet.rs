//! See [`fuzz::bodies::packet`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::bodies::packet(bytes));
