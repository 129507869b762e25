//! The hot headers without a map and without allocation per field.
//!
//! A send, a pull, an offset commit and a heartbeat arrive in millions; reading their headers through
//! [`Header`](crate::header::Header) would cost more than storing the message. Here one forward pass notes
//! where each field stands, and the typed view borrows it. Whatever is odd (floats, surrogate escapes, nested
//! values, repeated keys, missing fields) is not judged here: it is [`Unusual`], and the caller takes the
//! general path, which knows. What is not unusual equals the general path's result; property tests and a fuzz
//! target hold both against each other.
//!
//! | Module | What it holds |
//! |---|---|
//! | `json`, `binary` | the two passes |
//! | [`typed`] | the typed views |
//! | [`answer`] | answers written straight into the buffer that is sent |

pub mod answer;
mod binary;
mod json;
pub mod typed;

pub use typed::{Commit, Hot, Pull, Send};

use crate::{
    frame::{Codec, HEADER_BYTES_MAX},
    header::Language,
};

/// Most fields that are noted; the hot requests have at most 14 of their own and a few of clients' extras.
const FIELDS_MAX: usize = 32;

/// The header is not of the plain kind; take the general path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unusual;

/// Memory for where fields stand and for texts that had to be unescaped; kept by the caller, so that it is
/// allocated once.
#[derive(Debug, Default)]
pub struct Scratch {
    fields: Vec<(Span, Span)>,
    text: String,
}

/// Where a text stands, in the header or in the scratch memory: start and end as 32-bit halves, the top bit of
/// the end for the scratch. One word, so that it travels in a register: as a struct of three it is stored in
/// pieces and loaded whole, which stalls for longer than the rest of the pass takes.
#[derive(Debug, Clone, Copy)]
struct Span(u64);

const IN_SCRATCH: u64 = 1 << 63;

impl Span {
    /// Both are at most 64 KiB: the header is, and what is unescaped is shorter than what was escaped.
    #[inline]
    fn new(start: usize, end: usize) -> Span {
        Span((end as u64) << 32 | start as u64)
    }
    #[inline]
    fn in_scratch(self) -> Span {
        Span(self.0 | IN_SCRATCH)
    }
    #[inline]
    fn is_in_scratch(self) -> bool {
        self.0 & IN_SCRATCH != 0
    }
    #[inline]
    fn range(self) -> std::ops::Range<usize> {
        let end = (self.0 & !IN_SCRATCH) >> 32;
        (self.0 as u32) as usize..end as usize
    }
    #[inline]
    fn is_empty(self) -> bool {
        self.range().is_empty()
    }
}

impl Scratch {
    #[inline]
    fn note(&mut self, name: Span, value: Span) -> Result<(), Unusual> {
        if self.fields.len() == FIELDS_MAX {
            return Err(Unusual);
        }
        self.fields.push((name, value));
        Ok(())
    }
}

/// The fixed parts of a header.
#[derive(Debug, Clone, Copy)]
struct Fixed {
    code: i32,
    opaque: i32,
    flag: i32,
    version: i32,
    language: Language,
}

impl Fixed {
    const ABSENT: Fixed = Fixed { code: 0, opaque: 0, flag: 0, version: 0, language: Language::OTHER };
}

/// A header's bytes, as far as they are known to be text.
#[derive(Clone, Copy)]
enum Source<'a> {
    Text(&'a str),
    Bytes(&'a [u8]),
}

/// A header whose fields are borrowed.
pub struct Scanned<'a> {
    fixed: Fixed,
    source: Source<'a>,
    scratch: &'a Scratch,
}

/// Reads a header in one pass.
pub fn scan<'a>(codec: Codec, header: &'a [u8], scratch: &'a mut Scratch) -> Result<Scanned<'a>, Unusual> {
    scratch.fields.clear();
    scratch.text.clear();
    if header.len() > HEADER_BYTES_MAX {
        return Err(Unusual);
    }
    let (fixed, source) = match codec {
        Codec::Json => {
            let text = std::str::from_utf8(header).map_err(|_| Unusual)?;
            (json::scan(text, scratch)?, Source::Text(text))
        }
        Codec::Binary => (binary::scan(header, scratch)?, Source::Bytes(header)),
    };
    Ok(Scanned { fixed, source, scratch })
}

/// What dispatch needs of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peek {
    /// Request or response code.
    pub code: i32,
    /// Number of the request.
    pub opaque: i32,
    /// Bits of the header.
    pub flag: i32,
}

/// Finds code, number and bits; cheaper than [`scan`] since nothing else is looked at. What is not looked at is
/// not judged: the header may still turn out to be broken.
pub fn peek(codec: Codec, header: &[u8]) -> Result<Peek, Unusual> {
    match codec {
        Codec::Json => json::peek(header),
        Codec::Binary => binary::peek(header),
    }
}

impl<'a> Scanned<'a> {
    /// Request code.
    pub fn code(&self) -> i32 {
        self.fixed.code
    }
    /// Number of the request.
    pub fn opaque(&self) -> i32 {
        self.fixed.opaque
    }
    /// Bits of the header.
    pub fn flag(&self) -> i32 {
        self.fixed.flag
    }
    /// Version ordinal of the sender.
    pub fn version(&self) -> i32 {
        self.fixed.version
    }
    /// Language of the sender.
    pub fn language(&self) -> Language {
        self.fixed.language
    }
    /// Whether the requester wants no answer.
    pub fn is_oneway(&self) -> bool {
        self.fixed.flag & crate::header::FLAG_ONEWAY != 0
    }

    #[inline]
    fn bytes(&self, span: Span) -> &'a [u8] {
        let whole = match (span.is_in_scratch(), self.source) {
            (true, _) => self.scratch.text.as_bytes(),
            (false, Source::Text(header)) => header.as_bytes(),
            (false, Source::Bytes(header)) => header,
        };
        whole.get(span.range()).unwrap_or(&[])
    }

    #[inline]
    fn text(&self, span: Span) -> Option<&'a str> {
        let range = span.range();
        match (span.is_in_scratch(), self.source) {
            (true, _) => self.scratch.text.get(range),
            (false, Source::Text(header)) => header.get(range),
            (false, Source::Bytes(header)) => std::str::from_utf8(header.get(range)?).ok(),
        }
    }

    /// Names and values in the order they came; a repeated name comes again, and the last one counts.
    pub fn fields(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.scratch.fields.iter().map(|(name, value)| (self.bytes(*name), self.bytes(*value)))
    }

    /// The value of a field.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        let named = |(known, _): &&(Span, Span)| self.bytes(*known) == name.as_bytes();
        self.scratch.fields.iter().rev().find(named).and_then(|(_, value)| self.text(*value))
    }
}

/// A decimal number as the hot requests carry it: an optional minus and at most 18 digits.
#[inline]
fn number(text: &[u8]) -> Result<i64, Unusual> {
    let (minus, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || digits.len() > 18 {
        return Err(Unusual);
    }
    let mut number = 0;
    for digit in digits {
        let value = digit.wrapping_sub(b'0');
        if value > 9 {
            return Err(Unusual);
        }
        number = number * 10 + i64::from(value);
    }
    Ok(if minus { -number } else { number })
}

#[cfg(test)]
mod tests;
