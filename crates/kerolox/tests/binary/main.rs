//! The binary as operators and clients meet it: processes, ports, files and frames.

mod dev;
mod harness;
mod malformed;
mod original;
mod samples;
mod start_errors;
mod verbs;
