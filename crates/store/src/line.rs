//! What a start says: lines for the log, each with its weight.

use std::{fmt, ops::Deref};

/// Who should read a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// An ordinary repair: a crash or another broker left it so.
    Info,
    /// It went on, but this should not happen.
    Warn,
    /// Messages are lost or set aside: somebody must look.
    Error,
}

/// One finding or repair. Reads as its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its weight.
    pub level: Level,
    /// What was found and done.
    pub text: String,
}

impl Line {
    /// An ordinary repair.
    pub fn info(text: impl Into<String>) -> Line {
        Line { level: Level::Info, text: text.into() }
    }
    /// What should not happen.
    pub fn warn(text: impl Into<String>) -> Line {
        Line { level: Level::Warn, text: text.into() }
    }
    /// What somebody must look at.
    pub fn error(text: impl Into<String>) -> Line {
        Line { level: Level::Error, text: text.into() }
    }
}

impl Deref for Line {
    type Target = str;
    fn deref(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
