//! Tag expressions: parse, check, evaluate.
//!
//! Owns what `TagA || TagB` and `*` mean. Knows no message, no queue and no consumer: a message is represented
//! by its tag code, as the consume queue holds it. Only hashes are compared here; the client compares the
//! texts, as with the original, so a collision costs a message that the client drops.
//!
//! SQL92 expressions are not served yet; [`Kind::of`] tells them apart so that they are refused and never
//! taken for tags.

/// Most tags in one expression; the original has no limit, but each costs memory for as long as the group lives.
pub const TAGS_MAX: usize = 4_096;
/// Longest expression in bytes.
pub const EXPRESSION_BYTES_MAX: usize = 64 * 1024;

/// The language of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Tags, also when the client names no language.
    Tag,
    /// SQL92, or any other language that is not tags.
    Other,
}

impl Kind {
    /// Reads the `expressionType` of a request or a heartbeat.
    pub fn of(expression_type: Option<&str>) -> Kind {
        match expression_type {
            None | Some("" | "TAG") => Kind::Tag,
            Some(_) => Kind::Other,
        }
    }
}

/// Why a text is not a tag expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagError {
    /// It separates tags, but names none.
    NoTag,
    /// More than [`TAGS_MAX`] tags or [`EXPRESSION_BYTES_MAX`] bytes.
    TooLong,
}

impl std::fmt::Display for TagError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TagError::NoTag => f.write_str("the expression names no tag; write `*` for all messages"),
            TagError::TooLong => {
                write!(f, "the expression has more than {TAGS_MAX} tags or {EXPRESSION_BYTES_MAX} bytes")
            }
        }
    }
}
impl std::error::Error for TagError {}

/// A tag expression: everything, or messages whose tag code is in a set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tags {
    /// Sorted codes; `None` takes everything.
    codes: Option<Box<[i32]>>,
}

impl Tags {
    /// Takes every message.
    pub const ALL: Tags = Tags { codes: None };

    /// Reads an expression: `*`, nothing, or tags separated by `||`.
    ///
    /// ```
    /// use kerolox_filter::{Tags, code};
    /// let tags = Tags::parse("TagA || TagB")?;
    /// assert!(tags.accepts(code("TagB").into()) && !tags.accepts(code("TagC").into()));
    /// # Ok::<(), kerolox_filter::TagError>(())
    /// ```
    pub fn parse(expression: &str) -> Result<Tags, TagError> {
        let expression = expression.trim();
        if expression.is_empty() || expression == "*" {
            return Ok(Tags::ALL);
        }
        if expression.len() > EXPRESSION_BYTES_MAX {
            return Err(TagError::TooLong);
        }
        let tags = expression.split("||").map(str::trim).filter(|tag| !tag.is_empty());
        let mut codes: Vec<i32> = tags.take(TAGS_MAX + 1).map(code).collect();
        match codes.len() {
            0 => return Err(TagError::NoTag),
            n if n > TAGS_MAX => return Err(TagError::TooLong),
            _ => {}
        }
        codes.sort_unstable();
        codes.dedup();
        Ok(Tags { codes: Some(codes.into_boxed_slice()) })
    }

    /// Whether a message with that code of its consume-queue entry is wanted. The original compares 32 bits.
    pub fn accepts(&self, tags_code: i64) -> bool {
        match &self.codes {
            None => true,
            // Truncation is meant: the entry's code is a sign-extended 32-bit hash.
            Some(codes) => codes.binary_search(&(tags_code as i32)).is_ok(),
        }
    }

    /// Whether every message is taken.
    pub fn is_all(&self) -> bool {
        self.codes.is_none()
    }
}

/// The code of a tag: Java's `String.hashCode`, over UTF-16 units.
pub fn code(tag: &str) -> i32 {
    kerolox_protocol::hash::hash(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_java() {
        assert_eq!(code("TagA"), 2_598_919);
        assert_eq!(code(""), 0);
        // Beyond the basic plane: two UTF-16 units, 0xD83D and 0xDE00.
        assert_eq!(code("\u{1F600}"), 0xD83D * 31 + 0xDE00);
        assert_eq!(code("polygenelubricants"), i32::MIN);
    }

    #[test]
    fn star_and_nothing_take_everything() {
        for all in ["*", "", "  ", " * "] {
            let tags = Tags::parse(all).unwrap();
            assert!(tags.is_all() && tags.accepts(0) && tags.accepts(-7), "{all:?}");
        }
    }

    #[test]
    fn tags_are_split_and_trimmed() {
        let tags = Tags::parse("TagA||  TagB ||TagA||").unwrap();
        assert!(tags.accepts(i64::from(code("TagA"))) && tags.accepts(i64::from(code("TagB"))));
        assert!(!tags.accepts(i64::from(code("TagC"))) && !tags.accepts(0));
        assert!(Tags::parse("polygenelubricants").unwrap().accepts(i64::from(i32::MIN)));
    }

    #[test]
    fn what_names_no_tag_or_too_many_is_refused() {
        assert_eq!(Tags::parse("||"), Err(TagError::NoTag));
        let many = vec!["t"; TAGS_MAX + 1].join("||");
        assert_eq!(Tags::parse(&many), Err(TagError::TooLong));
        assert_eq!(Tags::parse(&"x".repeat(EXPRESSION_BYTES_MAX + 1)), Err(TagError::TooLong));
    }

    #[test]
    fn other_languages_are_told_apart() {
        assert_eq!(Kind::of(None), Kind::Tag);
        assert_eq!(Kind::of(Some("TAG")), Kind::Tag);
        assert_eq!(Kind::of(Some("SQL92")), Kind::Other);
    }
}
