//! Cuts the power.
