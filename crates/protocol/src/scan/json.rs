//! The pass over a JSON header: forward only, no recursion, no memory but the scratch.

use super::{Fixed, Peek, Scratch, Span, Unusual};
use crate::header::Language;

/// The header is at most 64 KiB and valid UTF-8; both were checked.
pub(super) fn scan(header: &str, scratch: &mut Scratch) -> Result<Fixed, Unusual> {
    let mut pass = Pass { bytes: header.as_bytes(), at: 0 };
    pass.header(|pass| pass.fields(header, scratch), |pass| pass.skip(header))
}

/// Steps over texts without looking into them.
pub(super) fn peek(header: &[u8]) -> Result<Peek, Unusual> {
    let mut pass = Pass { bytes: header, at: 0 };
    let fixed = pass.header(Pass::step_over_fields, Pass::step_over)?;
    Ok(Peek { code: fixed.code, opaque: fixed.opaque, flag: fixed.flag })
}

struct Pass<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Each byte the same.
const fn all(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// Marks the top bit of the first byte that ends a run of plain text: a quote, a backslash, a control
/// character. Bytes behind the first mark may be marked wrongly, which nobody asks.
fn stops(word: u64) -> u64 {
    let zero = |word: u64| word.wrapping_sub(all(1)) & !word;
    let control = word.wrapping_sub(all(0x20)) & !word;
    (zero(word ^ all(b'"')) | zero(word ^ all(b'\\')) | control) & all(0x80)
}

type Step<T> = Result<T, Unusual>;

impl Pass<'_> {
    /// The whole header; the caller says what to do with the fields and with unknown keys.
    fn header(
        &mut self,
        mut fields: impl FnMut(&mut Self) -> Step<()>,
        skip: impl Fn(&mut Self) -> Step<()>,
    ) -> Step<Fixed> {
        let mut fixed = Fixed::ABSENT;
        let mut seen = 0_u8;
        self.wanted(b'{')?;
        loop {
            let (start, end) = self.plain_text()?;
            self.wanted(b':')?;
            let bit = match self.bytes.get(start..end).unwrap_or(&[]) {
                b"code" => self.whole(&mut fixed.code).map(|()| 1)?,
                b"opaque" => self.whole(&mut fixed.opaque).map(|()| 2)?,
                b"flag" => self.whole(&mut fixed.flag).map(|()| 4)?,
                b"version" => self.whole(&mut fixed.version).map(|()| 8)?,
                b"language" => {
                    fixed.language = self.language()?;
                    16
                }
                b"extFields" => fields(self).map(|()| 32)?,
                _ => skip(self).map(|()| 0)?,
            };
            if seen & bit != 0 {
                return Err(Unusual);
            }
            seen |= bit;
            match self.next()? {
                b',' => {}
                b'}' => break,
                _ => return Err(Unusual),
            }
        }
        self.blanks();
        if self.at < self.bytes.len() || seen & 1 == 0 { Err(Unusual) } else { Ok(fixed) }
    }

    #[inline]
    fn blanks(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    #[inline]
    fn peek(&mut self) -> Step<u8> {
        match self.bytes.get(self.at) {
            // Nearly always: clients write compact JSON.
            Some(byte) if *byte > b' ' => Ok(*byte),
            _ => self.peek_behind_blanks(),
        }
    }

    #[cold]
    fn peek_behind_blanks(&mut self) -> Step<u8> {
        self.blanks();
        self.bytes.get(self.at).copied().ok_or(Unusual)
    }

    #[inline]
    fn next(&mut self) -> Step<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Ok(byte)
    }

    #[inline]
    fn wanted(&mut self, byte: u8) -> Step<()> {
        if self.next()? == byte { Ok(()) } else { Err(Unusual) }
    }

    /// Goes to the next quote, backslash or control character, and says which.
    #[inline]
    fn run(&mut self) -> Step<u8> {
        let mut rest = self.bytes.get(self.at..).unwrap_or(&[]);
        while let Some((word, after)) = rest.split_first_chunk::<8>() {
            let marks = stops(u64::from_le_bytes(*word));
            if marks != 0 {
                self.at += (marks.trailing_zeros() / 8) as usize;
                return self.bytes.get(self.at).copied().ok_or(Unusual);
            }
            self.at += 8;
            rest = after;
        }
        let plain = rest.iter().position(|b| *b < 0x20 || *b == b'"' || *b == b'\\').ok_or(Unusual)?;
        self.at += plain;
        rest.get(plain).copied().ok_or(Unusual)
    }

    /// A text without escapes: where it begins and ends.
    #[inline]
    fn plain_text(&mut self) -> Step<(usize, usize)> {
        self.wanted(b'"')?;
        let start = self.at;
        if self.run()? != b'"' {
            return Err(Unusual);
        }
        self.at += 1;
        Ok((start, self.at - 1))
    }

    /// A text of any kind.
    #[inline]
    fn text(&mut self, header: &str, out: &mut String) -> Step<Span> {
        self.wanted(b'"')?;
        let start = self.at;
        match self.run()? {
            b'"' => {
                self.at += 1;
                Ok(Span::new(start, self.at - 1))
            }
            b'\\' => self.escaped(start, header, out),
            _ => Err(Unusual),
        }
    }

    /// The rest of a text whose first backslash has been met.
    fn escaped(&mut self, start: usize, header: &str, out: &mut String) -> Step<Span> {
        let from = out.len();
        let mut plain_from = start;
        loop {
            let stop = self.run()?;
            out.push_str(header.get(plain_from..self.at).ok_or(Unusual)?);
            self.at += 1;
            match stop {
                b'"' => return Ok(Span::new(from, out.len()).in_scratch()),
                b'\\' => out.push(self.escape()?),
                _ => return Err(Unusual),
            }
            plain_from = self.at;
        }
    }

    fn escape(&mut self) -> Step<char> {
        let byte = *self.bytes.get(self.at).ok_or(Unusual)?;
        self.at += 1;
        Ok(match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(),
            _ => return Err(Unusual),
        })
    }

    fn unicode(&mut self) -> Step<char> {
        let digits = self.bytes.get(self.at..self.at + 4).ok_or(Unusual)?;
        self.at += 4;
        // The separators of property strings, which is what escapes are mostly for.
        match digits {
            b"0001" => return Ok('\u{1}'),
            b"0002" => return Ok('\u{2}'),
            _ => {}
        }
        let mut unit = 0;
        for digit in digits {
            unit = unit * 16 + char::from(*digit).to_digit(16).ok_or(Unusual)?;
        }
        // Halves of pairs are no characters; the general path joins them.
        char::from_u32(unit).ok_or(Unusual)
    }

    /// A whole number as a token: where it begins and ends, and its value. Others than plain decimal ones are
    /// unusual, also leading zeros, which JSON forbids, and the negative zero, which is a float to it.
    #[inline]
    fn integer(&mut self) -> Step<(usize, usize, i64)> {
        let first = self.peek()?;
        let start = self.at;
        let minus = usize::from(first == b'-');
        let mut value = 0_i64;
        let mut digits = 0;
        let rest = self.bytes.get(start + minus..).unwrap_or(&[]);
        for byte in rest {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                break;
            }
            // More than 18 digits are refused below, whatever they came to.
            value = value.wrapping_mul(10).wrapping_add(i64::from(digit));
            digits += 1;
        }
        if digits == 0 || digits > 18 || (rest.first() == Some(&b'0') && digits + minus > 1) {
            return Err(Unusual);
        }
        self.at = start + minus + digits;
        match rest.get(digits) {
            Some(b'.' | b'e' | b'E') => Err(Unusual),
            _ => Ok((start, self.at, if minus == 1 { -value } else { value })),
        }
    }

    fn whole(&mut self, place: &mut i32) -> Step<()> {
        let (_, _, value) = self.integer()?;
        *place = i32::try_from(value).map_err(|_| Unusual)?;
        Ok(())
    }

    fn language(&mut self) -> Step<Language> {
        if self.peek()? != b'"' {
            let (_, _, value) = self.integer()?;
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

    fn word(&mut self, word: &[u8]) -> Step<()> {
        let end = self.at + word.len();
        if self.bytes.get(self.at..end) != Some(word) {
            return Err(Unusual);
        }
        self.at = end;
        Ok(())
    }

    /// A scalar but a text: where it stands, or nothing for null. Nested values are unusual.
    fn bare(&mut self) -> Step<Option<Span>> {
        let first = self.peek()?;
        let start = self.at;
        match first {
            b'-' | b'0'..=b'9' => self.integer().map(|(start, end, _)| Some(Span::new(start, end))),
            b't' => self.word(b"true").map(|()| Some(Span::new(start, start + 4))),
            b'f' => self.word(b"false").map(|()| Some(Span::new(start, start + 5))),
            b'n' => self.word(b"null").map(|()| None),
            _ => Err(Unusual),
        }
    }

    /// An unknown key's value: judged, and forgotten.
    fn skip(&mut self, header: &str) -> Step<()> {
        match self.peek()? {
            b'"' => self.text(header, &mut String::new()).map(|_| ()),
            _ => self.bare().map(|_| ()),
        }
    }

    fn fields(&mut self, header: &str, scratch: &mut Scratch) -> Step<()> {
        self.entries(|pass, (start, end)| {
            let value = match pass.peek()? {
                b'"' => Some(pass.text(header, &mut scratch.text)?),
                _ => pass.bare()?,
            };
            value.map_or(Ok(()), |value| scratch.note(Span::new(start, end), value))
        })
    }

    fn step_over_fields(&mut self) -> Step<()> {
        self.entries(|pass, _| pass.step_over())
    }

    fn step_over(&mut self) -> Step<()> {
        if self.peek()? != b'"' {
            return self.bare().map(|_| ());
        }
        self.at += 1;
        loop {
            match self.run()? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => return Err(Unusual),
            }
        }
        self.at += 1;
        Ok(())
    }

    /// The entries of a map, without nesting; `value` reads what follows the colon.
    fn entries(&mut self, mut value: impl FnMut(&mut Self, (usize, usize)) -> Step<()>) -> Step<()> {
        self.wanted(b'{')?;
        if self.peek()? == b'}' {
            self.at += 1;
            return Ok(());
        }
        loop {
            let name = self.plain_text()?;
            self.wanted(b':')?;
            value(self, name)?;
            match self.next()? {
                b',' => {}
                b'}' => return Ok(()),
                _ => return Err(Unusual),
            }
        }
    }
}
