//! The index against the log: every key finds every record that has it, and nothing else.

use super::Oracle;
use crate::{rec::key_hash, walk::Walk};
use std::collections::BTreeSet;

impl Oracle {
    /// Asks the index for each topic and key of the log. `ask` gives positions, each once.
    pub fn index_is(
        &mut self,
        walk: &Walk,
        when: &str,
        ask: impl Fn(&str, &str) -> Result<Vec<u64>, String>,
    ) {
        for ((topic, key), wanted) in walk.index() {
            let found = match ask(topic, key) {
                Ok(found) => found,
                Err(why) => {
                    return self.violated("I15", format!("{when}: the index of {topic} {key}: {why}"));
                }
            };
            let n = found.len();
            let found: BTreeSet<u64> = found.into_iter().collect();
            if found.len() != n {
                return self.violated("I15", format!("{when}: {topic} {key} is found twice at one place"));
            }
            let hash = key_hash(topic, key).unsigned_abs();
            let is_harmed = |at: &&u64| self.rot.has_key(hash, **at);
            if let Some(at) = wanted.difference(&found).find(|at| !is_harmed(at)) {
                return self
                    .violated("I15", format!("{when}: the index does not find {topic} {key} at {at}"));
            }
            let is_rotten = |at: &&u64| is_harmed(at) || self.rot.was_at(**at);
            if let Some(at) = found.difference(&wanted).find(|at| !is_rotten(at)) {
                return self
                    .violated("I15", format!("{when}: {topic} {key} is not at {at}, but found there"));
            }
        }
    }
}
