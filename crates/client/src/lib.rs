//! The Rust SDK of Kerolox: framed connection, typed calls, route lookup.
