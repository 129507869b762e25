//! The pass over a binary header; layout in the head of the general path's module.

use super::{Peek, Raw, Span, Unusual};
use crate::header::Language;

pub(super) fn peek(header: &[u8]) -> Result<Peek, Unusual> {
    let mut rest = Cursor { bytes: header, at: 0 };
    let code = i32::from(rest.i16()?);
    rest.take(3)?;
    let (opaque, flag) = (rest.i32()?, rest.i32()?);
    Ok(Peek { code, opaque, flag })
}

pub(super) fn scan(header: &[u8], raw: &mut Raw) -> Result<(), Unusual> {
    let mut rest = Cursor { bytes: header, at: 0 };
    raw.code = i32::from(rest.i16()?);
    raw.language = Language(rest.take(1)?.first().copied().ok_or(Unusual)?);
    raw.version = i32::from(rest.i16()?);
    raw.opaque = rest.i32()?;
    raw.flag = rest.i32()?;
    let remark_bytes = rest.i32()?;
    rest.text(remark_bytes)?;
    let ext_bytes = usize::try_from(rest.i32()?).map_err(|_| Unusual)?;
    let end = rest.at.checked_add(ext_bytes).filter(|end| *end <= header.len()).ok_or(Unusual)?;
    rest.bytes = header.get(..end).ok_or(Unusual)?;
    while rest.at < end {
        let name_bytes = i32::from(rest.i16()?);
        let name = rest.text(name_bytes)?;
        let value_bytes = rest.i32()?;
        let value = rest.text(value_bytes)?;
        // An empty text equals an absent one.
        if name.start < name.end && value.start < value.end {
            raw.note(name, value)?;
        }
    }
    Ok(())
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], Unusual> {
        let end = self.at.checked_add(n).ok_or(Unusual)?;
        let part = self.bytes.get(self.at..end).ok_or(Unusual)?;
        self.at = end;
        Ok(part)
    }
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Unusual> {
        self.take(N)?.try_into().map_err(|_| Unusual)
    }
    fn i16(&mut self) -> Result<i16, Unusual> {
        self.array().map(i16::from_be_bytes)
    }
    fn i32(&mut self) -> Result<i32, Unusual> {
        self.array().map(i32::from_be_bytes)
    }
    fn text(&mut self, bytes: i32) -> Result<Span, Unusual> {
        let start = self.at;
        let text = self.take(usize::try_from(bytes).map_err(|_| Unusual)?)?;
        std::str::from_utf8(text).map_err(|_| Unusual)?;
        let place = |at: usize| u32::try_from(at).map_err(|_| Unusual);
        Ok(Span { start: place(start)?, end: place(self.at)?, in_scratch: false })
    }
}
