//! See [`fuzz::bodies::wfdb`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::bodies::wfdb(bytes));
