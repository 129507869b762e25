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
        for entry in properties::iter(text) {
            known.note(entry.name, entry.value);
        }
        known
    }

    /// Names are compared as bytes, and only values that count are checked to be text: this is done for every
    /// message.
    fn note(&mut self, name: &[u8], value: &'a [u8]) {
        let text = || std::str::from_utf8(value).ok();
        match name {
            b"TAGS" => self.tags = text().unwrap_or(self.tags),
            b"KEYS" => self.keys = text().unwrap_or(self.keys),
            b"UNIQ_KEY" => self.unique_key = text().or(self.unique_key),
            b"DELAY" => {
                self.delay_level = text().map_or(self.delay_level, |value| value.parse().unwrap_or(0));
            }
            b"WAIT" => self.wait = text().map_or(self.wait, |value| !value.eq_ignore_ascii_case("false")),
            b"TRAN_MSG" => {
                self.transaction =
                    text().map_or(self.transaction, |value| value.eq_ignore_ascii_case("true"));
            }
            b"PGROUP" => self.producer_group = text().or(self.producer_group),
            b"REAL_TOPIC" => self.real_topic = text().or(self.real_topic),
            b"REAL_QID" => self.real_queue = text().map_or(self.real_queue, |value| value.parse().ok()),
            b"RETRY_TOPIC" => self.retry_topic = text().or(self.retry_topic),
            b"ORIGIN_MESSAGE_ID" => self.origin_id = text().or(self.origin_id),
            _ => {}
        }
    }
}

/// Appends all pairs of `text` but those named in `drop` to `out`, and says what was known among all of them.
/// Pieces without name or value, or that are not UTF-8, are passed over.
pub(crate) fn copy<'a>(text: &'a [u8], drop: &[&str], out: &mut Vec<u8>) -> Known<'a> {
    let mut known = Known::default();
    out.reserve(text.len() + 1);
    // Pieces end at ASCII characters: where the whole is text, each of them is.
    let is_text = std::str::from_utf8(text).is_ok();
    let is_odd = |piece: &[u8]| !is_text && std::str::from_utf8(piece).is_err();
    for properties::Entry { name, value, .. } in properties::iter(text) {
        if is_odd(name) || is_odd(value) {
            continue;
        }
        known.note(name, value);
        if !drop.iter().any(|drop| drop.as_bytes() == name) {
            properties::append(out, 0, name, value);
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
        let read: Vec<_> = properties::iter(&out).map(|entry| (entry.name, entry.value)).collect();
        assert_eq!(read, [(&b"A"[..], &b"B\x01C"[..]), (b"F", b"G")]);
    }

    #[test]
    fn what_is_absent_has_its_default() {
        let known = Known::read(b"");
        assert!(known.wait && !known.transaction && known.delay_level == 0);
        assert_eq!(Known::read(b"DELAY\x01soon").delay_level, 0);
    }
}
