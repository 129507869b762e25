//! See `kerolox_broker::fuzzing::state`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kerolox_broker::fuzzing::state(bytes));
