//! See `kerolox_store::fuzzing::index_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kerolox_store::fuzzing::index_file(bytes));
