//! The property string of a message: read and rewritten in one pass.
//!
//! Knows which properties decide something here; knows nothing of what is decided.

use kerolox_protocol::properties;

/// The properties that decide something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known<'a> {
    pub tags: &'a str,
    pub keys: &'a str,
    pub unique_key: Option<&'a str>,
    /// `DELAY`; 0 without, or if it is no number.
    pub delay_level: u32,
    /// `WAIT`: whether the answer waits for the disk.
    pub wait: bool,
    /// `TRAN_MSG`.
    pub transaction: bool,
    /// `PGROUP`.
    pub producer_group: Option<&'a str>,
    pub real_topic: Option<&'a str>,
    pub real_queue: Option<u32>,
    pub retry_topic: Option<&'a str>,
    pub origin_id: Option<&'a str>,
}

impl Default for Known<'_> {
    fn default() -> Self {
        Known {
            tags: "",
            keys: "",
            unique_key: None,
            delay_level: 0,
            wait: true,
            transaction: false,
            producer_group: None,
            real_topic: None,
            real_queue: None,
            retry_topic: None,
            origin_id: None,
        }
    }
}

impl<'a> Known<'a> {
    /// Reads them.
    pub(crate) fn read(text: &'a [u8]) -> Known<'a> {
        let mut known = Known::default();
        for (name, value) in pairs(text) {
            known.note(name, value);
        }
        known
    }

    fn note(&mut self, name: &str, value: &'a str) {
        match name {
            "TAGS" => self.tags = value,
            "KEYS" => self.keys = value,
            "UNIQ_KEY" => self.unique_key = Some(value),
            "DELAY" => self.delay_level = value.parse().unwrap_or(0),
            "WAIT" => self.wait = !value.eq_ignore_ascii_case("false"),
            "TRAN_MSG" => self.transaction = value.eq_ignore_ascii_case("true"),
            "PGROUP" => self.producer_group = Some(value),
            "REAL_TOPIC" => self.real_topic = Some(value),
            "REAL_QID" => self.real_queue = value.parse().ok(),
            "RETRY_TOPIC" => self.retry_topic = Some(value),
            "ORIGIN_MESSAGE_ID" => self.origin_id = Some(value),
            _ => {}
        }
    }
}

/// Pairs of a property string. Pieces without name or value, or that are not UTF-8, are passed over.
pub(crate) fn pairs(text: &[u8]) -> impl Iterator<Item = (&str, &str)> {
    properties::iter(text).filter_map(|entry| {
        Some((std::str::from_utf8(entry.name).ok()?, std::str::from_utf8(entry.value).ok()?))
    })
}

/// Appends all pairs of `text` but those named in `drop` to `out`, and says what was known among all of them.
pub(crate) fn copy<'a>(text: &'a [u8], drop: &[&str], out: &mut Vec<u8>) -> Known<'a> {
    let mut known = Known::default();
    out.reserve(text.len() + 1);
    for (name, value) in pairs(text) {
        known.note(name, value);
        if !drop.contains(&name) {
            properties::append(out, 0, name, value.as_bytes());
        }
    }
    known
}

/// Appends a pair. Separators inside a value would forge other properties: such a value is left out.
pub(crate) fn push(out: &mut Vec<u8>, name: &str, value: &str) {
    if !value.is_empty() && properties::is_clean(value) {
        properties::append(out, 0, name, value.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pass_reads_drops_and_copies() {
        let mut out = Vec::new();
        let text =
            b"TAGS\x01a\x02WAIT\x01false\x02broken\x02KEYS\x01k1 k2\x02UNIQ_KEY\x01ID\x02DELAY\x013\x02";
        let known = copy(text, &["WAIT", "CLUSTER"], &mut out);
        push(&mut out, "CLUSTER", "c");
        push(&mut out, "FORGED", "x\x02TAGS\x01b");
        assert_eq!(out, b"TAGS\x01a\x02KEYS\x01k1 k2\x02UNIQ_KEY\x01ID\x02DELAY\x013\x02CLUSTER\x01c");
        assert_eq!((known.tags, known.keys, known.unique_key), ("a", "k1 k2", Some("ID")));
        assert_eq!((known.delay_level, known.wait, known.transaction), (3, false, false));
    }

    #[test]
    fn odd_pairs_of_a_client_are_copied_as_they_are_read() {
        let mut out = Vec::new();
        copy(b"A\x01B\x01C\x02\x01D\x02E\x01\x02F\x01G", &[], &mut out);
        assert_eq!(out, b"A\x01B\x01C\x02F\x01G");
        assert_eq!(pairs(&out).collect::<Vec<_>>(), [("A", "B\u{1}C"), ("F", "G")]);
    }

    #[test]
    fn what_is_absent_has_its_default() {
        let known = Known::read(b"");
        assert!(known.wait && !known.transaction && known.delay_level == 0);
        assert_eq!(Known::read(b"DELAY\x01soon").delay_level, 0);
    }
}
