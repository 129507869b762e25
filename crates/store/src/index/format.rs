//! The layout of an index file. Pure: bytes to values and back.

use kerolox_protocol::{hash::JavaHash, ids::Millis};

/// Length of the header, bytes.
pub(super) const HEADER_LEN: u64 = 40;
/// Length of a slot, bytes.
pub(super) const SLOT_LEN: u64 = 4;
/// Length of an entry, bytes.
pub(super) const ENTRY_LEN: u64 = 20;
const _: () = assert!(HEADER_LEN == 4 * 8 + 2 * 4);
const _: () = assert!(ENTRY_LEN == 4 + 8 + 4 + 4);
// No slot lies in two sectors.
const _: () = assert!(HEADER_LEN.is_multiple_of(SLOT_LEN) && 512 % SLOT_LEN == 0);

/// How many slots and entries each file of an index has. A file does not say; all of one store agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    slots: u32,
    entries: u32,
}

impl Shape {
    /// `maxHashSlotNum` and `maxIndexNum`; `None` unless there is at least one slot and one usable entry
    /// (number 0 is never used) and both fit a Java `int`.
    pub fn new(slots: u32, entries: u32) -> Option<Shape> {
        let fits = |n: u32| i32::try_from(n).is_ok();
        (slots >= 1 && entries >= 2 && fits(slots) && fits(entries)).then_some(Shape { slots, entries })
    }

    /// Number of slots.
    pub fn slots(self) -> u32 {
        self.slots
    }

    /// Number of entries, the unused number 0 included.
    pub fn entries(self) -> u32 {
        self.entries
    }

    /// Length of a file, bytes.
    pub fn file_len(self) -> u64 {
        self.entry_at(self.entries)
    }

    pub(super) fn slot_of(self, hash: u32) -> u32 {
        hash % self.slots
    }

    pub(super) fn slot_at(self, slot: u32) -> u64 {
        HEADER_LEN + SLOT_LEN * u64::from(slot)
    }

    pub(super) fn entry_at(self, number: u32) -> u64 {
        self.slot_at(self.slots) + ENTRY_LEN * u64::from(number)
    }
}

impl Default for Shape {
    /// The original's: 5,000,000 slots, 20,000,000 entries, 420,000,040 bytes.
    fn default() -> Self {
        Shape { slots: 5_000_000, entries: 20_000_000 }
    }
}

/// The header of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Header {
    /// Store time of the first key, ms.
    pub begin_ms: i64,
    /// Store time of the last key, ms.
    pub end_ms: i64,
    /// Log offset of the first key's record.
    pub begin_at: i64,
    /// Log offset of the last key's record.
    pub end_at: i64,
    /// Slots in use.
    pub slots_used: u32,
    /// Number of the next entry; 1 in an empty file.
    pub next: u32,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_LEN as usize] {
        let mut out = [0; HEADER_LEN as usize];
        let longs = [self.begin_ms, self.end_ms, self.begin_at, self.end_at];
        let mut fields = out.chunks_exact_mut(8);
        for (to, value) in fields.by_ref().zip(longs) {
            to.copy_from_slice(&value.to_be_bytes());
        }
        let [a, b, c, d] = self.slots_used.to_be_bytes();
        let [e, f, g, h] = self.next.to_be_bytes();
        out[32..].copy_from_slice(&[a, b, c, d, e, f, g, h]);
        out
    }

    /// `None` when it holds what no file of this shape can. A count of 0 or less means 1, as in the original.
    pub(super) fn decode(bytes: &[u8; HEADER_LEN as usize], shape: Shape) -> Option<Header> {
        let long = |at: usize| bytes.get(at..)?.first_chunk().map(|b| i64::from_be_bytes(*b));
        let int = |at: usize| bytes.get(at..)?.first_chunk().map(|b| i32::from_be_bytes(*b));
        let header = Header {
            begin_ms: long(0)?,
            end_ms: long(8)?,
            begin_at: long(16)?,
            end_at: long(24)?,
            slots_used: u32::try_from(int(32)?).ok()?,
            next: u32::try_from(int(36)?.max(1)).ok()?,
        };
        let sound = header.next <= shape.entries
            && header.slots_used <= shape.slots
            // No search goes back before 1970: such a file would hide what is added to it.
            && header.begin_ms >= 0
            && header.begin_at >= 0
            && header.end_at >= header.begin_at;
        sound.then_some(header)
    }

    /// The time of an entry, to the second and counted from the file's first key.
    pub(super) fn time(&self, diff: u32) -> i64 {
        self.begin_ms.saturating_add(i64::from(diff) * 1000)
    }

    /// The inverse of [`Header::time`], clamped as the original does.
    pub(super) fn diff(&self, store_ms: i64) -> u32 {
        if self.begin_ms <= 0 {
            return 0;
        }
        let seconds = store_ms.saturating_sub(self.begin_ms) / 1000;
        u32::try_from(seconds.clamp(0, i64::from(i32::MAX))).unwrap_or(0)
    }

    /// Whether the file has a time in common with the range.
    pub(super) fn overlaps(&self, begin: Millis, end: Millis) -> bool {
        self.begin_ms <= end.0 && self.end_ms >= begin.0
    }
}

/// One entry of a file. All parts are non-negative on disk; anything else is no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub hash: u32,
    pub at: u64,
    /// Seconds since the file's first key.
    pub diff: u32,
    /// The next older entry of the slot; 0: none.
    pub prev: u32,
}

