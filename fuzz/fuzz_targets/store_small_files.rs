//! See `kerolox_store::fuzzing::small_files`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kerolox_store::fuzzing::small_files(bytes));
