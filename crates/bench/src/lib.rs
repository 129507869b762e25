//! The load generator: closed loops over raw sockets, an echo limit, percentiles, a JSON report.
