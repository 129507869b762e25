//! The route table and its service.
