//! A disk in memory that loses what was not synced, for tests and the simulator.
