//! The property string of a message: `name 0x01 value 0x02 name 0x01 value …`.
//!
//! Some clients end it with 0x02, some do not; both are read, and [`append`] keeps whichever it finds. Entries
//! without a name, a separator or a value do not exist, as in the original. Of a repeated name the last entry
//! counts. Nothing here allocates but what the caller's buffer needs.
//!
//! Values are bytes: most are UTF-8, none must be. Reference: `MessageDecoder`, `MessageConst`; section 6.2 of
//! the wire reference.

/// Between name and value.
pub const NAME_END: u8 = 1;
/// Between entries.
pub const ENTRY_END: u8 = 2;

macro_rules! keys {
    ($( #[doc = $doc:literal] $name:ident = $wire:literal; )*) => {
        $( #[doc = $doc] pub const $name: &str = $wire; )*
        /// All system keys: users may not set them.
        pub const SYSTEM_KEYS: &[&str] = &[$( $wire, )*];
    };
}

keys! {
    /// Index keys, separated by blanks; the user's.
    KEYS = "KEYS";
    /// The tag; the user's.
    TAGS = "TAGS";
    /// Whether the send waits until the message is stored; absent means yes. Not stored.
    WAIT = "WAIT";
    /// Delay level, 1 to 18.
    DELAY = "DELAY";
    /// Topic of a retried message as first sent.
    RETRY_TOPIC = "RETRY_TOPIC";
    /// Topic that a delayed or half message waits for.
    REAL_TOPIC = "REAL_TOPIC";
    /// Queue that a delayed or half message waits for.
    REAL_QID = "REAL_QID";
    /// `true` on a half message.
    TRAN_MSG = "TRAN_MSG";
    /// Producer group of a half message.
    PGROUP = "PGROUP";
    /// Unique id, made by the client.
    UNIQ_KEY = "UNIQ_KEY";
    /// Oldest offset of the queue; added by the client on receipt.
    MIN_OFFSET = "MIN_OFFSET";
    /// Offset after the newest message of the queue; added by the client on receipt.
    MAX_OFFSET = "MAX_OFFSET";
    /// Legacy.
    BUYER_ID = "BUYER_ID";
    /// Offset message id of a retried message as first sent.
    ORIGIN_MESSAGE_ID = "ORIGIN_MESSAGE_ID";
    /// Legacy.
    TRANSFER_FLAG = "TRANSFER_FLAG";
    /// Legacy.
    CORRECTION_FLAG = "CORRECTION_FLAG";
    /// Legacy.
    MQ2_FLAG = "MQ2_FLAG";
    /// How often a message was consumed in vain, in retries that clients send.
    RECONSUME_TIME = "RECONSUME_TIME";
    /// Limit of retries, in retries that clients send.
    MAX_RECONSUME_TIMES = "MAX_RECONSUME_TIMES";
    /// Region of the broker, for traces.
    MSG_REGION = "MSG_REGION";
    /// Whether traces are wanted.
    TRACE_ON = "TRACE_ON";
    /// When consumption began; in the consumer's memory only.
    CONSUME_START_TIME = "CONSUME_START_TIME";
    /// First half-queue offset of a half message that was stored again.
    TRAN_PREPARED_QUEUE_OFFSET = "TRAN_PREPARED_QUEUE_OFFSET";
    /// How often a half message was checked.
    TRANSACTION_CHECK_TIMES = "TRANSACTION_CHECK_TIMES";
    /// Seconds before the first check of a half message.
    CHECK_IMMUNITY_TIME_IN_SECONDS = "CHECK_IMMUNITY_TIME_IN_SECONDS";
    /// Namespace, from the client.
    INSTANCE_ID = "INSTANCE_ID";
    /// Ties a reply to its request.
    CORRELATION_ID = "CORRELATION_ID";
    /// Client id of the requester.
    REPLY_TO_CLIENT = "REPLY_TO_CLIENT";
    /// How long a requester waits, in milliseconds.
    TTL = "TTL";
    /// `reply` on replies.
    MSG_TYPE = "MSG_TYPE";
    /// When a request came, Unix milliseconds.
    ARRIVE_TIME = "ARRIVE_TIME";
    /// When a reply was passed on, Unix milliseconds.
    PUSH_REPLY_TIME = "PUSH_REPLY_TIME";
    /// Name of the cluster; on every stored message.
    CLUSTER = "CLUSTER";
    /// Queues a message is also put into, separated by commas.
    INNER_MULTI_DISPATCH = "INNER_MULTI_DISPATCH";
    /// Its offsets there.
    INNER_MULTI_QUEUE_OFFSET = "INNER_MULTI_QUEUE_OFFSET";
    /// Id of a transaction, legacy.
    TRANSACTION_ID = "__transactionId__";
    /// When a message is due, Unix milliseconds; ONS and cloud clients.
    STARTDELIVERTIME = "__STARTDELIVERTIME";
    /// Unique ids of the messages inside, 5.x.
    EXTEND_UNIQ_INFO = "EXTEND_UNIQ_INFO";
    /// Number of messages inside, 5.x.
    INNER_NUM = "INNER_NUM";
    /// Queue offset of the first message inside, 5.x.
    INNER_BASE = "INNER_BASE";
    /// Receipt of a pop, 5.x.
    POP_CK = "POP_CK";
    /// Place of that receipt, 5.x.
    POP_CK_OFFSET = "POP_CK_OFFSET";
    /// When a message was first popped, 5.x.
    FIRST_POP_TIME = "1ST_POP_TIME";
    /// Key that keeps messages in order, 5.x.
    SHARDINGKEY = "__SHARDINGKEY";
    /// 5.x.
    FORWARD_QUEUE_ID = "PROPERTY_FORWARD_QUEUE_ID";
    /// 5.x.
    REDIRECT = "REDIRECT";
    /// Context of a trace, 5.x.
    TRACE_CONTEXT = "TRACE_CONTEXT";
    /// Delay in seconds, 5.x timers.
    TIMER_DELAY_SEC = "TIMER_DELAY_SEC";
    /// Delay in milliseconds, 5.x timers.
    TIMER_DELAY_MS = "TIMER_DELAY_MS";
    /// When a message is due, Unix milliseconds, 5.x timers.
    TIMER_DELIVER_MS = "TIMER_DELIVER_MS";
    /// 5.x timers.
    TIMER_ENQUEUE_MS = "TIMER_ENQUEUE_MS";
    /// 5.x timers.
    TIMER_DEQUEUE_MS = "TIMER_DEQUEUE_MS";
    /// 5.x timers.
    TIMER_ROLL_TIMES = "TIMER_ROLL_TIMES";
    /// When a message is due, as the broker keeps it, 5.x timers.
    TIMER_OUT_MS = "TIMER_OUT_MS";
    /// Unique id of the message to take back, 5.x timers.
    TIMER_DEL_UNIQKEY = "TIMER_DEL_UNIQKEY";
    /// 5.x timers.
    TIMER_DELAY_LEVEL = "TIMER_DELAY_LEVEL";
    /// Address of the producer, 5.x.
    BORNHOST = "__BORNHOST";
    /// Time of the producer, 5.x.
    BORN_TIMESTAMP = "BORN_TIMESTAMP";
    /// Topic of a dead letter as first sent, 5.x.
    DLQ_ORIGIN_TOPIC = "DLQ_ORIGIN_TOPIC";
    /// Id of a dead letter as first sent, 5.x.
    DLQ_ORIGIN_MESSAGE_ID = "DLQ_ORIGIN_MESSAGE_ID";
    /// Checksum of the record, 5.x.
    CRC32 = "__CRC32#";
}

/// Prefix of 5.x keys that are not stored.
pub const TRANSIENT_PREFIX: &str = "__RMQ.TRANSIENT.";

/// One entry and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Name.
    pub name: &'a [u8],
    /// Value.
    pub value: &'a [u8],
    /// Where it starts in the text.
    start: usize,
    /// Where the next starts, behind its separator.
    end: usize,
}

/// Entries in order.
pub fn iter(text: &[u8]) -> Iter<'_> {
    Iter { text, at: 0 }
}

