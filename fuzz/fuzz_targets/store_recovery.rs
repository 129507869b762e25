//! See `kerolox_store::fuzzing::recovery`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kerolox_store::fuzzing::recovery(bytes));
