//! See `kerolox_protocol::fuzzing::scanner`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kerolox_protocol::fuzzing::scanner(bytes));