/// See [`iter`].
#[derive(Debug, Clone)]
pub struct Iter<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        loop {
            let start = self.at;
            let rest = self.text.get(start..).filter(|rest| !rest.is_empty())?;
            // One pass: the first separator of either kind, then on to the end of the entry.
            let name_end = rest.iter().position(|b| *b == NAME_END || *b == ENTRY_END).unwrap_or(rest.len());
            if rest.get(name_end) != Some(&NAME_END) {
                self.at = start + name_end + 1;
                continue;
            }
            let (name, value) = (rest.get(..name_end)?, rest.get(name_end + 1..)?);
            let value_end = value.iter().position(|b| *b == ENTRY_END);
            let value = value.get(..value_end.unwrap_or(value.len()))?;
            self.at = start + name_end + 1 + value.len() + usize::from(value_end.is_some());
            if !name.is_empty() && !value.is_empty() {
                return Some(Entry { name, value, start, end: self.at });
            }
        }
    }
}

/// The value of a name.
pub fn get<'a>(text: &'a [u8], name: &str) -> Option<&'a [u8]> {
    iter(text).filter(|entry| entry.name == name.as_bytes()).last().map(|entry| entry.value)
}

/// The value of a name, if it is UTF-8.
pub fn get_str<'a>(text: &'a [u8], name: &str) -> Option<&'a str> {
    get(text, name).and_then(|value| std::str::from_utf8(value).ok())
}

