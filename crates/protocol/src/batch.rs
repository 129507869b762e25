//! The body of a batch: several messages of one topic in one send.
//!
//! ```text
//! per message:
//! total i32 | magic i32, ignored | CRC i32, ignored | flag i32
//! body length i32, body | properties length i16, properties
//! ```
//! Reference: `MessageDecoder.encodeMessage`; section 6.5 of the wire reference.

use crate::record::PROPERTIES_BYTES_MAX;
use std::fmt;

/// Bytes of a message without body and properties.
pub const FIXED_BYTES: usize = 4 * 5 + 2;

/// One message of a batch, borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item<'a> {
    /// User flag.
    pub flag: i32,
    /// Body.
    pub body: &'a [u8],
    /// Property string.
    pub properties: &'a [u8],
}

/// The bytes are no batch; answered with code 13.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchError {
    /// They end inside a message.
    Short,
    /// A length is negative.
    Negative,
    /// The parts do not add up to the claimed total.
    Total {
        /// As claimed.
        claimed: i32,
        /// As added up.
        computed: usize,
    },
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BatchError::Short => f.write_str("the batch ends inside a message"),
            BatchError::Negative => f.write_str("the batch has a negative length"),
            BatchError::Total { claimed, computed } => {
                write!(f, "a message of the batch claims {claimed} bytes, its parts have {computed}")
            }
        }
    }
}
impl std::error::Error for BatchError {}

/// The messages of a batch; after an error comes nothing more.
pub fn iter(batch: &[u8]) -> impl Iterator<Item = Result<Item<'_>, BatchError>> {
    let mut rest = batch;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let next = split(rest);
        rest = next.map_or(&[], |(_, rest)| rest);
        Some(next.map(|(item, _)| item))
    })
}

fn split(batch: &[u8]) -> Result<(Item<'_>, &[u8]), BatchError> {
    let mut rest = batch;
    let claimed = number(&mut rest)?;
    let _magic = number(&mut rest)?;
    let _crc = number(&mut rest)?;
    let flag = number(&mut rest)?;
    let body_bytes = usize::try_from(number(&mut rest)?).map_err(|_| BatchError::Negative)?;
    let body = take(&mut rest, body_bytes)?;
    let (length, after) = rest.split_first_chunk().ok_or(BatchError::Short)?;
    rest = after;
    let properties_bytes = usize::try_from(i16::from_be_bytes(*length)).map_err(|_| BatchError::Negative)?;
    let properties = take(&mut rest, properties_bytes)?;
    let computed = batch.len() - rest.len();
    if usize::try_from(claimed) != Ok(computed) {
        return Err(BatchError::Total { claimed, computed });
    }
    Ok((Item { flag, body, properties }, rest))
}

fn number(rest: &mut &[u8]) -> Result<i32, BatchError> {
    let (head, tail) = rest.split_first_chunk().ok_or(BatchError::Short)?;
    *rest = tail;
    Ok(i32::from_be_bytes(*head))
}

fn take<'a>(rest: &mut &'a [u8], n: usize) -> Result<&'a [u8], BatchError> {
    let (head, tail) = rest.split_at_checked(n).ok_or(BatchError::Short)?;
    *rest = tail;
    Ok(head)
}

/// Appends one message. The caller has checked the sizes: properties at most 32 767 bytes, the body below 2 GiB.
pub fn push(out: &mut Vec<u8>, item: &Item<'_>) {
    assert!(item.properties.len() <= PROPERTIES_BYTES_MAX && item.body.len() < i32::MAX as usize / 2);
    let total = FIXED_BYTES + item.body.len() + item.properties.len();
    out.reserve(total);
    out.extend_from_slice(&(total as u32).to_be_bytes());
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&item.flag.to_be_bytes());
    out.extend_from_slice(&(item.body.len() as u32).to_be_bytes());
    out.extend_from_slice(item.body);
    out.extend_from_slice(&(item.properties.len() as u16).to_be_bytes());
    out.extend_from_slice(item.properties);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const VECTOR: &str = "000000220000000000000000000000000000000141000b554e49515f4b4559015531\
                          00000018000000000000000000000000000000024243\
                          0000";

    #[test]
    fn the_vector_of_the_reference() {
        let items = [
            Item { flag: 0, body: b"A", properties: b"UNIQ_KEY\x01U1" },
            Item { flag: 0, body: b"BC", properties: b"" },
        ];
        let mut out = Vec::new();
        items.iter().for_each(|item| push(&mut out, item));
        assert_eq!(out.iter().map(|b| format!("{b:02x}")).collect::<String>(), VECTOR);
        assert_eq!(iter(&out).collect::<Result<Vec<_>, _>>(), Ok(items.to_vec()));
    }

    #[test]
    fn broken_lengths_are_named_and_end_the_batch() {
        let mut one = Vec::new();
        push(&mut one, &Item { flag: 7, body: b"body", properties: b"" });
        for n in 1..one.len() {
            let found: Vec<_> = iter(&one[..n]).collect();
            assert_eq!(found, [Err(BatchError::Short)], "{n}");
        }
        let mut wrong = one.clone();
        wrong[3] += 1;
        wrong.extend_from_slice(&one);
        let claimed = i32::try_from(one.len()).unwrap() + 1;
        let found: Vec<_> = iter(&wrong).collect();
        assert_eq!(found, [Err(BatchError::Total { claimed, computed: one.len() })]);
        one[16] = 0xff;
        assert_eq!(iter(&one).collect::<Vec<_>>(), [Err(BatchError::Negative)]);
    }

    proptest! {
        #[test]
        fn a_batch_reads_back(items in proptest::collection::vec((any::<i32>(), "\\PC{0,20}", "[a-z\u{1}\u{2}]{0,20}"), 0..6)) {
            let mut out = Vec::new();
            for (flag, body, properties) in &items {
                push(&mut out, &Item { flag: *flag, body: body.as_bytes(), properties: properties.as_bytes() });
            }
            let found: Vec<_> = iter(&out).map(|item| item.unwrap()).map(|item| {
                (item.flag, String::from_utf8(item.body.to_vec()).unwrap(), String::from_utf8(item.properties.to_vec()).unwrap())
            }).collect();
            prop_assert_eq!(found, items);
        }

        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(iter(&bytes).count() <= bytes.len() / FIXED_BYTES + 1);
        }
    }
}
