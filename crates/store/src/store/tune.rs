//! Changing settings of an open store.
//!
//! What is built into files (sizes, paths, delay levels, the tables of the index) stays as it was opened; the
//! rest is read at each use, and so may change between two calls.

use crate::{options::Options, store::Store};

impl Store {
    /// Takes over everything that may change while the store is open, from `wanted`; the rest is ignored.
    ///
    /// A change of the flush mode counts from now on: what was visible stays so, and what waited for a flush
    /// under [`Flush::Sync`](crate::Flush::Sync) becomes visible under `Async` at once.
    pub fn tune(&mut self, wanted: &Options) {
        let own = &mut self.options;
        own.flush = wanted.flush;
        own.flush_interval = wanted.flush_interval;
        own.behind_interval = wanted.behind_interval;
        own.message_bytes_max = wanted.message_bytes_max;
        own.retention = wanted.retention.clone();
        own.memory_percent = wanted.memory_percent;
        self.show();
    }
}