/// Whether a name or a value may stand in a property string.
pub fn is_clean(text: &str) -> bool {
    !text.bytes().any(|b| b == NAME_END || b == ENTRY_END)
}

/// Appends an entry to the property string that is `out` from `start` on. The name is clean, see [`is_clean`],
/// and nothing in the value ends the entry; a value that came from a client may hold the separator of names,
/// and is read back the same. No separator is left at the end: the next append adds it.
pub fn append(out: &mut Vec<u8>, start: usize, name: impl AsRef<[u8]>, value: &[u8]) {
    let name = name.as_ref();
    debug_assert!(!name.iter().any(|b| *b == NAME_END || *b == ENTRY_END) && !value.contains(&ENTRY_END));
    if out.len() > start && out.last() != Some(&ENTRY_END) {
        out.push(ENTRY_END);
    }
    out.extend_from_slice(name);
    out.push(NAME_END);
    out.extend_from_slice(value);
}

/// Appends `text` to `out` without the entries of those names. Ends with a separator only if `text` does.
pub fn strip(text: &[u8], names: &[&str], out: &mut Vec<u8>) {
    let start = out.len();
    let mut kept_to = 0;
    for entry in iter(text).filter(|entry| names.iter().any(|name| name.as_bytes() == entry.name)) {
        out.extend_from_slice(text.get(kept_to..entry.start).unwrap_or(&[]));
        kept_to = entry.end;
    }
    out.extend_from_slice(text.get(kept_to..).unwrap_or(&[]));
    let dangling = out.len() > start && out.last() == Some(&ENTRY_END) && text.last() != Some(&ENTRY_END);
    if dangling {
        out.pop();
    }
}

/// Builds a property string. Entries with an empty value are left out, as they would not be read.
#[derive(Debug, Clone, Default)]
pub struct Builder(Vec<u8>);

impl Builder {
    /// Adds an entry whose name and value are clean.
    pub fn set(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        if !value.is_empty() {
            append(&mut self.0, 0, name, value);
        }
        self
    }

    /// The property string.
    pub fn build(self) -> Vec<u8> {
        self.0
    }
}

