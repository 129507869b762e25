//! The judge: what clients were told and saw, against the log as an independent reader finds it.
//!
//! Knows promises and invariants; knows no server's inner state but the few numbers the world hands over.
//! What is promised stands in `ARCHITECTURE.md`, under Invariants; a violation is reported by one of these names:
//!
//! | | |
//! |---|---|
//! | I1 | no acknowledged message is lost within the mode's promise |
//! | I2 | nothing is read that was never sent |
//! | I3 | one (topic, queue, offset) is one message for ever |
//! | I4 | no gaps |
//! | I5 | a producer's sequential sends to a queue keep their order |
//! | I6 | what was durable stays so; durable and confirmed positions never go back |
//! | I8 | nobody reads above the confirmed position |
//! | I9 | everything acknowledged is delivered; a waiting pull is woken when a message comes |
//! | I10 | committed offsets do not go back beyond the promised window |
//! | I11 | no queue of the orderly group has two holders |
//! | I12 | a committed transaction is delivered, one that was rolled back never |
//! | I13 | a delayed message is not early, and comes |
//! | I15 | queues and index are what the log says |
//! | I16 | only retention deletes: whole files from the start, old or for want of room, and nothing comes back |
//! | I17 | duplicates only after an unacknowledged send or a crash |
//! | rot | damage is told, and excuses nothing but what was damaged |
//! | FS | fail-stop: nothing is acknowledged after a disk error; the refusal says why |

mod census;
mod deletion;
mod index;
mod late;
mod locks;
mod offsets;
mod restart;
mod rot;

use crate::{
    ledger::Ledger,
    options::{DELAYS, Mode, Options},
    rec::Place,
    walk::Walk,
};
pub use census::Shown;
use deletion::{Deleted, Skip};
use offsets::Offsets;
pub use offsets::Table;
use restart::Ending;
pub use restart::{Before, Crash};
use std::collections::BTreeMap;

/// What must happen now and then, or the runs prove less than they seem to. A thousand seeds hit all of it.
pub const SOMETIMES: &[&str] = &[
    "a consumer came too late",
    "a lock was given",
    "a message came again",
    "a queue file rotted",
    "a small file rotted",
    "a start with locks",
    "a tail was lost",
    "a transaction was committed",
    "a transaction was rolled back",
    "a write was lost",
    "a write went astray",
    "an index file rotted",
    "another name server is asked",
    "clean stop",
    "clock jumped ahead",
    "clock went back",
    "consumer notified",
    "crash in a call to the disk",
    "crash in a rename or before its directory is synced",
    "crash while recovering",
    "disk error",
    "log files were deleted",
    "no start on a bad disk",
    "offset moved",
    "read from the device",
    "the disk is full",
    "the log rotted",
];

/// Those of them that only a disk that rots brings about.
pub const OF_ROT: &[&str] = &[
    "a queue file rotted",
    "a small file rotted",
    "a write was lost",
    "a write went astray",
    "an index file rotted",
    "the log rotted",
];

/// Topics of what was given back begin so.
pub(crate) const RETRY_PREFIX: &str = "%RETRY%";

/// After so many virtual ms in calm weather a held pull must have been answered with a new message.
pub const WAKE_MS: i64 = 1_500;

/// An invariant that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Its name.
    pub invariant: &'static str,
    /// What was seen.
    pub text: String,
}

/// An acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// Position of the record in the log.
    pub at: u64,
    /// When it was received, virtual ms.
    pub ms: i64,
    /// Whether it promises what the mode promises.
    pub promised: bool,
    /// The life of the broker that sent it.
    pub life: u32,
}

