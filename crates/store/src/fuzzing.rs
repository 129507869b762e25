//! What the fuzz targets do with the files of a store, in one place: `fuzz/fuzz_targets` runs these for hours, the
//! smoke tests below for a moment on mutations of whole stores.
//!
//! Each target takes any bytes and panics if a promise is broken. Files of one kind are taken as they are and put
//! into a store that is otherwise whole; for recovery the bytes are a list of [mutations](image) of whole
//! stores, so that every input reaches the code behind the parsers.
//!
//! **Promise of recovery.** It never panics. It opens, or says which file keeps it from that. A record that was
//! durable and whose bytes nobody touched is read as it was, or stands in a part that was reported with a line.
//! Who opens again finds the same. What is sent afterwards is read.

mod files;
mod image;
mod recovery;

pub use files::{checkpoints, index_file, log_file, queue_ends, queue_file, small_files};
pub use recovery::{recovery, tools};

/// Takes any bytes, and panics if a promise is broken.
pub type Target = fn(&[u8]);

/// All targets by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("store_recovery", recovery),
    ("store_tools", tools),
    ("store_log_file", log_file),
    ("store_queue_file", queue_file),
    ("store_index_file", index_file),
    ("store_queue_ends", queue_ends),
    ("store_checkpoints", checkpoints),
    ("store_small_files", small_files),
];

/// Inputs that a target can do something with.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    match target {
        "store_recovery" | "store_tools" => image::seeds(),
        _ => files::seeds(target),
    }
}

#[cfg(test)]
mod tests;
