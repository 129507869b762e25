//! See `kerolox_protocol::fuzzing::frame_split`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kerolox_protocol::fuzzing::frame_split(bytes));
