//! See `kerolox_protocol::fuzzing::batches`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kerolox_protocol::fuzzing::batches(bytes));