/// What storing a message needs to know of its properties, found in one pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scan<'a> {
    /// [`TAGS`].
    pub tags: Option<&'a [u8]>,
    /// [`KEYS`].
    pub keys: Option<&'a [u8]>,
    /// [`UNIQ_KEY`].
    pub uniq_key: Option<&'a [u8]>,
    /// [`DELAY`].
    pub delay: Option<&'a [u8]>,
    /// [`WAIT`].
    pub wait: Option<&'a [u8]>,
    /// [`TRAN_MSG`].
    pub tran_msg: Option<&'a [u8]>,
    /// [`PGROUP`].
    pub producer_group: Option<&'a [u8]>,
    /// [`RETRY_TOPIC`].
    pub retry_topic: Option<&'a [u8]>,
    /// [`REAL_TOPIC`].
    pub real_topic: Option<&'a [u8]>,
    /// [`REAL_QID`].
    pub real_queue_id: Option<&'a [u8]>,
    /// [`ORIGIN_MESSAGE_ID`].
    pub origin_message_id: Option<&'a [u8]>,
    /// [`INNER_MULTI_DISPATCH`].
    pub multi_dispatch: Option<&'a [u8]>,
    /// [`CLUSTER`].
    pub cluster: Option<&'a [u8]>,
}

impl<'a> Scan<'a> {
    /// Looks through a property string once.
    pub fn new(text: &'a [u8]) -> Self {
        let mut scan = Scan::default();
        for Entry { name, value, .. } in iter(text) {
            let place = match name {
                b"TAGS" => &mut scan.tags,
                b"KEYS" => &mut scan.keys,
                b"UNIQ_KEY" => &mut scan.uniq_key,
                b"DELAY" => &mut scan.delay,
                b"WAIT" => &mut scan.wait,
                b"TRAN_MSG" => &mut scan.tran_msg,
                b"PGROUP" => &mut scan.producer_group,
                b"RETRY_TOPIC" => &mut scan.retry_topic,
                b"REAL_TOPIC" => &mut scan.real_topic,
                b"REAL_QID" => &mut scan.real_queue_id,
                b"ORIGIN_MESSAGE_ID" => &mut scan.origin_message_id,
                b"INNER_MULTI_DISPATCH" => &mut scan.multi_dispatch,
                b"CLUSTER" => &mut scan.cluster,
                _ => continue,
            };
            *place = Some(value);
        }
        scan
    }

    /// Whether the send waits until the message is stored.
    pub fn waits(&self) -> bool {
        self.wait.is_none_or(|value| value.eq_ignore_ascii_case(b"true"))
    }

    /// Whether this is a half message.
    pub fn is_half(&self) -> bool {
        self.tran_msg.is_some_and(|value| value.eq_ignore_ascii_case(b"true"))
    }

