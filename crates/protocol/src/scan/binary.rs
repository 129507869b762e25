//! The pass over a binary header; layout in the head of the general path's module.

use super::{Fixed, Peek, Scratch, Span, Unusual};
use crate::header::Language;

pub(super) fn peek(header: &[u8]) -> Result<Peek, Unusual> {
    let mut rest = Cursor { bytes: header, at: 0 };
    let code = i32::from(rest.i16()?);
    rest.take(3)?;
    let (opaque, flag) = (rest.i32()?, rest.i32()?);
    Ok(Peek { code, opaque, flag })
}

pub(super) fn scan(header: &[u8], scratch: &mut Scratch) -> Result<Fixed, Unusual> {
    let mut rest = Cursor { bytes: header, at: 0 };
    let code = i32::from(rest.i16()?);
    let language = Language(rest.take(1)?.first().copied().ok_or(Unusual)?);
    let version = i32::from(rest.i16()?);
    let opaque = rest.i32()?;
    let flag = rest.i32()?;
    let remark_bytes = rest.i32()?;
    rest.text(remark_bytes, false)?;
    let ext_bytes = usize::try_from(rest.i32()?).map_err(|_| Unusual)?;
    let end = rest.at.checked_add(ext_bytes).ok_or(Unusual)?;
    rest.bytes = header.get(..end).ok_or(Unusual)?;
    // Mostly all of it is ASCII, lengths included; one look at the whole is cheaper than one per text.
    let ascii = rest.bytes.get(rest.at..).is_some_and(<[u8]>::is_ascii);
    while rest.at < end {
        let name_bytes = i32::from(rest.i16()?);
        let name = rest.text(name_bytes, ascii)?;
        let value_bytes = rest.i32()?;
        let value = rest.text(value_bytes, ascii)?;
        // An empty text equals an absent one.
        if !name.is_empty() && !value.is_empty() {
            scratch.note(name, value)?;
        }
    }
    Ok(Fixed { code, language, version, opaque, flag })
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    #[inline]
    fn take(&mut self, n: usize) -> Result<&'a [u8], Unusual> {
        let end = self.at.checked_add(n).ok_or(Unusual)?;
        let part = self.bytes.get(self.at..end).ok_or(Unusual)?;
        self.at = end;
        Ok(part)
    }
    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Unusual> {
        self.take(N)?.try_into().map_err(|_| Unusual)
    }
    #[inline]
    fn i16(&mut self) -> Result<i16, Unusual> {
        self.array().map(i16::from_be_bytes)
    }
    #[inline]
    fn i32(&mut self) -> Result<i32, Unusual> {
        self.array().map(i32::from_be_bytes)
    }
    #[inline]
    fn text(&mut self, bytes: i32, known_ascii: bool) -> Result<Span, Unusual> {
        let start = self.at;
        let text = self.take(usize::try_from(bytes).map_err(|_| Unusual)?)?;
        if !known_ascii && std::str::from_utf8(text).is_err() {
            return Err(Unusual);
        }
        Ok(Span::new(start, self.at))
    }
}