/// A message that a producer made.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Who made it.
    pub producer: usize,
    /// Its number among those of the producer to this queue.
    pub n: u64,
    /// Topic it is meant for.
    pub topic: String,
    /// Queue it is meant for.
    pub queue: i32,
    /// Delay level, if any.
    pub level: Option<usize>,
    /// Checksum of the body.
    pub crc: u32,
    /// How often it was handed to the network.
    pub attempts: u32,
    /// The acknowledgement that counts.
    pub ack: Option<Ack>,
    /// It was acknowledged and lost where that is allowed.
    pub lost: bool,
    /// Retention took it, and what became of it.
    pub deleted: bool,
    /// When a consumer first saw it.
    pub seen_ms: Option<i64>,
    /// It was sent in calm weather to a waiting consumer.
    pub probe: bool,
    /// What its transaction came to, if it was sent in one.
    pub half: Option<Half>,
    /// Consumers that could not work on it.
    pub back: Back,
    /// The disk has damaged what was left of it, or its place was given away before.
    pub rotten: bool,
}

/// A transaction, as its producer knows it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Half {
    /// Whether it was to be committed; rolled back otherwise.
    pub commit: bool,
    /// How often the broker was told.
    pub told: u32,
    /// The broker said that it is so.
    pub ended: bool,
}

/// A message that consumers gave back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Back {
    /// How often it was given back.
    pub given: u32,
    /// The broker took it and has to bring it again.
    pub owed: bool,
    /// How often it came again.
    pub seen: u32,
    /// The log had been written up to here when the broker took it.
    pub since: u64,
}

/// What the world knows of a place in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub id: String,
    pub at: u64,
    pub seen: bool,
}

/// A record that a consumer received.
#[derive(Debug, Clone)]
pub struct Seen<'a> {
    /// Where.
    pub place: Place,
    /// Unique id.
    pub id: &'a str,
    /// Position in the log.
    pub at: u64,
    /// Checksum of the body as received.
    pub crc: u32,
    /// It is the one that the record tells; otherwise its reader knows that it is damaged.
    pub is_sound: bool,
    /// The life of the broker that sent it.
    pub life: u32,
}

/// Acknowledged messages of a producer in a queue by their number: queue offset, position in the log.
pub(crate) type Order = BTreeMap<u64, (i64, u64)>;

/// Everything that is known.
#[derive(Debug)]
pub struct Oracle {
    pub(crate) mode: Mode,
    pub(crate) even_clock: bool,
    /// An acknowledged message older than this is flushed, in the asynchronous mode; unknown with a slow disk.
    pub(crate) flushed_after_ms: Option<i64>,
    pub(crate) sent: BTreeMap<String, Sent>,
    pub(crate) places: BTreeMap<Place, Known>,
    /// Offsets below these were seen in a part of a queue that a power cut took: a consumer may be ahead.
    pub(crate) ahead: BTreeMap<(String, i32), i64>,
    pub(crate) order: BTreeMap<(usize, String, i32), Order>,
    pub(crate) offsets: Offsets,
    /// Holders of queues, and until when they trust that.
    pub(crate) holders: BTreeMap<i32, (String, i64)>,
    /// Notes may be refused, and lost when the broker ends then.
    pub(crate) refuses: bool,
    progress: (u32, u64, u64),
    written: u64,
    /// Files may be deleted.
    pub(crate) deletes: bool,
    /// The log begins here.
    pub(crate) first: u64,
    deleted: Deleted,
    skips: Vec<Skip>,
    /// Everything that the disk damaged in silence.
    pub rot: Ledger,
    rotten: rot::Rotten,
    rots: bool,
    /// How the lives of the broker ended, from the first on.
    pub(crate) endings: Vec<Ending>,
    /// The log that the present one began with, if it is not the first.
    pub(crate) began: Walk,
    /// The store of this life refuses for good since then, for this cause.
    poisoned: Option<(i64, String)>,
    refusals: u64,
    violations: Vec<Violation>,
    /// Things that happened, for the list of what must sometimes happen.
    pub sometimes: BTreeMap<&'static str, u64>,
}

