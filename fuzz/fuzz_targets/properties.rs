//! See `kerolox_protocol::fuzzing::property_string`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kerolox_protocol::fuzzing::property_string(bytes));
