//! What queues and index need to know of a message, and how to read it out of a record.
//!
//! The send path knows these facts already and passes them; recovery reads them from the stored properties.
//! Both must agree, or a crash would change an index.

use kerolox_protocol::{
    Millis,
    record::{Record, SYS_TRANSACTION_MASK},
};

/// Topic of messages that wait for their delay level's time.
pub const DELAY_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";

const PREPARED: i32 = 4;
const ROLLBACK: i32 = 12;

/// What queues and index need to know of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dispatch<'a> {
    /// Java's hash of the tags, 0 without tags. See [`tags_code`].
    pub tags_code: i64,
    /// In the delay topic: the level; the entry then carries the due time instead of the hash. 0: none.
    pub delay_level: u32,
    /// `UNIQ_KEY`.
    pub unique_key: Option<&'a str>,
    /// `KEYS`, separated by blanks.
    pub keys: &'a str,
    /// Whether the index gets the keys: all but rollbacks.
    pub indexed: bool,
    /// Whether the queue gets an entry: all but prepared and rolled-back halves.
    pub queued: bool,
}

impl<'a> Dispatch<'a> {
    /// Reads it from a property string.
    pub fn of(topic: &str, sys_flag: i32, properties: &'a [u8]) -> Dispatch<'a> {
        let transaction = sys_flag & SYS_TRANSACTION_MASK;
        let mut dispatch = Dispatch {
            tags_code: 0,
            delay_level: 0,
            unique_key: None,
            keys: "",
            indexed: transaction != ROLLBACK,
            queued: transaction != PREPARED && transaction != ROLLBACK,
        };
        for (name, value) in pairs(properties) {
            match name {
                "TAGS" => dispatch.tags_code = tags_code(value),
                "KEYS" => dispatch.keys = value,
                "UNIQ_KEY" => dispatch.unique_key = Some(value),
                "DELAY" if topic == DELAY_TOPIC => dispatch.delay_level = value.parse().unwrap_or(0),
                _ => {}
            }
        }
        dispatch
    }

    /// Reads it from a stored record.
    pub fn of_record(record: &Record<'a>) -> Dispatch<'a> {
        Dispatch::of(record.topic, record.sys_flag, record.properties)
    }

    /// Calls `f` with every key that the index gets: the unique one, then the others.
    pub(crate) fn each_key(&self, f: impl FnMut(&str)) {
        let others = self.keys.split(' ').filter(|key| !key.is_empty());
        self.unique_key.into_iter().chain(others).for_each(f);
    }

    /// What the queue's entry carries for a record stored at `store_ms`.
    pub(crate) fn entry_code(&self, levels: &[Millis], store_ms: Millis) -> i64 {
        if self.delay_level == 0 {
            return self.tags_code;
        }
        // A level beyond the last counts as the last; without levels the original waits one second.
        let level = (self.delay_level as usize).min(levels.len());
        let delay = level.checked_sub(1).and_then(|at| levels.get(at)).copied().unwrap_or(Millis(1_000));
        (store_ms + delay).0
    }
}

/// Topic in which the broker notes its state; clients cannot send to it.
pub const STATE_TOPIC: &str = "rmq_sys_KEROLOX_STATE";
/// Property of a record of [`STATE_TOPIC`]: names of topics, separated by blanks, whose messages before this
/// record were deleted. Recovery needs it: the records themselves stay in the log, and a topic that was made
/// again counts its queues from 0.
pub const DROPS: &str = "KEROLOX_DROPS";

/// Topics whose earlier messages are gone as of this record.
pub(crate) fn drops<'a>(record: &Record<'a>) -> impl Iterator<Item = &'a str> {
    let noted = record.topic == STATE_TOPIC;
    let lists = pairs(record.properties).filter(move |(name, _)| noted && *name == DROPS);
    lists.flat_map(|(_, names)| names.split(' ')).filter(|name| !name.is_empty())
}

/// Pairs of a property string: `name 0x01 value` joined by `0x02`. Pieces without name or value, or that are
/// not UTF-8, are passed over, as the original does.
fn pairs(properties: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    properties.split(|b| *b == 2).filter_map(|piece| {
        let cut = piece.iter().position(|b| *b == 1)?;
        let name = std::str::from_utf8(piece.get(..cut)?).ok()?;
        let value = std::str::from_utf8(piece.get(cut + 1..)?).ok()?;
        (!name.is_empty() && !value.is_empty()).then_some((name, value))
    })
}

/// Java's hash of the tags, as queue entries carry it: over UTF-16 units, sign-extended.
pub fn tags_code(tags: &str) -> i64 {
    i64::from(java_hash(tags))
}

/// Java's `String.hashCode`.
pub(crate) fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_hash_as_in_java() {
        // Worked out by the definition; "TagA" also as the original stores it.
        assert_eq!(tags_code("TagA"), 2_598_919);
        assert_eq!(tags_code(""), 0);
        assert_eq!(tags_code("käse"), 3_410_411);
        assert_eq!(tags_code("😀"), 1_772_899);
        assert!(tags_code("a rather long tag that wraps around") < i64::from(i32::MAX));
    }

    #[test]
    fn the_dispatch_of_a_record_is_read_from_its_properties() {
        let properties = b"KEYS\x01a b\x02TAGS\x01TagA\x02UNIQ_KEY\x01ID\x02DELAY\x013\x02EMPTY\x01\x02\x01x";
        let found = Dispatch::of("T", 0, properties);
        assert_eq!(
            found,
            Dispatch {
                tags_code: 2_598_919,
                delay_level: 0,
                unique_key: Some("ID"),
                keys: "a b",
                indexed: true,
                queued: true,
            }
        );
        let levels = [Millis(1_000), Millis(5_000)];
        let delayed = Dispatch::of(DELAY_TOPIC, 0, properties);
        assert_eq!(delayed.delay_level, 3);
        assert_eq!(
            delayed.entry_code(&levels, Millis(100)),
            5_100,
            "beyond the last level counts as the last"
        );
        assert_eq!(found.entry_code(&levels, Millis(100)), 2_598_919);
        for (flag, queued, indexed) in
            [(0, true, true), (4, false, true), (8, true, true), (12, false, false)]
        {
            let found = Dispatch::of("T", flag, b"");
            assert_eq!((found.queued, found.indexed), (queued, indexed), "{flag}");
        }
    }
}
