//! The binary ("ROCKETMQ") form of a header.
//!
//! ```text
//! code i16 | language u8 | version i16 | opaque i32 | flag i32
//! remark length i32, remark | ext length i32, { key length i16, key, value length i32, value }*
//! ```
//! An empty string equals an absent one, as in the original.

use super::{EXT_FIELDS_MAX, Ext, Header, HeaderError, Language};

pub(super) fn decode(bytes: &[u8]) -> Result<Header, HeaderError> {
    let mut rest = Cursor(bytes);
    let code = i32::from(rest.i16()?);
    let language = Language(rest.take(1)?.first().copied().unwrap_or(0));
    let version = i32::from(rest.i16()?);
    let opaque = rest.i32()?;
    let flag = rest.i32()?;
    let remark_bytes = rest.length()?;
    let remark = text(rest.take(remark_bytes)?)?;
    let ext_bytes = rest.length()?;
    let mut fields = Cursor(rest.take(ext_bytes)?);
    let mut ext = Ext::default();
    while !fields.0.is_empty() {
        let key_bytes =
            usize::try_from(fields.i16()?).map_err(|_| HeaderError::Binary("negative key length"))?;
        let key = text(fields.take(key_bytes)?)?;
        let value_bytes = fields.length()?;
        let value = text(fields.take(value_bytes)?)?;
        if ext.len() == EXT_FIELDS_MAX {
            return Err(HeaderError::TooManyFields);
        }
        if let (Some(key), Some(value)) = (key, value) {
            ext.set(key, value);
        }
    }
    let ext = (!ext.is_empty()).then_some(ext);
    Ok(Header { code, language, version, opaque, flag, remark, ext })
}

pub(super) fn encode(header: &Header, out: &mut Vec<u8>) {
    // Codes beyond 16 bits cannot travel in this form; requests that use them never come in it either.
    out.extend_from_slice(&i16::try_from(header.code).unwrap_or(i16::MAX).to_be_bytes());
    out.push(header.language.0);
    out.extend_from_slice(&i16::try_from(header.version).unwrap_or(i16::MAX).to_be_bytes());
    out.extend_from_slice(&header.opaque.to_be_bytes());
    out.extend_from_slice(&header.flag.to_be_bytes());
    push_text(out, header.remark.as_deref().unwrap_or(""));
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    for (key, value) in header.ext.iter().flat_map(Ext::iter).filter(|(_, value)| !value.is_empty()) {
        let Ok(key_bytes) = i16::try_from(key.len()) else { continue };
        out.extend_from_slice(&key_bytes.to_be_bytes());
        out.extend_from_slice(key.as_bytes());
        push_text(out, value);
    }
    let ext_bytes = u32::try_from(out.len() - at - 4).unwrap_or(u32::MAX);
    out[at..at + 4].copy_from_slice(&ext_bytes.to_be_bytes());
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn text(bytes: &[u8]) -> Result<Option<String>, HeaderError> {
    let text = std::str::from_utf8(bytes).map_err(|_| HeaderError::Binary("text is not UTF-8"))?;
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], HeaderError> {
        let (head, tail) = self.0.split_at_checked(n).ok_or(HeaderError::Binary("it ends early"))?;
        self.0 = tail;
        Ok(head)
    }
    fn i16(&mut self) -> Result<i16, HeaderError> {
        let (head, tail) = self.0.split_first_chunk().ok_or(HeaderError::Binary("it ends early"))?;
        self.0 = tail;
        Ok(i16::from_be_bytes(*head))
    }
    fn i32(&mut self) -> Result<i32, HeaderError> {
        let (head, tail) = self.0.split_first_chunk().ok_or(HeaderError::Binary("it ends early"))?;
        self.0 = tail;
        Ok(i32::from_be_bytes(*head))
    }
    fn length(&mut self) -> Result<usize, HeaderError> {
        usize::try_from(self.i32()?).map_err(|_| HeaderError::Binary("negative length"))
    }
}
