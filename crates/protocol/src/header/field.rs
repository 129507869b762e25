//! Typed headers: from the string map and back.
//!
//! A header struct is declared once with [`headers!`](crate::headers); the declaration gives the struct, its
//! reading and writing, and its row in the generated RPC page.

use super::Ext;
use std::fmt;

/// One field of a typed header, for listings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldInfo {
    /// Name in the map.
    pub wire: &'static str,
    /// Kind as listed: `i32`, `i64`, `bool`, `str`; a trailing `?` marks an optional one.
    pub kind: &'static str,
    /// Meaning and unit.
    pub doc: &'static str,
}

/// A typed header.
pub trait Fields: Sized {
    /// All fields, in declaration order.
    const FIELDS: &'static [FieldInfo];
    /// Reads the fields; a missing required one or one that does not parse is an error naming it.
    fn from_ext(ext: &Ext) -> Result<Self, FieldError>;
    /// Writes the fields that have a value.
    fn to_ext(&self) -> Ext;
}

/// A header without fields.
impl Fields for () {
    const FIELDS: &'static [FieldInfo] = &[];
    fn from_ext(_: &Ext) -> Result<Self, FieldError> {
        Ok(())
    }
    fn to_ext(&self) -> Ext {
        Ext::default()
    }
}

/// A field is missing or malformed; answered with code 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldError {
    /// A required field is absent.
    Missing(&'static str),
    /// A field's text is not of its kind.
    Malformed {
        /// Its name.
        field: &'static str,
        /// Its text, shortened.
        text: String,
        /// What was wanted.
        wanted: &'static str,
    },
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FieldError::Missing(field) => write!(f, "the request header lacks the field '{field}'"),
            FieldError::Malformed { field, text, wanted } => {
                write!(f, "the request header's field '{field}' is '{text}', wanted is {wanted}")
            }
        }
    }
}
impl std::error::Error for FieldError {}

/// A value that can stand in a typed header.
pub trait FieldValue: Sized {
    /// As listed.
    const KIND: &'static str;
    /// Reads the field's text, or its absence.
    fn read(field: &'static str, text: Option<&str>) -> Result<Self, FieldError>;
    /// The text to write, or nothing.
    fn text(&self) -> Option<String>;
}

fn malformed(field: &'static str, text: &str, wanted: &'static str) -> FieldError {
    FieldError::Malformed { field, text: text.chars().take(64).collect(), wanted }
}

macro_rules! number_field {
    ($($kind:ident $optional:literal),*) => {$(
        impl FieldValue for $kind {
            const KIND: &'static str = stringify!($kind);
            fn read(field: &'static str, text: Option<&str>) -> Result<Self, FieldError> {
                let text = text.ok_or(FieldError::Missing(field))?;
                text.parse().map_err(|_| malformed(field, text, concat!("a number (", stringify!($kind), ")")))
            }
            fn text(&self) -> Option<String> {
                Some(self.to_string())
            }
        }
        impl FieldValue for Option<$kind> {
            const KIND: &'static str = $optional;
            fn read(field: &'static str, text: Option<&str>) -> Result<Self, FieldError> {
                text.filter(|text| !text.is_empty()).map(|text| $kind::read(field, Some(text))).transpose()
            }
            fn text(&self) -> Option<String> {
                self.as_ref().and_then(FieldValue::text)
            }
        }
    )*};
}
number_field!(i32 "i32?", i64 "i64?");

impl FieldValue for bool {
    const KIND: &'static str = "bool";
    fn read(field: &'static str, text: Option<&str>) -> Result<Self, FieldError> {
        // The original's rule: anything but "true" is false.
        text.map(|text| text.eq_ignore_ascii_case("true")).ok_or(FieldError::Missing(field))
    }
    fn text(&self) -> Option<String> {
        Some(self.to_string())
    }
}
impl FieldValue for Option<bool> {
    const KIND: &'static str = "bool?";
    fn read(_: &'static str, text: Option<&str>) -> Result<Self, FieldError> {
        Ok(text.map(|text| text.eq_ignore_ascii_case("true")))
    }
    fn text(&self) -> Option<String> {
        self.map(|v| v.to_string())
    }
}
impl FieldValue for String {
    const KIND: &'static str = "str";
    fn read(field: &'static str, text: Option<&str>) -> Result<Self, FieldError> {
        text.map(str::to_owned).ok_or(FieldError::Missing(field))
    }
    fn text(&self) -> Option<String> {
        Some(self.clone())
    }
}
impl FieldValue for Option<String> {
    const KIND: &'static str = "str?";
    fn read(_: &'static str, text: Option<&str>) -> Result<Self, FieldError> {
        Ok(text.map(str::to_owned))
    }
    fn text(&self) -> Option<String> {
        self.clone()
    }
}

/// Declares typed headers: `doc, name: kind = "wireName"` per field.
///
/// ```
/// kerolox_protocol::headers! {
///     /// Asks for one queue's offset.
///     pub struct QueueRef {
///         /// The topic.
///         topic: String = "topic",
///         /// The queue.
///         queue_id: i32 = "queueId",
///     }
/// }
/// ```
#[macro_export]
macro_rules! headers {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident {
            $( #[doc = $doc:literal] $(#[doc = $more:literal])* $field:ident : $kind:ty = $wire:literal, )*
        }
    )*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name {
            $( #[doc = $doc] $(#[doc = $more])* pub $field: $kind, )*
        }
        impl $crate::header::Fields for $name {
            const FIELDS: &'static [$crate::header::FieldInfo] = &[
                $( $crate::header::FieldInfo {
                    wire: $wire,
                    kind: <$kind as $crate::header::FieldValue>::KIND,
                    doc: concat!($doc $(, $more)*).trim_ascii(),
                }, )*
            ];
            fn from_ext(ext: &$crate::header::Ext) -> Result<Self, $crate::header::FieldError> {
                Ok($name {
                    $( $field: <$kind as $crate::header::FieldValue>::read($wire, ext.get($wire))?, )*
                })
            }
            fn to_ext(&self) -> $crate::header::Ext {
                let mut ext = $crate::header::Ext::default();
                $( if let Some(text) = $crate::header::FieldValue::text(&self.$field) {
                    ext.set($wire, text);
                } )*
                ext
            }
        }
    )*};
}
