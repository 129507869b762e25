//! The string hash that tag codes and index keys are made of: Java's `String.hashCode`.
//!
//! It runs over UTF-16 units with wrapping 32-bit arithmetic, so that files and filters agree with the
//! original's whatever the text.

/// A hash that grows with each piece of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JavaHash(pub i32);

impl JavaHash {
    /// Adds text.
    pub fn text(self, text: &str) -> Self {
        match text.is_ascii() {
            true => self.ascii(text.as_bytes()),
            false => text.encode_utf16().fold(self, Self::unit),
        }
    }

    /// Adds bytes that should be UTF-8; what is not, counts as the replacement character, as Java decodes it.
    pub fn bytes(self, bytes: &[u8]) -> Self {
        match bytes.is_ascii() {
            true => self.ascii(bytes),
            false => self.text(&String::from_utf8_lossy(bytes)),
        }
    }

    /// Four bytes at a time: one after the other, each multiplication would wait for the one before.
    fn ascii(self, bytes: &[u8]) -> Self {
        const POWERS: [i32; 4] = [31 * 31 * 31, 31 * 31, 31, 1];
        let (fours, rest) = bytes.as_chunks::<4>();
        let add = |sum: i32, (byte, power): (&u8, i32)| sum + i32::from(*byte) * power;
        let head = fours.iter().fold(self.0, |hash, four| {
            let four = four.iter().zip(POWERS).fold(0, add);
            hash.wrapping_mul(31 * POWERS[0]).wrapping_add(four)
        });
        rest.iter().fold(JavaHash(head), |hash, byte| hash.unit(u16::from(*byte)))
    }

    fn unit(self, unit: u16) -> Self {
        JavaHash(self.0.wrapping_mul(31).wrapping_add(i32::from(unit)))
    }
}

/// The hash of a whole text.
pub fn hash(text: &str) -> i32 {
    JavaHash::default().text(text).0
}

/// What a consume queue keeps of a message's tag: its hash, or 0 without one.
pub fn tag_code(tag: Option<&[u8]>) -> i64 {
    tag.map_or(0, |tag| i64::from(JavaHash::default().bytes(tag).0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_javas() {
        for (text, expected) in [("TagA", 2_598_919), ("*", 42), ("a||b", 3_012_833), ("", 0)] {
            assert_eq!(hash(text), expected, "{text}");
        }
        // Outside the basic plane a character is two units: 0xD83D, 0xDE00.
        assert_eq!(hash("\u{1F600}"), 0xD83D_i32 * 31 + 0xDE00);
        assert_eq!(hash("ä"), 0xE4);
        assert_eq!(JavaHash::default().bytes(&[0xff]).0, 0xFFFD);
    }

    #[test]
    fn every_length_hashes_as_one_by_one() {
        let text: Vec<u8> = (0..64u8).map(|n| n.wrapping_mul(37) % 128).collect();
        for n in 0..=text.len() {
            let one_by_one = text[..n].iter().fold(JavaHash(-7), |hash, byte| hash.unit(u16::from(*byte)));
            assert_eq!(JavaHash(-7).bytes(&text[..n]), one_by_one, "{n} bytes");
        }
    }

    #[test]
    fn pieces_hash_as_the_whole() {
        let pieces = JavaHash::default().text("topic").text("#").bytes("schlüssel".as_bytes());
        assert_eq!(pieces.0, hash("topic#schlüssel"));
        assert_eq!(tag_code(Some(b"TagA")), 2_598_919);
        assert_eq!((tag_code(None), tag_code(Some(b""))), (0, 0));
        assert!(tag_code(Some("polygenelubricants".as_bytes())) == i64::from(i32::MIN));
    }
}
