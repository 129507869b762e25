//! Development only.

fn main() {}
