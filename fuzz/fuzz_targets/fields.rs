//! See `kerolox_protocol::fuzzing::typed_fields`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kerolox_protocol::fuzzing::typed_fields(bytes));