impl Oracle {
    /// The judge of a run.
    pub fn new(options: &Options) -> Oracle {
        use crate::options::Fault;
        let has = |which: fn(&Fault) -> bool| options.faults.iter().any(|(_, fault)| which(fault));
        let slow = has(|fault| {
            matches!(fault, Fault::SlowDisk(_) | Fault::DiskFull { .. } | Fault::DiskError { .. })
        });
        // A small disk is full now and then, and refuses notes for a while.
        let small = options.deletion.is_some_and(|deletion| deletion.disk_bytes.is_some());
        let slow = slow || small;
        let flushed_after_ms = options.flush_interval_ms + 4 * options.flush_ms_max + 100;
        Oracle {
            mode: options.mode,
            even_clock: options.even_clock(),
            flushed_after_ms: (!slow).then_some(flushed_after_ms),
            sent: BTreeMap::new(),
            places: BTreeMap::new(),
            ahead: BTreeMap::new(),
            order: BTreeMap::new(),
            offsets: Offsets::new((!slow).then_some(1_300 + flushed_after_ms)),
            holders: BTreeMap::new(),
            refuses: small || has(|fault| matches!(fault, Fault::DiskFull { .. } | Fault::DiskError { .. })),
            progress: (0, 0, 0),
            written: 0,
            deletes: options.deletion.is_some(),
            first: 0,
            deleted: Deleted::default(),
            skips: Vec::new(),
            rot: Ledger::default(),
            rotten: rot::Rotten::default(),
            rots: options.has_rot(),
            endings: Vec::new(),
            began: Walk::default(),
            poisoned: None,
            refusals: 0,
            violations: Vec::new(),
            sometimes: BTreeMap::new(),
        }
    }

    /// Notes a violation.
    pub fn violated(&mut self, invariant: &'static str, text: impl Into<String>) {
        self.violations.push(Violation { invariant, text: text.into() });
    }

    /// The first violation.
    pub fn verdict(&self) -> Option<&Violation> {
        self.violations.first()
    }

    /// Something of note happened.
    pub fn happened(&mut self, what: &'static str) {
        debug_assert!(SOMETIMES.contains(&what), "{what} is not in the list");
        *self.sometimes.entry(what).or_default() += 1;
    }

    /// The same, so many times.
    pub fn happened_times(&mut self, what: &'static str, n: u64) {
        if n > 0 {
            *self.sometimes.entry(what).or_default() += n;
        }
    }

    /// A producer made a message.
    pub fn made(&mut self, id: String, sent: Sent) {
        self.sent.insert(id, sent);
    }

    /// A message is handed to the network.
    pub fn attempt(&mut self, id: &str) {
        if let Some(sent) = self.sent.get_mut(id) {
            sent.attempts += 1;
        }
    }

    /// A producer received an answer that says "stored". `asked_ms`: when the request was sent.
    pub fn acked(&mut self, id: &str, ack: Ack, offset: i64, asked_ms: i64) {
        if let Some((since, why)) = &self.poisoned
            && asked_ms > *since
            && ack.promised
        {
            let text = format!("{id} was acknowledged although the store had failed: {why}");
            self.violated("FS", text);
        }
        let Some(sent) = self.sent.get_mut(id) else {
            return self.violated("I2", format!("{id} is acknowledged and was never sent"));
        };
        let (delayed, place) =
            (sent.level.is_some() || sent.half.is_some(), (sent.topic.clone(), sent.queue, offset));
        let key = (sent.producer, sent.topic.clone(), sent.queue);
        let (n, at) = (sent.n, ack.at);
        sent.ack = Some(ack.clone());
        let is_lost = self.rot.was(at, id);
        if is_lost || self.came_too_late(id, &ack) || delayed {
            return;
        }
        let order = self.order.entry(key).or_default();
        let before = order.range(..n).next_back().map(|(n, (offset, _))| (*n, *offset));
        order.insert(n, (offset, at));
        if let Some((earlier, before)) = before
            && before >= offset
        {
            self.violated("I5", format!("{id} is at {offset}, its predecessor {earlier} at {before}"));
        }
        self.bind(place, id, at, false);
    }

    /// A refusal was received.
    pub fn refused(&mut self, remark: &str, asked_ms: i64) {
        self.refusals += 1;
        let Some((since, why)) = &self.poisoned else { return };
        // A broker that is being stopped refuses for that reason first.
        let says_why = remark.contains(why.as_str()) || remark.contains("stopping");
        if asked_ms > *since && !says_why {
            let text = format!("the store failed ({why}), and the refusal says only: {remark}");
            self.violated("FS", text);
        }
    }

