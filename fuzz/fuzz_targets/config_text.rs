//! See `kerolox_config::fuzzing::config_text`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kerolox_config::fuzzing::config_text(bytes));
