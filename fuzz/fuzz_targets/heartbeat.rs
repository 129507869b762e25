//! See `kerolox_protocol::fuzzing::heartbeat`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kerolox_protocol::fuzzing::heartbeat(bytes));
