//! See `kerolox_store::fuzzing::queue_ends`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| kerolox_store::fuzzing::queue_ends(bytes));
