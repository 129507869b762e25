//! The `config!` declaration: one line per key gives the field, its default and range, the parser, the listing,
//! the dump, live updates and the page of the documentation.
//!
//! Owns what a key is and how one is set. Knows no key: they are declared in `broker`, `store`, `server` and `namesrv`.

use std::fmt;

use crate::kinds::{Kind, between, number_hint};
use crate::text::{nearest, shown};

/// When a changed value takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// At once: an update request may change it.
    Live,
    /// At the next start: an update request is refused.
    Restart,
}

/// Whether a key does something here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Does what its documentation says.
    Obeyed,
    /// Read, checked and listed, but without effect until the named thing exists.
    Later(&'static str),
    /// Read and listed so that files and tools of the original keep working; it can have no effect here, and why.
    Meaningless(&'static str),
}

/// What happens to a number outside the range of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outside {
    /// The value is an error.
    Refused,
    /// The nearest allowed number is taken, as the original does.
    Clamped,
}

/// The numbers a key takes, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Smallest number.
    pub low: i64,
    /// Largest number.
    pub high: i64,
    /// What happens to others.
    pub outside: Outside,
}

/// Everything known about one key.
#[derive(Debug, Clone, Copy)]
pub struct KeyInfo {
    /// The spelling in files and on the wire.
    pub name: &'static str,
    /// Other spellings that are read as this key.
    pub aliases: &'static [&'static str],
    /// The field of the struct that holds it.
    pub field: &'static str,
    /// Unit or shape of the value, see [`Kind::NAME`].
    pub kind: &'static str,
    /// When a change takes effect.
    pub when: When,
    /// Whether it does something here.
    pub standing: Standing,
    /// Narrower limits than those of the kind.
    pub range: Option<Range>,
    /// Whether the short listing (`-m`) shows it.
    pub important: bool,
    /// What it means, in the words of the declaration.
    pub doc: &'static str,
    default: fn() -> String,
}

impl KeyInfo {
    /// The default in its text form, before the machine (home, host name, processors) is known.
    pub fn default_text(&self) -> String {
        (self.default)()
    }

    /// Whether `typed` is this key, in any of its spellings.
    pub fn answers_to(&self, typed: &str) -> bool {
        self.name == typed || self.aliases.contains(&typed)
    }
}

/// A value was not taken; it says what was wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetError {
    /// No key of that name in this struct.
    Unknown,
    /// The value is not of the key's kind or range; holds what was wanted.
    Wanted(String),
}

/// What became of a value that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// As written.
    AsIs,
    /// As the nearest allowed number; holds the text of the limits.
    Clamped(String),
}

/// Why an update at run time was refused. `Display` is the remark for the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpdateError {
    /// No such key; perhaps this one was meant.
    Unknown {
        /// The key as asked for.
        key: String,
        /// The nearest known key.
        nearest: Option<&'static str>,
    },
    /// The key is read at start only.
    Restart {
        /// The key.
        key: &'static str,
    },
    /// The key must not be changed over the network, only in the file.
    Protected {
        /// The key as asked for.
        key: String,
    },
    /// The text of the request cannot be read.
    Syntax {
        /// The line, from 1.
        line: usize,
        /// What was wanted there.
        wanted: &'static str,
    },
    /// The value is not of the key's kind or range.
    Value {
        /// The key.
        key: &'static str,
        /// The value as asked for.
        value: String,
        /// What was wanted.
        wanted: String,
    },
}

impl fmt::Display for UpdateError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UpdateError::Unknown { key, nearest: Some(known) } => {
                write!(out, "unknown key `{}`; did you mean `{known}`?", shown(key))
            }
            UpdateError::Unknown { key, nearest: None } => write!(out, "unknown key `{}`", shown(key)),
            UpdateError::Restart { key } => {
                write!(out, "`{key}` is read at start only: write it into the configuration file and restart")
            }
            UpdateError::Protected { key } => {
                write!(
                    out,
                    "`{}` cannot be changed over the network, only in the configuration file",
                    shown(key)
                )
            }
            UpdateError::Syntax { line, wanted } => write!(out, "line {line}: wanted {wanted}"),
            UpdateError::Value { key, value, wanted } => {
                write!(out, "`{key}` cannot be `{}`: wanted {wanted}", shown(value))
            }
        }
    }
}