impl Entry {
    pub(super) fn encode(&self) -> [u8; ENTRY_LEN as usize] {
        let mut out = [0; ENTRY_LEN as usize];
        out[0..4].copy_from_slice(&self.hash.to_be_bytes());
        out[4..12].copy_from_slice(&self.at.to_be_bytes());
        out[12..16].copy_from_slice(&self.diff.to_be_bytes());
        out[16..20].copy_from_slice(&self.prev.to_be_bytes());
        out
    }

    /// Reads an entry. A negative `prev` ends the chain like 0, as in the original.
    pub(super) fn decode(bytes: &[u8; ENTRY_LEN as usize]) -> Option<Entry> {
        let int = |at: usize| bytes.get(at..)?.first_chunk().map(|b| i32::from_be_bytes(*b));
        let long = |at: usize| bytes.get(at..)?.first_chunk().map(|b| i64::from_be_bytes(*b));
        Some(Entry {
            hash: u32::try_from(int(0)?).ok()?,
            at: u64::try_from(long(4)?).ok()?,
            diff: u32::try_from(int(12)?).ok()?,
            prev: u32::try_from(int(16)?.max(0)).ok()?,
        })
    }
}

/// Reads a slot: the number of the newest entry of its chain if that is below `next`.
pub(super) fn slot(bytes: [u8; SLOT_LEN as usize], next: u32) -> Option<u32> {
    let number = u32::from_be_bytes(bytes);
    (number != 0 && number < next).then_some(number)
}

/// The hash of a key of a topic: Java's `String.hashCode` of `topic#key`, without its sign.
pub(super) fn key_hash(topic: &str, key: &str) -> u32 {
    let hash = JavaHash::default().text(topic).text("#").text(key).0;
    // `i32::MIN` has no positive counterpart; the original makes it 0.
    hash.checked_abs().map_or(0, i32::unsigned_abs)
}

/// Digits of a file name.
const NAME_LEN: usize = 17;

/// The name of a file made at a local time, as a number: `yyyyMMddHHmmssSSS`.
pub(super) fn name_of(local: Millis) -> u64 {
    let ms = local.0.max(0).unsigned_abs();
    let (year, month, day) = civil(ms / 86_400_000);
    let of_day = ms % 86_400_000;
    let (hour, minute) = (of_day / 3_600_000, of_day / 60_000 % 60);
    let date = (year * 100 + month) * 100 + day;
    ((date * 100 + hour) * 100 + minute) * 100_000 + of_day % 60_000
}

/// Year, month and day of a day counted from 1970, in the Gregorian calendar.
fn civil(days: u64) -> (u64, u64, u64) {
    // Counted in years that begin in March, so that the leap day comes last.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    ((year + era * 400 + carry) % 10_000, month, day)
}

pub(super) fn name_text(name: u64) -> String {
    format!("{name:0NAME_LEN$}")
}

pub(super) fn parse_name(text: &str) -> Option<u64> {
    let plain = text.len() == NAME_LEN && text.bytes().all(|b| b.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_file_has_the_size_of_the_original() {
        assert_eq!(Shape::default().file_len(), 420_000_040);
        assert_eq!(Shape::new(0, 5), None);
        assert_eq!(Shape::new(1, 1), None);
        assert_eq!(Shape::new(u32::MAX, 5), None);
    }

    #[test]
    fn hashes_are_those_of_java_strings() {
        // "".hashCode of known strings: "#" is 35; "a#b" = 97*961 + 35*31 + 98.
        assert_eq!(key_hash("", ""), 35);
        assert_eq!(key_hash("a", "b"), 97 * 961 + 35 * 31 + 98);
        // Beyond the basic plane a character is two units: U+1F600 is D83D DE00.
        assert_eq!(key_hash("", "\u{1f600}"), 35 * 961 + 0xd83d * 31 + 0xde00);
        // Longer ones wrap. These are what a JVM says: negative ones lose their sign,
        assert_eq!(key_hash("zzzzzz", "z"), 1_910_025_609);
        assert_eq!(key_hash("TopicTest", "order-17"), 870_421_241);
        // and the one that has no positive counterpart becomes 0.
        assert_eq!(key_hash("t", "qolzJ6g"), 0);
    }

    #[test]
    fn names_are_local_times() {
        // 2024-01-31T23:59:59.123 and a leap day.
        assert_eq!(name_text(name_of(Millis(1_706_745_599_123))), "20240131235959123");
        assert_eq!(name_text(name_of(Millis(951_827_696_789))), "20000229123456789");
        assert_eq!(name_text(name_of(Millis(0))), "19700101000000000");
        assert_eq!(parse_name("20240131235959123"), Some(20_240_131_235_959_123));
        for bad in ["2024013123595912", "2024013123595912x", "+0240131235959123", ""] {
            assert_eq!(parse_name(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_header_or_none(bytes: [u8; 40], slots in 1..100_u32, entries in 2..100_u32) {
            let shape = Shape::new(slots, entries).expect("in range");
            if let Some(header) = Header::decode(&bytes, shape) {
                prop_assert!(header.next >= 1 && header.next <= entries);
                prop_assert_eq!(Header::decode(&header.encode(), shape), Some(header));
            }
        }

        #[test]
        fn any_bytes_are_an_entry_or_none(bytes: [u8; 20]) {
            if let Some(entry) = Entry::decode(&bytes) {
                prop_assert_eq!(Entry::decode(&entry.encode()), Some(entry));
            }
        }

        #[test]
        fn names_grow_with_time(a in 0..253_402_300_799_000_i64, b in 0..253_402_300_799_000_i64) {
            prop_assert_eq!(a.cmp(&b), name_of(Millis(a)).cmp(&name_of(Millis(b))));
            prop_assert_eq!(parse_name(&name_text(name_of(Millis(a)))), Some(name_of(Millis(a))));
        }
    }
}
