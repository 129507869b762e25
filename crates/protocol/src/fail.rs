//! A refusal, as every server gives one: a response code, and the cause in words.

use crate::{body::BodyError, code, header::FieldError};

/// A refusal: a response code and the cause, with the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fail {
    /// Response code.
    pub code: i32,
    /// What the caller reads.
    pub remark: String,
}

impl Fail {
    /// A refusal.
    pub fn new(code: i32, remark: impl Into<String>) -> Fail {
        Fail { code, remark: remark.into() }
    }
    /// Code 1.
    pub fn error(remark: impl Into<String>) -> Fail {
        Fail::new(code::SYSTEM_ERROR, remark)
    }
    /// Code 2.
    pub fn busy(remark: impl Into<String>) -> Fail {
        Fail::new(code::SYSTEM_BUSY, remark)
    }
    /// Of a request code without a handler, in the original's words.
    pub fn not_supported(asked: i32) -> Fail {
        Fail::new(code::REQUEST_CODE_NOT_SUPPORTED, format!(" request type {asked} not supported"))
    }
}

impl From<FieldError> for Fail {
    fn from(why: FieldError) -> Fail {
        Fail::error(why.to_string())
    }
}

impl From<BodyError> for Fail {
    fn from(why: BodyError) -> Fail {
        Fail::error(why.to_string())
    }
}
