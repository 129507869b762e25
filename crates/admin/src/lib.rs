//! Cluster operations as typed functions, and the CLI verbs that print them.
