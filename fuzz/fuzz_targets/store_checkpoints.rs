//! See `kerolox_store::fuzzing::checkpoints`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kerolox_store::fuzzing::checkpoints(bytes));
