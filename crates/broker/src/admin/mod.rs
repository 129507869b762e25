//! What operators ask: configuration, figures, topics and groups, and requests relayed to clients.
//!
//! [`HANDLERS`] also lists the areas whose state lies elsewhere (clients, locks, offsets), so that the
//! dispatch table of the broker is read in one place.

use crate::{call::Handler, clients, locks};

/// RPCs served outside the message path, one slice per file.
pub const HANDLERS: &[&[Handler]] = &[clients::serve::HANDLERS, locks::serve::HANDLERS];
