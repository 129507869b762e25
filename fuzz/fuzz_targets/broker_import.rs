//! See `kerolox_broker::fuzzing::import`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kerolox_broker::fuzzing::import(bytes));
