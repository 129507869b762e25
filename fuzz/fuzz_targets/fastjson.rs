//! See `kerolox_protocol::fuzzing::lenient_json`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kerolox_protocol::fuzzing::lenient_json(bytes));
