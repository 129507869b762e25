//! What can go wrong with a call: one variant per decision a caller can take.

use std::{fmt, time::Duration};

/// A call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The request did not leave this process: it is safe to try elsewhere.
    NotSent {
        /// Whom it was for.
        addr: String,
        /// Why.
        why: String,
    },
    /// The request left, and the connection ended before an answer: it may have taken effect.
    MaybeSent {
        /// Whom it was for.
        addr: String,
        /// Why.
        why: String,
    },
    /// No answer in time: it may have taken effect.
    TimedOut {
        /// Whom it was for.
        addr: String,
        /// How long was waited.
        after: Duration,
    },
    /// The server answered with an error code.
    Refused {
        /// Who answered.
        addr: String,
        /// Response code.
        code: i32,
        /// Its words.
        remark: String,
    },
    /// The server's answer cannot be read.
    BadAnswer {
        /// Who answered.
        addr: String,
        /// What is wrong with it.
        why: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotSent { addr, why } => write!(f, "{addr}: not sent: {why}"),
            Error::MaybeSent { addr, why } => write!(f, "{addr}: sent, but the connection ended: {why}"),
            Error::TimedOut { addr, after } => write!(f, "{addr}: no answer within {after:?}"),
            Error::Refused { addr, code, remark } => {
                let name = kerolox_protocol::code::name(*code).unwrap_or("unknown code");
                write!(f, "{addr}: refused with {code} ({name}): {remark}")
            }
            Error::BadAnswer { addr, why } => write!(f, "{addr}: the answer cannot be read: {why}"),
        }
    }
}
impl std::error::Error for Error {}
