//! See `kerolox_protocol::fuzzing::bodies`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kerolox_protocol::fuzzing::bodies(bytes));
