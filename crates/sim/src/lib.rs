//! The simulator: virtual time, faulty disk and network, checkers.