    /// A consumer received a record.
    pub fn seen(&mut self, seen: &Seen<'_>, now: i64) {
        if self.saw_rotten(seen, now) {
            return;
        }
        let is_gone = self.was_read_too_late(seen);
        let altered = self.may_be_altered(seen.crc);
        let (topic, queue, offset) = &seen.place;
        let Some(sent) = self.sent.get_mut(seen.id).filter(|sent| !altered || sent.crc == seen.crc) else {
            if altered {
                return;
            }
            return self.violated("I2", format!("{} was read at {:?} and never sent", seen.id, seen.place));
        };
        let again = topic.starts_with(RETRY_PREFIX);
        if again {
            sent.back.seen += 1;
            sent.back.owed = false;
        }
        let right_place =
            if again { sent.back.given > 0 } else { sent.topic == *topic && sent.queue == *queue };
        let as_sent = (right_place || altered) && sent.crc == seen.crc;
        let unwanted = sent.half.is_some_and(|half| !half.commit || half.told == 0);
        let is_back =
            !again && !is_gone && sent.lost && sent.ack.as_ref().is_some_and(|ack| ack.at == seen.at);
        let first = sent.seen_ms.is_none() && !again && !is_gone;
        if first {
            sent.seen_ms = Some(now);
        }
        let late = (first && sent.probe)
            .then(|| sent.ack.as_ref().map(|ack| now - ack.ms))
            .flatten()
            .filter(|ms| *ms > WAKE_MS);
        if !as_sent {
            let text = format!("{} was read at {topic}/{queue}/{offset} and is not what was sent", seen.id);
            self.violated("I2", text);
        }
        if unwanted {
            self.violated("I12", format!("{} was read and never committed", seen.id));
        }
        if again {
            self.happened("a message came again");
        }
        if is_back {
            self.violated("I3", format!("{} was lost in a power cut and is back", seen.id));
        }
        if let Some(ms) = late {
            self.violated("I9", format!("{} reached a waiting consumer only after {ms} ms", seen.id));
        }
        if !is_gone {
            self.bind(seen.place.clone(), seen.id, seen.at, true);
        }
    }

    /// A consumer asks the broker to bring a message again.
    pub fn given_back(&mut self, id: &str) {
        if let Some(sent) = self.sent.get_mut(id) {
            sent.back.given += 1;
        }
    }

    /// The broker said in that life that it will.
    pub fn back_acked(&mut self, id: &str, life: u32) {
        // What was to bring it again may be damaged already, or lost with the end of that life.
        let is_lost = self.has_rotten(id) || self.may_be_undone(life);
        if let Some(sent) = self.sent.get_mut(id) {
            sent.back.owed = sent.back.seen < sent.back.given && !is_lost;
            sent.back.since = self.written;
        }
    }

    /// A producer tells the broker what a transaction came to.
    pub fn told(&mut self, id: &str) {
        if let Some(half) = self.sent.get_mut(id).and_then(|sent| sent.half.as_mut()) {
            half.told += 1;
        }
    }

    /// The broker said in that life that the transaction is ended so.
    pub fn ended(&mut self, id: &str, life: u32) {
        let Some(half) = self.sent.get_mut(id).and_then(|sent| sent.half.as_mut()) else { return };
        half.ended = true;
        let what = if half.commit { "a transaction was committed" } else { "a transaction was rolled back" };
        self.happened(what);
        self.ended_too_late(id, life);
    }

    /// A consumer asked from `from` and got a record of another offset.
    pub fn gap(&mut self, place: &Place, wanted: i64) {
        self.violated("I4", format!("a consumer wanted offset {wanted} and got {place:?}"));
    }

    fn bind(&mut self, place: Place, id: &str, at: u64, seen: bool) {
        if self.is_free_place(&place) {
            if self.rot.was(at, id) {
                return;
            }
            if let Some(sent) = self.sent.get_mut(id) {
                sent.rotten = true;
            }
        }
        let known = self.places.entry(place.clone()).or_insert_with(|| Known { id: id.to_owned(), at, seen });
        known.seen |= seen;
        if known.id != id || known.at != at {
            let text = format!("{place:?} was {} at {}, and now is {id} at {at}", known.id, known.at);
            self.violated("I3", text);
        }
    }

