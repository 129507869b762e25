//! The pass over a JSON header: forward only, no recursion, no memory but the scratch for escapes.

use super::{Raw, Span, Unusual, number};
use crate::header::Language;

/// Without a scratch the fields are walked over and not noted.
pub(super) fn scan(header: &[u8], raw: &mut Raw, mut scratch: Option<&mut Vec<u8>>) -> Result<(), Unusual> {
    // Once for the whole: then every text in it is UTF-8, as quotes and backslashes are ASCII.
    std::str::from_utf8(header).map_err(|_| Unusual)?;
    if u32::try_from(header.len()).is_err() {
        return Err(Unusual);
    }
    let mut pass = Pass { bytes: header, at: 0 };
    let mut seen = 0_u8;
    pass.wanted(b'{')?;
    loop {
        let key = pass.plain_text()?;
        pass.wanted(b':')?;
        let once = match header.get(key.0..key.1).unwrap_or(&[]) {
            b"code" => pass.whole(&mut raw.code, 1)?,
            b"opaque" => pass.whole(&mut raw.opaque, 2)?,
            b"flag" => pass.whole(&mut raw.flag, 4)?,
            b"version" => pass.whole(&mut raw.version, 8)?,
            b"language" => {
                raw.language = pass.language()?;
                16
            }
            b"extFields" => {
                pass.fields(raw, scratch.as_deref_mut())?;
                32
            }
            _ => {
                pass.skip()?;
                0
            }
        };
        if seen & once != 0 {
            return Err(Unusual);
        }
        seen |= once;
        match pass.next()? {
            b',' => {}
            b'}' => break,
            _ => return Err(Unusual),
        }
    }
    pass.blanks();
    if pass.at < header.len() || seen & 1 == 0 {
        return Err(Unusual);
    }
    Ok(())
}

struct Pass<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Bytes that end a run of plain text: quote, backslash and control characters.
const STOPS: [bool; 256] = {
    let mut stops = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        stops[byte] = true;
        byte += 1;
    }
    stops[b'"' as usize] = true;
    stops[b'\\' as usize] = true;
    stops
};