    /// The delay level; 0 without one, or if it is no number.
    pub fn delay_level(&self) -> i32 {
        let text = self.delay.and_then(|value| std::str::from_utf8(value).ok());
        text.and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// What the consume queue keeps of the tag.
    pub fn tag_code(&self) -> i64 {
        crate::hash::tag_code(self.tags)
    }

    /// The index keys: the words of [`KEYS`].
    pub fn index_keys(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.keys.unwrap_or(&[]).split(|b| *b == b' ').filter(|key| !key.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn pairs(text: &[u8]) -> Vec<(&[u8], &[u8])> {
        iter(text).map(|entry| (entry.name, entry.value)).collect()
    }

    #[test]
    fn both_dialects_and_broken_entries_are_read() {
        let expected: Vec<(&[u8], &[u8])> = vec![(b"a", b"1"), (b"b", b"2\x013")];
        for text in [
            &b"a\x011\x02b\x012\x013"[..],
            b"a\x011\x02b\x012\x013\x02",
            b"\x02\x02x\x02a\x011\x02\x01v\x02c\x01\x02b\x012\x013",
        ] {
            assert_eq!(pairs(text), expected, "{text:?}");
        }
        assert!(pairs(b"").is_empty());
        assert_eq!(get(b"a\x011\x02a\x012", "a"), Some(&b"2"[..]));
        assert_eq!(get_str(b"a\x01\xff", "a"), None);
    }

    #[test]
    fn an_append_adds_a_separator_only_where_one_is_missing() {
        for (before, after) in [
            (&b""[..], &b"CLUSTER\x01c"[..]),
            (b"a\x011", b"a\x011\x02CLUSTER\x01c"),
            (b"a\x011\x02", b"a\x011\x02CLUSTER\x01c"),
        ] {
            let mut out = b"before\x02x".to_vec();
            let start = out.len();
            out.extend_from_slice(before);
            append(&mut out, start, CLUSTER, b"c");
            assert_eq!(&out[start..], after);
        }
    }

    #[test]
    fn stripping_cuts_an_entry_wherever_it_stands() {
        for (before, after) in [
            (&b"WAIT\x01true"[..], &b""[..]),
            (b"WAIT\x01true\x02a\x011", b"a\x011"),
            (b"a\x011\x02WAIT\x01true", b"a\x011"),
            (b"a\x011\x02WAIT\x01true\x02", b"a\x011\x02"),
            (b"a\x011\x02WAIT\x01x\x02b\x012\x02WAIT\x01y", b"a\x011\x02b\x012"),
            (b"WAITS\x01true", b"WAITS\x01true"),
        ] {
            let mut out = b"x\x02".to_vec();
            strip(before, &[WAIT], &mut out);
            assert_eq!(&out[2..], after, "{before:?}");
        }
    }

    #[test]
    fn a_scan_finds_what_storing_needs() {
        let text = Builder::default()
            .set(TAGS, "TagA")
            .set(KEYS, " k1  k2")
            .set(WAIT, "false")
            .set(DELAY, "3")
            .set(TRAN_MSG, "true")
            .set(BUYER_ID, "")
            .build();
        let scan = Scan::new(&text);
        assert_eq!((scan.tag_code(), scan.delay_level()), (2_598_919, 3));
        assert_eq!((scan.waits(), scan.is_half()), (false, true));
        assert_eq!(scan.index_keys().collect::<Vec<_>>(), [b"k1", b"k2"]);
        let none = Scan::new(b"");
        assert_eq!((none.waits(), none.is_half(), none.delay_level(), none.tag_code()), (true, false, 0, 0));
        assert_eq!(Scan::new(b"DELAY\x01x").delay_level(), 0);
    }

    #[test]
    fn system_keys_are_listed_once() {
        let mut keys = SYSTEM_KEYS.to_vec();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), SYSTEM_KEYS.len());
    }

    proptest! {
        #[test]
        fn a_scan_is_what_the_reader_says(entries in proptest::collection::vec(
            (prop_oneof![Just("TAGS"), Just("KEYS"), Just("UNIQ_KEY"), Just("DELAY"), Just("WAIT"), Just("TRAN_MSG"), Just("RETRY_TOPIC"), Just("x")], "[a-z ]{0,4}"), 0..9),
            trailing: bool,
        ) {
            let mut text: Vec<u8> = entries.iter().map(|(name, value)| format!("{name}\u{1}{value}")).collect::<Vec<_>>().join("\u{2}").into();
            if trailing {
                text.push(ENTRY_END);
            }
            let map: BTreeMap<&str, &str> =
                entries.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (*name, &**value)).collect();
            for name in ["TAGS", "x", "WAIT"] {
                prop_assert_eq!(get_str(&text, name), map.get(name).copied());
            }
            let scan = Scan::new(&text);
            let of = |name: &str| map.get(name).map(|value| value.as_bytes());
            prop_assert_eq!((scan.tags, scan.keys, scan.uniq_key), (of("TAGS"), of("KEYS"), of("UNIQ_KEY")));
            prop_assert_eq!((scan.delay, scan.wait, scan.tran_msg, scan.retry_topic), (of("DELAY"), of("WAIT"), of("TRAN_MSG"), of("RETRY_TOPIC")));
            let mut stripped = Vec::new();
            strip(&text, &["WAIT", "x"], &mut stripped);
            let left: Vec<_> = iter(&text).filter(|e| e.name != b"WAIT" && e.name != b"x").map(|e| (e.name, e.value)).collect();
            prop_assert_eq!(pairs(&stripped), left);
        }

        #[test]
        fn any_bytes_are_properties(bytes in proptest::collection::vec(0u8..5, 0..40)) {
            let mut out = Vec::new();
            strip(&bytes, &["\u{3}"], &mut out);
            prop_assert!(out.len() <= bytes.len());
            prop_assert!(iter(&bytes).all(|entry| !entry.name.is_empty() && !entry.value.is_empty()));
        }
    }
}
