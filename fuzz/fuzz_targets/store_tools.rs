//! See `kerolox_store::fuzzing::tools`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kerolox_store::fuzzing::tools(bytes));
