//! See `kerolox_store::fuzzing::queue_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kerolox_store::fuzzing::queue_file(bytes));
