//! See the crate head.
