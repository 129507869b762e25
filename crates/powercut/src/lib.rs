//! Cuts the power under the real broker on a real file system, and checks from outside that it kept its word.
//!
//! What a simulator assumes of a file system, this measures: ext4 on a loop device on a [disk](platter) of ours,
//! which forgets what was not flushed. The broker is the ordinary program; what it acknowledged is written down on
//! another file system, by the [oracle](kerolox_crash::oracle) of the kill loop.
//!
//! ```text
//! kerolox dev ─► ext4, with its journal ─► loop device ─► file on FUSE ─► platter: safe | cache
//!      ▲                                                                              └─ lost at a cut
//!      └── senders, errands, oracle (host's file system)
//! ```
//!
//! Everything runs in a [room](isolate) of its own, with root and `/dev/fuse`, and on Linux alone.

pub mod campaign;
pub mod errands;
pub mod faults;
pub mod fuse;
pub mod isolate;
pub mod machine;
pub mod platter;
pub mod trials;