    /// Positions of the store after a group of events, in that life of the broker.
    pub fn progress(&mut self, life: u32, written: u64, flushed: u64, confirmed: u64) {
        let (known, before_flushed, before_confirmed) = self.progress;
        if known == life && (flushed < before_flushed || confirmed < before_confirmed) {
            let text = format!(
                "flushed went from {before_flushed} to {flushed}, confirmed from {before_confirmed} to {confirmed}"
            );
            self.violated("I6", text);
        }
        let confirmed_max = if self.mode == Mode::Sync { flushed } else { written };
        if flushed > written || confirmed > confirmed_max {
            self.violated("I6", format!("written {written}, flushed {flushed}, confirmed {confirmed}"));
        }
        self.progress = (life, flushed, confirmed);
        self.written = written;
    }

    /// The store refuses for good, for this cause.
    pub fn poisoned(&mut self, now: i64, why: &str) -> bool {
        if self.poisoned.is_some() {
            return false;
        }
        self.happened("disk error");
        self.poisoned = Some((now, why.to_owned()));
        true
    }

    /// A record left the broker in an answer to a pull.
    pub fn pulled(&mut self, end: u64, confirmed: u64) {
        if end > confirmed {
            self.violated("I8", format!("a record that ends at {end} was read, confirmed is {confirmed}"));
        }
    }

    /// Whether everything acknowledged was delivered, as far as it can be.
    pub fn undelivered(&self) -> Vec<&str> {
        let missing = |sent: &Sent| {
            if sent.deleted || sent.rotten {
                return false;
            }
            if sent.back.owed && !self.ahead.keys().any(|(topic, _)| topic.starts_with(RETRY_PREFIX)) {
                return true;
            }
            let promised = sent.ack.as_ref().is_some_and(|ack| !self.is_behind(sent, ack));
            let wanted = sent.half.is_none_or(|half| half.commit && half.ended);
            promised && wanted && sent.seen_ms.is_none() && !sent.lost
        };
        self.sent.iter().filter(|(_, sent)| missing(sent)).map(|(id, _)| id.as_str()).collect()
    }

    /// A consumer that had read beyond the end left by a power cut may have passed it over.
    fn is_behind(&self, sent: &Sent, ack: &Ack) -> bool {
        let Some(ahead) = self.ahead.get(&(sent.topic.clone(), sent.queue)) else { return false };
        if sent.level.is_some() || sent.half.is_some() {
            // Its place in its own queue is not in its acknowledgement.
            return true;
        }
        let order = self.order.get(&(sent.producer, sent.topic.clone(), sent.queue));
        let offset = order.and_then(|order| order.get(&sent.n));
        offset.is_some_and(|(offset, at)| *at == ack.at && offset < ahead)
    }

    /// Ends the run: what is still missing will never come.
    pub fn close(&mut self, waited_ms: i64) {
        let missing: Vec<String> = self.undelivered().into_iter().take(5).map(str::to_owned).collect();
        if let Some(first) = missing.first() {
            let sent = self.sent.get(first);
            let invariant = match sent {
                Some(sent) if sent.half.is_some() => "I12",
                Some(sent) if sent.level.is_some() => "I13",
                _ => "I9",
            };
            let text =
                format!("acknowledged and not delivered {waited_ms} ms after the last fault: {missing:?}");
            self.violated(invariant, text);
        }
    }

    /// Delay of a level, ms.
    pub(crate) fn delay(level: usize) -> i64 {
        DELAYS.get(level.saturating_sub(1)).copied().unwrap_or(0)
    }

    /// Messages made, acknowledged, seen.
    pub fn counts(&self) -> (usize, usize, usize) {
        let acked = self.sent.values().filter(|sent| sent.ack.is_some()).count();
        let seen = self.sent.values().filter(|sent| sent.seen_ms.is_some()).count();
        (self.sent.len(), acked, seen)
    }
}