impl Pass<'_> {
    fn blanks(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    fn peek(&mut self) -> Result<u8, Unusual> {
        self.blanks();
        self.bytes.get(self.at).copied().ok_or(Unusual)
    }

    fn next(&mut self) -> Result<u8, Unusual> {
        let byte = self.peek()?;
        self.at += 1;
        Ok(byte)
    }

    fn wanted(&mut self, byte: u8) -> Result<(), Unusual> {
        if self.next()? == byte { Ok(()) } else { Err(Unusual) }
    }

    /// Goes to the next quote, backslash or control character.
    fn run(&mut self) -> Result<u8, Unusual> {
        let rest = self.bytes.get(self.at..).unwrap_or(&[]);
        let plain = rest.iter().position(|b| STOPS[usize::from(*b)]).ok_or(Unusual)?;
        self.at += plain;
        rest.get(plain).copied().ok_or(Unusual)
    }

    /// A text without escapes: where it begins and ends.
    fn plain_text(&mut self) -> Result<(usize, usize), Unusual> {
        self.wanted(b'"')?;
        let start = self.at;
        if self.run()? != b'"' {
            return Err(Unusual);
        }
        self.at += 1;
        Ok((start, self.at - 1))
    }

    /// A text of any kind.
    fn text(&mut self, scratch: Option<&mut Vec<u8>>) -> Result<Span, Unusual> {
        self.wanted(b'"')?;
        let start = self.at;
        match self.run()? {
            b'"' => {
                self.at += 1;
                Ok(Span { start: start as u32, end: (self.at - 1) as u32, in_scratch: false })
            }
            b'\\' => match scratch {
                Some(scratch) => self.escaped(start, scratch),
                None => self.escaped(start, &mut Discard),
            },
            _ => Err(Unusual),
        }
    }

    /// The rest of a text whose first backslash has been met.
    fn escaped<S: Sink>(&mut self, start: usize, out: &mut S) -> Result<Span, Unusual> {
        let from = out.len();
        let mut plain_from = start;
        loop {
            let stop = self.run()?;
            out.put(self.bytes.get(plain_from..self.at).unwrap_or(&[]));
            self.at += 1;
            match stop {
                b'"' => {
                    let place = |at: usize| u32::try_from(at).map_err(|_| Unusual);
                    return Ok(Span { start: place(from)?, end: place(out.len())?, in_scratch: true });
                }
                b'\\' => self.escape(out)?,
                _ => return Err(Unusual),
            }
            plain_from = self.at;
        }
    }

    fn escape<S: Sink>(&mut self, out: &mut S) -> Result<(), Unusual> {
        let byte = *self.bytes.get(self.at).ok_or(Unusual)?;
        self.at += 1;
        let plain = match byte {
            b'"' | b'\\' | b'/' => byte,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => return self.unicode(out),
            _ => return Err(Unusual),
        };
        out.put(&[plain]);
        Ok(())
    }

    fn unicode<S: Sink>(&mut self, out: &mut S) -> Result<(), Unusual> {
        let digits = self.bytes.get(self.at..self.at + 4).ok_or(Unusual)?;
        self.at += 4;
        // The separators of property strings, which is what escapes are mostly for.
        if let [b'0', b'0', b'0', low @ (b'1' | b'2')] = digits {
            out.put(&[low - b'0']);
            return Ok(());
        }
        let mut unit = 0;
        for digit in digits {
            unit = unit * 16 + char::from(*digit).to_digit(16).ok_or(Unusual)?;
        }
        // Halves of pairs are no characters; the general path joins them.
        let character = char::from_u32(unit).ok_or(Unusual)?;
        out.put(character.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }

    /// A whole number as a token: where it begins and ends. Others than plain decimal ones are unusual, also
    /// leading zeros, which JSON forbids, and the negative zero, which is a float to it.
    fn integer(&mut self) -> Result<(usize, usize), Unusual> {
        self.blanks();
        let start = self.at;
        let minus = usize::from(self.bytes.get(start) == Some(&b'-'));
        self.at += minus;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        let zero_first = self.bytes.get(start + minus) == Some(&b'0');
        let digits = self.at - start - minus;
        if digits == 0 || digits > 18 || (zero_first && digits + minus > 1) {
            return Err(Unusual);
        }
        match self.bytes.get(self.at) {
            Some(b'.' | b'e' | b'E') => Err(Unusual),
            _ => Ok((start, self.at)),
        }
    }

    fn whole(&mut self, place: &mut i32, bit: u8) -> Result<u8, Unusual> {
        let (start, end) = self.integer()?;
        let value = number(self.bytes.get(start..end).unwrap_or(&[]))?;
        *place = i32::try_from(value).map_err(|_| Unusual)?;
        Ok(bit)
    }

    fn language(&mut self) -> Result<Language, Unusual> {
        if self.peek()? != b'"' {
            let (start, end) = self.integer()?;
            let value = number(self.bytes.get(start..end).unwrap_or(&[]))?;
            return u8::try_from(value).map(Language).map_err(|_| Unusual);
        }
        let (start, end) = self.plain_text()?;
        let name = self.bytes.get(start..end).unwrap_or(&[]);
        // A number as a text is for the general path.
        match name.first() {
            Some(b'A'..=b'Z') => std::str::from_utf8(name).map(Language::from_name).map_err(|_| Unusual),
            _ => Err(Unusual),
        }
    }

    fn word(&mut self, word: &[u8]) -> Result<(), Unusual> {
        let end = self.at + word.len();
        if self.bytes.get(self.at..end) != Some(word) {
            return Err(Unusual);
        }
        self.at = end;
        Ok(())
    }

    /// A scalar: where its text stands, or nothing for null. Nested values are unusual.
    fn scalar(&mut self, scratch: Option<&mut Vec<u8>>) -> Result<Option<Span>, Unusual> {
        let span =
            |(start, end): (usize, usize)| Span { start: start as u32, end: end as u32, in_scratch: false };
        let first = self.peek()?;
        let start = self.at;
        match first {
            b'"' => self.text(scratch).map(Some),
            b'-' | b'0'..=b'9' => self.integer().map(span).map(Some),
            b't' => self.word(b"true").map(|()| Some(span((start, start + 4)))),
            b'f' => self.word(b"false").map(|()| Some(span((start, start + 5)))),
            b'n' => self.word(b"null").map(|()| None),
            _ => Err(Unusual),
        }
    }

    fn skip(&mut self) -> Result<(), Unusual> {
        self.scalar(None).map(|_| ())
    }

    fn fields(&mut self, raw: &mut Raw, mut scratch: Option<&mut Vec<u8>>) -> Result<(), Unusual> {
        self.wanted(b'{')?;
        if self.peek()? == b'}' {
            self.at += 1;
            return Ok(());
        }
        loop {
            let (start, end) = self.plain_text()?;
            self.wanted(b':')?;
            let noted = scratch.is_some();
            if let Some(value) = self.scalar(scratch.as_deref_mut())?
                && noted
            {
                raw.note(Span { start: start as u32, end: end as u32, in_scratch: false }, value)?;
            }
            match self.next()? {
                b',' => {}
                b'}' => return Ok(()),
                _ => return Err(Unusual),
            }
        }
    }
}

/// Where unescaped text goes.
trait Sink {
    fn put(&mut self, bytes: &[u8]);
    fn len(&self) -> usize;
}

impl Sink for Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
    fn len(&self) -> usize {
        Vec::len(self)
    }
}

/// For texts that nobody reads.
struct Discard;

impl Sink for Discard {
    fn put(&mut self, _: &[u8]) {}
    fn len(&self) -> usize {
        0
    }
}
