//! Tag expressions: parse, check, evaluate.
