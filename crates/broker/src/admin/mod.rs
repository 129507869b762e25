//! What operators ask: configuration, figures, topics and groups, and requests relayed to clients.

use crate::call::Handler;

/// RPCs served under `admin`, one slice per file.
pub const HANDLERS: &[&[Handler]] = &[];