impl std::error::Error for UpdateError {}

/// What the loader and the listings need of every declared struct.
pub(crate) trait Group {
    fn keys(&self) -> &'static [KeyInfo];
    fn set_text(&mut self, key: &str, text: &str) -> Result<Taken, SetError>;

    fn info(&self, key: &str) -> Option<&'static KeyInfo> {
        find(self.keys(), key)
    }
}

/// The key of that name or other spelling.
pub fn find(keys: &'static [KeyInfo], key: &str) -> Option<&'static KeyInfo> {
    keys.iter().find(|info| info.answers_to(key))
}

/// All spellings of all keys, for finding the nearest.
pub(crate) fn spellings(keys: &'static [KeyInfo]) -> impl Iterator<Item = &'static str> {
    keys.iter().map(|info| info.name)
}

/// Reads one value, checks it against the range of its key and stores it; on an error the field stays.
pub(crate) fn take<K: Kind>(field: &mut K, text: &str, range: Option<Range>) -> Result<Taken, SetError> {
    let Some(range) = range else {
        *field = K::parse(text).map_err(SetError::Wanted)?;
        return Ok(Taken::AsIs);
    };
    let limits = between(K::NAME, range.low, range.high);
    let number = match text.parse::<i64>() {
        Ok(number) => number,
        Err(_) => return Err(SetError::Wanted(limits + number_hint(text, K::NAME))),
    };
    let inside = number.clamp(range.low, range.high);
    if inside != number && range.outside == Outside::Refused {
        return Err(SetError::Wanted(limits));
    }
    *field = K::parse(&inside.to_string()).map_err(SetError::Wanted)?;
    Ok(if inside == number { Taken::AsIs } else { Taken::Clamped(limits) })
}

/// The update of a running system: live keys only.
pub(crate) fn update(group: &mut dyn Group, key: &str, value: &str) -> Result<(), UpdateError> {
    let Some(info) = group.info(key) else {
        let nearest = nearest(key, spellings(group.keys()));
        return Err(UpdateError::Unknown { key: key.to_owned(), nearest });
    };
    if info.when == When::Restart {
        return Err(UpdateError::Restart { key: info.name });
    }
    match group.set_text(info.name, value) {
        Ok(_) => Ok(()),
        Err(SetError::Unknown) => Err(UpdateError::Unknown { key: key.to_owned(), nearest: None }),
        Err(SetError::Wanted(wanted)) => {
            Err(UpdateError::Value { key: info.name, value: value.to_owned(), wanted })
        }
    }
}

/// `key=value` lines without escapes, as the original prints them.
pub(crate) fn lines(values: &[(&'static str, String)]) -> String {
    values.iter().map(|(key, value)| format!("{key}={value}\n")).collect()
}

/// Declares a config struct. One row per key:
///
/// ```text
/// /// What it means; may span lines.
/// "wireName" | "otherSpelling" Live field_name: Kind[low..=high] = default, obeyed, important;
/// ```
///
/// `[low..=high]` refuses other numbers, `clamp(low..=high)` moves them to the nearest; both may be absent.
/// The standing is `obeyed`, `later("until what")` or `meaningless("why here")`; `important` puts it into the short listing.
macro_rules! config {
    (
        $(#[doc = $title:literal])+
        pub struct $group:ident {
            $(
                $(#[doc = $doc:literal])+
                $name:literal $(| $alias:literal)* $when:ident $field:ident: $kind:ident
                    $([$range:expr])? $(clamp($clamp:expr))?
                    = $default:expr, $standing:ident $(($why:expr))? $(, $important:ident)?;
            )+
        }
    ) => {
        $(#[doc = $title])+
        #[derive(Debug, Clone, PartialEq)]
        pub struct $group {
            $(
                $(#[doc = $doc])+
                #[doc = concat!("\n\nKey `", $name, "`.")]
                pub $field: $kind,
            )+
        }

        impl Default for $group {
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }

        impl $group {
            /// Every key of this struct, in the order of listings.
            pub const KEYS: &'static [$crate::declare::KeyInfo] = &[$(
                $crate::declare::KeyInfo::declared(
                    ($name, &[$($alias),*], stringify!($field)),
                    <$kind as $crate::kinds::Kind>::NAME,
                    $crate::declare::When::$when,
                    $crate::declare::standing!($standing $(($why))?),
                    $crate::declare::range!($([$range])? $(clamp($clamp))?),
                    false $(|| $crate::declare::flag!($important))?,
                    concat!($($doc),+),
                    || <$kind as $crate::kinds::Kind>::print(&$default),
                ),
            )+];

            /// Sets one key from its text; on an error the old value stays.
            pub fn set(
                &mut self,
                key: &str,
                text: &str,
            ) -> Result<$crate::declare::Taken, $crate::declare::SetError> {
                match key {
                    $($name $(| $alias)* => $crate::declare::take(
                        &mut self.$field,
                        text,
                        $crate::declare::range!($([$range])? $(clamp($clamp))?),
                    ),)+
                    _ => Err($crate::declare::SetError::Unknown),
                }
            }

            /// Changes one live key of a running system.
            pub fn update(&mut self, key: &str, value: &str) -> Result<(), $crate::declare::UpdateError> {
                $crate::declare::update(self, key, value)
            }

            /// Every key with its current value in text form, in the order of [`Self::KEYS`].
            pub fn values(&self) -> Vec<(&'static str, String)> {
                let Self { $($field),+ } = self;
                vec![$(($name, <$kind as $crate::kinds::Kind>::print($field))),+]
            }

            /// The current values as `key=value` lines.
            pub fn to_lines(&self) -> String {
                $crate::declare::lines(&self.values())
            }
        }

        impl $crate::declare::Group for $group {
            fn keys(&self) -> &'static [$crate::declare::KeyInfo] {
                Self::KEYS
            }

            fn set_text(
                &mut self,
                key: &str,
                text: &str,
            ) -> Result<$crate::declare::Taken, $crate::declare::SetError> {
                self.set(key, text)
            }
        }
    };
}

impl KeyInfo {
    /// Builds the record of one declared row; called by `config!` only.
    #[allow(clippy::too_many_arguments)] // One argument per part of a row, and a single caller that a macro writes.
    pub(crate) const fn declared(
        (name, aliases, field): (&'static str, &'static [&'static str], &'static str),
        kind: &'static str,
        when: When,
        standing: Standing,
        range: Option<Range>,
        important: bool,
        doc: &'static str,
        default: fn() -> String,
    ) -> KeyInfo {
        KeyInfo { name, aliases, field, kind, when, standing, range, important, doc, default }
    }
}

macro_rules! standing {
    (obeyed) => {
        $crate::declare::Standing::Obeyed
    };
    (later($why:expr)) => {
        $crate::declare::Standing::Later($why)
    };
    (meaningless($why:expr)) => {
        $crate::declare::Standing::Meaningless($why)
    };
}

macro_rules! range {
    () => {
        None
    };
    ([$range:expr]) => {
        Some($crate::declare::Range {
            low: *$range.start(),
            high: *$range.end(),
            outside: $crate::declare::Outside::Refused,
        })
    };
    (clamp($range:expr)) => {
        Some($crate::declare::Range {
            low: *$range.start(),
            high: *$range.end(),
            outside: $crate::declare::Outside::Clamped,
        })
    };
}

macro_rules! flag {
    (important) => {
        true
    };
}

pub(crate) use {config, flag, range, standing};
