//! The binary as operators and clients meet it: processes, ports, files and frames.

mod dev;
mod harness;
mod original;
mod start_errors;
