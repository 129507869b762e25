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

use crate::{frame::Codec, header::Language};

/// Most fields that are noted; the hot requests have at most 14 of their own and a few of clients' extras.
const FIELDS_MAX: usize = 32;

/// The header is not of the plain kind; take the general path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unusual;

/// Memory for texts that had to be unescaped; kept by the caller, so that it is allocated once.
#[derive(Debug, Default)]
pub struct Scratch(Vec<u8>);

/// Where a text stands: in the header or in the scratch memory.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: u32,
    end: u32,
    in_scratch: bool,
}

impl Span {
    const NONE: Span = Span { start: 0, end: 0, in_scratch: false };
}

/// What the passes note.
struct Raw {
    code: i32,
    opaque: i32,
    flag: i32,
    version: i32,
    language: Language,
    fields: [(Span, Span); FIELDS_MAX],
    count: usize,
}

impl Raw {
    fn new() -> Self {
        Raw {
            code: 0,
            opaque: 0,
            flag: 0,
            version: 0,
            language: Language::OTHER,
            fields: [(Span::NONE, Span::NONE); FIELDS_MAX],
            count: 0,
        }
    }

    fn note(&mut self, name: Span, value: Span) -> Result<(), Unusual> {
        *self.fields.get_mut(self.count).ok_or(Unusual)? = (name, value);
        self.count += 1;
        Ok(())
    }
}

/// A header whose fields are borrowed.
pub struct Scanned<'a> {
    raw: Raw,
    header: &'a [u8],
    scratch: &'a [u8],
}

/// Reads a header in one pass.
pub fn scan<'a>(codec: Codec, header: &'a [u8], scratch: &'a mut Scratch) -> Result<Scanned<'a>, Unusual> {
    scratch.0.clear();
    let mut raw = Raw::new();
    match codec {
        Codec::Json => json::scan(header, &mut raw, Some(&mut scratch.0))?,
        Codec::Binary => binary::scan(header, &mut raw)?,
    }
    Ok(Scanned { raw, header, scratch: &scratch.0 })
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

/// Finds code, number and bits; cheaper than [`scan`] since no field is kept. The fields are not judged: a
/// binary header that ends after these three may still be broken.
pub fn peek(codec: Codec, header: &[u8]) -> Result<Peek, Unusual> {
    match codec {
        Codec::Json => {
            let mut raw = Raw::new();
            json::scan(header, &mut raw, None)?;
            Ok(Peek { code: raw.code, opaque: raw.opaque, flag: raw.flag })
        }
        Codec::Binary => binary::peek(header),
    }
}

impl<'a> Scanned<'a> {
    /// Request code.
    pub fn code(&self) -> i32 {
        self.raw.code
    }
    /// Number of the request.
    pub fn opaque(&self) -> i32 {
        self.raw.opaque
    }
    /// Bits of the header.
    pub fn flag(&self) -> i32 {
        self.raw.flag
    }
    /// Version ordinal of the sender.
    pub fn version(&self) -> i32 {
        self.raw.version
    }
    /// Language of the sender.
    pub fn language(&self) -> Language {
        self.raw.language
    }
    /// Whether the requester wants no answer.
    pub fn is_oneway(&self) -> bool {
        self.raw.flag & crate::header::FLAG_ONEWAY != 0
    }

    fn text(&self, span: Span) -> &'a [u8] {
        let whole = if span.in_scratch { self.scratch } else { self.header };
        whole.get(span.start as usize..span.end as usize).unwrap_or(&[])
    }

    /// Names and values in the order they came; a repeated name comes again, and the last one counts.
    pub fn fields(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let noted = self.raw.fields.get(..self.raw.count).unwrap_or(&[]);
        noted.iter().map(|(name, value)| (self.text(*name), self.text(*value)))
    }

    /// The value of a field.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        let value = self.fields().filter(|(known, _)| *known == name.as_bytes()).last()?.1;
        std::str::from_utf8(value).ok()
    }
}

/// A decimal number as the hot requests carry it: an optional minus and at most 18 digits.
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
