//! See `kerolox_protocol::fuzzing::header_json`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kerolox_protocol::fuzzing::header_json(bytes));
