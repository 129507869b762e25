//! See `kerolox_namesrv::fuzzing::namesrv_text`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kerolox_namesrv::fuzzing::namesrv_text(bytes));
