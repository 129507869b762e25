//! Names of topics and groups, checked once when they are made and never again.
//!
//! A name becomes part of a path, so the check is also the wall between the network and the file system:
//! no separator, no dot and no empty name can pass it.

use std::{fmt, ops::Deref, sync::Arc};

/// Longest topic name in bytes. Reference: `Validators.TOPIC_MAX_LENGTH`.
pub const TOPIC_BYTES_MAX: usize = 127;
/// Longest group name in bytes. Reference: `Validators.CHARACTER_MAX_LENGTH`.
pub const GROUP_BYTES_MAX: usize = 255;
/// Prefix of a group's retry topic.
pub const RETRY_PREFIX: &str = "%RETRY%";
/// Prefix of a group's dead-letter topic.
pub const DLQ_PREFIX: &str = "%DLQ%";

/// Why a text is not a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameError {
    /// Empty or only blanks.
    Blank,
    /// Another character than letters, digits, `%`, `|`, `_`, `-`.
    Illegal,
    /// Longer than the limit in bytes.
    TooLong(usize),
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameError::Blank => f.write_str("the name is blank"),
            NameError::Illegal => {
                f.write_str("the name contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$")
            }
            NameError::TooLong(max) => write!(f, "the name is longer than {max} bytes"),
        }
    }
}
impl std::error::Error for NameError {}

/// Checks a name without keeping it; the hot path uses this and looks up by `&str`.
pub fn check(text: &str, bytes_max: usize) -> Result<(), NameError> {
    if text.trim().is_empty() {
        return Err(NameError::Blank);
    }
    if text.len() > bytes_max {
        return Err(NameError::TooLong(bytes_max));
    }
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'%' | b'|' | b'_' | b'-');
    if text.bytes().all(legal) { Ok(()) } else { Err(NameError::Illegal) }
}

/// Declares a text that only its check can make: held once, compared, looked up and shown as text. The check, and what
/// else it can do, is for the module that declares it.
#[macro_export]
macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(::std::sync::Arc<str>);

        impl $name {
            /// As text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl ::std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl ::std::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $max:expr) => {
        checked_text! {
            $(#[$doc])*
            $name
        }

        impl $name {
            /// Checks and keeps a name.
            pub fn new(text: &str) -> Result<Self, NameError> {
                check(text, $max)?;
                Ok($name(Arc::from(text)))
            }
        }
        impl Deref for $name {
            type Target = str;
            fn deref(&self) -> &str {
                &self.0
            }
        }
        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }
    };
}

name! {
    /// A topic's name.
    TopicName, TOPIC_BYTES_MAX
}
name! {
    /// A producer or consumer group's name.
    GroupName, GROUP_BYTES_MAX
}

impl GroupName {
    /// The group's retry topic. A long group gives a topic name beyond the limit of ordinary topics; such a
    /// group cannot retry, as in the original.
    pub fn retry_topic(&self) -> Result<TopicName, NameError> {
        TopicName::new(&format!("{RETRY_PREFIX}{self}"))
    }
    /// The group's dead-letter topic.
    pub fn dlq_topic(&self) -> Result<TopicName, NameError> {
        TopicName::new(&format!("{DLQ_PREFIX}{self}"))
    }
}

impl TopicName {
    /// The group whose retry topic this is.
    pub fn retry_of(&self) -> Option<GroupName> {
        self.strip_prefix(RETRY_PREFIX).and_then(|group| GroupName::new(group).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_the_store_are_refused() {
        for bad in ["../x", "a/b", "a.b", "a b", "a\0", "täg"] {
            assert_eq!(TopicName::new(bad), Err(NameError::Illegal), "{bad:?}");
        }
        assert_eq!(TopicName::new("  "), Err(NameError::Blank));
        assert_eq!(TopicName::new(&"a".repeat(128)), Err(NameError::TooLong(127)));
        assert!(TopicName::new(&"a".repeat(127)).is_ok());
    }

    #[test]
    fn a_retry_topic_knows_its_group() {
        let group = GroupName::new("NS%g-1").unwrap();
        assert_eq!(group.retry_topic().unwrap().retry_of(), Some(group));
    }
}
