//! What operators ask: configuration, figures, topics and groups, and requests relayed to clients.
//!
//! [`HANDLERS`] also lists the areas whose state lies elsewhere (clients, locks, offsets), so that the
//! dispatch table of the broker is read in one place.
//!
//! | Module | Requests |
//! |---|---|
//! | [`access`] | accounts, of which there are none |
//! | [`config`] | settings: read, change, keep |
//! | [`runtime`] | figures of the process |
//! | [`topics`], [`groups`] | tables of topics and groups |
//! | [`connections`] | who is connected |
//! | [`progress`] | how far topics and groups are, rates |
//! | [`positions`] | offsets of groups as a whole |
//! | [`reset`] | moving a group |
//! | [`relay`] | what a client answers |

pub mod access;
pub mod config;
pub mod connections;
pub mod groups;
pub mod positions;
pub mod progress;
pub mod relay;
pub mod reset;
pub mod runtime;
pub mod topics;

use crate::{
    Broker,
    call::Handler,
    clients::{self, assign::Assigning},
    hint::unreadable,
    locks, offsets,
    once::Once,
    rot::Rot,
};
use kerolox_net::Now;
use kerolox_protocol::{Fail, Millis, QueueId, QueueOffset, body::DataVersion};
use kerolox_store::{Bounds, QueueSlot, disk::Disk};
use std::{io, sync::Arc};

/// RPCs served outside the message path, one slice per file.
pub const HANDLERS: &[&[Handler]] = &[
    clients::serve::HANDLERS,
    locks::serve::HANDLERS,
    offsets::serve::HANDLERS,
    access::HANDLERS,
    config::HANDLERS,
    connections::HANDLERS,
    groups::HANDLERS,
    positions::HANDLERS,
    progress::HANDLERS,
    relay::HANDLERS,
    reset::HANDLERS,
    runtime::HANDLERS,
    topics::HANDLERS,
];

/// How often the zone of the local time is asked.
const ZONE_PERIOD: Millis = Millis(3_600_000);
/// How often a subject that stays wrong is reported.
const COMPLAIN_PERIOD: Millis = Millis(10 * 60_000);

/// What the administrative side keeps.
#[derive(Debug)]
pub(crate) struct Desk {
    /// Requests passed on to clients.
    pub relays: relay::Relays,
    /// Requests that wait for a route.
    pub assigning: Assigning,
    /// What was reported lately.
    pub complaints: Once,
    /// Records that pulls passed over.
    pub rot: Arc<Rot>,
    /// When the broker was opened.
    pub booted: Now,
    /// When the zone of the local time is asked again, monotonic.
    pub zone_due: Millis,
    /// Version of the settings.
    pub config_version: DataVersion,
    /// Where settings are kept, and room is asked for.
    pub disk: Arc<dyn Disk>,
}

impl Desk {
    /// Of a broker opened at `booted`.
    pub(crate) fn new(disk: Arc<dyn Disk>, booted: Now) -> Desk {
        Desk {
            relays: relay::Relays::default(),
            assigning: Assigning::default(),
            complaints: Once::every(COMPLAIN_PERIOD),
            rot: Arc::default(),
            booted,
            zone_due: booted.mono + ZONE_PERIOD,
            config_version: DataVersion { counter: 0, state_version: 0, timestamp: booted.wall.0 },
            disk,
        }
    }
}

impl Broker {
    /// Follows the change of summer time, for `deleteWhen` and the figures of a day. Looks once an hour.
    pub(crate) fn follow_local_time(&mut self, now: Now) {
        if now.mono < self.desk.zone_due {
            return;
        }
        self.desk.zone_due = now.mono + ZONE_PERIOD;
        let offset = (self.options.utc_offset_at)(now.wall);
        if offset != self.options.utc_offset {
            self.options.utc_offset = offset;
            self.stats.set_utc_offset(offset);
            self.store.retune(&self.options.for_store());
        }
    }

    /// Handle of a queue that has messages, or had.
    pub(crate) fn known_slot(&self, topic: &str, queue: u32) -> Option<QueueSlot> {
        self.store.find_slot(topic, QueueId(queue))
    }

    /// First and end of a queue; of one without messages, both are 0.
    pub(crate) fn bounds_of(&self, topic: &str, queue: u32) -> Bounds {
        self.known_slot(topic, queue).map(|slot| self.store.bounds(slot)).unwrap_or_default()
    }

    /// What was read; `instead` where that waits for the disk, so that all such reads of a question are collected
    /// at once: what is said of it now is thrown away.
    pub(crate) fn or_cold<T>(&self, read: io::Result<T>, instead: T) -> io::Result<T> {
        match read {
            Err(_) if self.store.has_met_cold() => Ok(instead),
            read => read,
        }
    }

    /// Store time of a message.
    pub(crate) fn time_of(&self, topic: &str, queue: u32, at: i64) -> Result<Option<Millis>, Fail> {
        let (Some(slot), Ok(at)) = (self.known_slot(topic, queue), QueueOffset::try_from(at)) else {
            return Ok(None);
        };
        self.or_cold(self.store.store_time(slot, at), None).map_err(|why| unreadable(topic, queue, &why))
    }
}

/// As the wire carries a queue number.
pub(crate) fn wire_queue(queue: u32) -> i32 {
    i32::try_from(queue).unwrap_or(i32::MAX)
}
