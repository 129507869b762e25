//! See `kerolox_protocol::fuzzing::header_binary`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kerolox_protocol::fuzzing::header_binary(bytes));
