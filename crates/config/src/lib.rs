//! The config declaration, value kinds and the properties format.
