//! Who believes to hold which queue of the orderly group.

use super::Oracle;

impl Oracle {
    /// A client was told that it holds a queue, by that life of the broker; it trusts that until then.
    pub fn locked(&mut self, queue: i32, client: &str, until: i64, (now, life): (i64, u32)) {
        if self.since(life).iter().any(|ending| ending.forgot_locks) {
            // Nobody else knows of it any more.
            return self.unlocked(queue, client);
        }
        let new = (client.to_owned(), until);
        let before = self.holders.insert(queue, new);
        match before {
            Some((other, trusted)) if other != client && trusted > now => self.violated(
                "I11",
                format!("queue {queue} is given to {client} while {other} holds it for {} ms", trusted - now),
            ),
            None => self.happened("a lock was given"),
            Some(_) => {}
        }
    }

    /// A client gave a queue back, or was told that it does not hold it any more.
    pub fn unlocked(&mut self, queue: i32, client: &str) {
        if self.holders.get(&queue).is_some_and(|(holder, _)| holder == client) {
            self.holders.remove(&queue);
        }
    }
}
