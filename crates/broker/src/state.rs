//! What must survive, as records of the log: topics, groups, offsets, queue locks, progress of delayed messages.
//!
//! One reserved topic, one queue ([`crate::topics::STATE_TOPIC`], queue 0). Its records are written, flushed
//! and replicated with the messages they belong to, so state and messages cannot disagree by more than what
//! the flush mode allows for messages.
//!
//! ```text
//!   delta delta SNAPSHOT part part END delta delta …        ◄ the queue, oldest first
//!               └───────── read from the last whole snapshot on ──►
//! ```
//! - Topics and groups are noted before the request that changed them is answered; progress of delayed
//!   messages in one piece with the messages delivered; queue locks before their holders know; offsets about once a second and at the stop.
//! - A snapshot is the whole state, in pieces, in one group. It is written at the start if there is none, soon
//!   after each new log file, and when the deltas since the last outgrow it; retention never deletes behind it.
//!
//! Knows the tables and the store; the bytes are described in `docs/formats.md`.

use crate::{
    Broker,
    call::Out,
    groups::GroupConfig,
    hint::refused,
    locks::{LockChange, Queue},
    offsets::OffsetChange,
    props,
    topics::{DataVersion, STATE_TOPIC, TopicConfig},
};
use kerolox_net::Now;
use kerolox_protocol::{
    GroupName, LogOffset, Millis, QueueId, QueueOffset, TopicName,
    record::{self, Draft, Entry},
};
use kerolox_store::{
    Appended, DROPS, Dispatch, Line, Message, QueueEntry, QueueSlot, Store, disk::around::is_device_error,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tracing::{info, warn};

/// Version of the pieces' form.
const FORM: u32 = 1;
/// Offsets are noted at most this often.
const OFFSETS_MS: Millis = Millis(1_000);
/// After a refused note, when to try again.
const AGAIN_MS: Millis = Millis(1_000);
/// Entries of one piece of a snapshot: about half a megabyte of text.
const PIECE_ENTRIES: usize = 4_096;
/// Deltas may have so many bytes before a snapshot is written, or twice the snapshot's.
const DELTA_BYTES_MIN: u64 = 4 << 20;

/// The tag of a record tells what it is without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tag {
    Delta,
    Snapshot,
    Part,
    End,
}

impl Tag {
    fn name(self) -> &'static str {
        match self {
            Tag::Delta => "delta",
            Tag::Snapshot => "snapshot",
            Tag::Part => "part",
            Tag::End => "end",
        }
    }
    fn code(self) -> i64 {
        i64::from(kerolox_filter::code(self.name()))
    }
}

/// A record's body: what was set and what is gone.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Piece {
    form: u32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<TopicConfig>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub topics_gone: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topics_version: Option<DataVersion>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupConfig>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups_gone: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups_version: Option<DataVersion>,
    /// Topic, group, queue, next offset; none for a forgotten one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub offsets: Vec<(String, String, u32, Option<i64>)>,
    /// Group, topic, broker name, queue, client that holds it; none for a lock that is free.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub locks: Vec<(String, String, String, i32, Option<String>)>,
    /// Delay level, next queue offset.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub delay: Vec<(u32, u64)>,
    /// Delayed messages whose copies follow this record: delay level, next queue offset to deliver, and how many
    /// bytes of copies must stand behind this record for that to be so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub delivers: Vec<(u32, u64, u64)>,
    /// Exported file, hashes of its last contents, newest last.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub exports: BTreeMap<String, Vec<String>>,
}

impl Piece {
    /// Topics that are gone.
    pub(crate) fn gone(topics_gone: Vec<String>) -> Piece {
        Piece { topics_gone, ..Piece::default() }
    }

    fn is_empty(&self) -> bool {
        *self == Piece { form: self.form, ..Piece::default() }
    }
}

/// Where the state stands in the log.
#[derive(Debug)]
pub(crate) struct State {
    slot: QueueSlot,
    snapshot: Option<LogOffset>,
    snapshot_bytes: u64,
    delta_bytes: u64,
    /// The store refused a note: the next thing written is a snapshot, which has it.
    behind: bool,
    /// That was said; it is tried again every second, and said once.
    complained: bool,
    again: Option<Millis>,
    offsets_due: Millis,
    /// Hashes of the last exports, newest last.
    pub exports: BTreeMap<String, Vec<String>>,
}

/// The state cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateError(pub String);

impl std::fmt::Display for StateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for StateError {}

impl State {
    /// Finds the pieces to apply, from the last whole snapshot on.
    pub(crate) fn load(store: &mut Store, lines: &mut Vec<Line>) -> Result<(State, Vec<Piece>), StateError> {
        let topic = TopicName::new(STATE_TOPIC).map_err(|why| StateError(why.to_string()))?;
        let slot = store.slot(&topic, QueueId(0));
        let mut read = Pieces::read(store, slot)?;
        if read.is_sought {
            // Its queue is made from the log: damage there takes nothing of the state.
            lines.extend(store.mend_now());
            read = Pieces::read(store, slot)?;
        }
        let Pieces { start, mut pieces, ends, snapshot_bytes, delta_bytes, lost, is_sought, .. } = read;
        if is_sought {
            lines.push(Line::error(format!("the queue of {STATE_TOPIC} cannot be read as a whole")));
        }
        let passed = |number: QueueOffset| {
            Line::error(format!("the state's note number {number} cannot be read; it is passed over"))
        };
        // What is left of the state is written anew.
        let is_whole = lost.is_empty() || is_sought;
        lines.extend(lost.into_iter().map(passed));
        settle_delay(store, &mut pieces, &ends)?;
        store.keep_from(start);
        let state = State {
            slot,
            snapshot: start.filter(|_| is_whole),
            snapshot_bytes,
            delta_bytes,
            behind: false,
            complained: false,
            again: None,
            offsets_due: Millis(0),
            exports: BTreeMap::new(),
        };
        Ok((state, pieces))
    }

    /// When [`Broker::state_tick`] has something to do, given whether offsets changed.
    pub(crate) fn next_timer(&self, offsets_changed: bool) -> Option<Millis> {
        let offsets = offsets_changed.then_some(self.offsets_due);
        // At once, if there is none.
        let snapshot = self.snapshot.is_none().then(|| self.again.unwrap_or_default());
        [offsets, snapshot, self.again].into_iter().flatten().min()
    }

    /// The store did not take a note.
    fn refused(&mut self, why: &str) {
        if !std::mem::replace(&mut self.complained, true) {
            warn!(%why, "the state cannot be noted in the log; it is kept in memory and tried again");
        }
    }

    /// Lets the whole state be written soon.
    pub(crate) fn force_snapshot(&mut self) {
        self.snapshot = None;
    }
}

/// What is read of the state.
#[derive(Default)]
struct Pieces {
    /// The first piece of the last whole snapshot.
    start: Option<LogOffset>,
    pieces: Vec<Piece>,
    /// Where the record of each ends.
    ends: Vec<LogOffset>,
    snapshot_bytes: u64,
    delta_bytes: u64,
    /// Places of records that are no pieces any more. Of some nobody knows where they stood.
    lost: Vec<QueueOffset>,
    /// One of them belongs to the snapshot from which all is read.
    is_snapshot_lost: bool,
    /// Entries of the queue do not lead to their records, and can be made again.
    is_sought: bool,
}

impl Pieces {
    /// Reads from the last whole snapshot on. Where damage took something of that, from the one before, or else from the
    /// oldest record: what stands between tells most of it, too.
    fn read(store: &Store, slot: QueueSlot) -> Result<Pieces, StateError> {
        let mut read = Pieces::default();
        let entries = read.all_entries(store, slot)?;
        let mut start = last_snapshot(&entries);
        loop {
            read.read_from(store, slot, &entries, start)?;
            let Some(first) = start.filter(|_| read.is_snapshot_lost && !read.is_sought) else {
                return Ok(read);
            };
            start = entries.get(..first).and_then(last_snapshot);
            read = Pieces::default();
        }
    }

    fn read_from(
        &mut self,
        store: &Store,
        slot: QueueSlot,
        entries: &[(QueueOffset, QueueEntry)],
        start: Option<usize>,
    ) -> Result<(), StateError> {
        let read = self;
        // Until its end.
        let mut in_snapshot = start.is_some();
        for (offset, entry) in entries.get(start.unwrap_or(0)..).unwrap_or_default() {
            let is_delta = entry.tags_code == Tag::Delta.code();
            let io = |why| StateError(format!("the state record at {} cannot be read: {why}", entry.at));
            let piece = match store.message(slot, *offset).map_err(io)? {
                Message::Record(bytes) => piece_of(&bytes)?,
                Message::Deleted | Message::Lost => None,
                Message::Sought => {
                    read.is_sought = true;
                    None
                }
            };
            match piece {
                Some(piece) => {
                    let bytes = if is_delta { &mut read.delta_bytes } else { &mut read.snapshot_bytes };
                    *bytes += u64::from(entry.size);
                    read.ends.push(entry.at + u64::from(entry.size));
                    read.pieces.push(piece);
                }
                None => {
                    read.lost.push(*offset);
                    read.is_snapshot_lost |= in_snapshot && !is_delta;
                }
            }
            in_snapshot &= entry.tags_code != Tag::End.code();
        }
        let start = start.and_then(|start| entries.get(start)).map(|(_, entry)| entry.at);
        read.start = start.filter(|at| *at < store.end());
        Ok(())
    }

    /// All entries that can be read.
    fn all_entries(
        &mut self,
        store: &Store,
        slot: QueueSlot,
    ) -> Result<Vec<(QueueOffset, QueueEntry)>, StateError> {
        let bounds = store.bounds(slot);
        let (mut all, mut some) = (Vec::new(), Vec::new());
        let mut next = bounds.min;
        while next < bounds.max {
            some.clear();
            match store.entries(slot, next, 4_096, &mut some) {
                // The store knows of it from now on.
                Err(why) if is_device_error(&why) => {}
                Err(why) => {
                    return Err(StateError(format!("the queue of {STATE_TOPIC} cannot be read: {why}")));
                }
                Ok(()) => {}
            }
            self.is_sought |= some.is_empty();
            let offsets = (next.0..).map(QueueOffset);
            all.extend(offsets.zip(some.iter().copied()));
            next += (some.len() as u64).max(1);
        }
        Ok(all)
    }
}

/// The first piece of the last snapshot that has its end.
fn last_snapshot(entries: &[(QueueOffset, QueueEntry)]) -> Option<usize> {
    let is = |tag: Tag| move |(_, entry): &(QueueOffset, QueueEntry)| entry.tags_code == tag.code();
    let end = entries.iter().rposition(is(Tag::End))?;
    entries.get(..end)?.iter().rposition(is(Tag::Snapshot))
}

/// Works out how far each delay level was delivered, and leaves just that in the last piece.
///
/// A note speaks of copies that follow it; of the last note before a crash some may be missing, and anything may
/// have been appended in their place since. The newest thing said of a level that is true is what counts.
fn settle_delay(store: &Store, pieces: &mut [Piece], ends: &[LogOffset]) -> Result<(), StateError> {
    let mut known: BTreeMap<u32, u64> = BTreeMap::new();
    for (piece, end) in pieces.iter_mut().zip(ends).rev() {
        let delivers = std::mem::take(&mut piece.delivers);
        let from = |n: usize| n.checked_sub(1).and_then(|n| delivers.get(n)).map_or(0, |step| step.2);
        for (n, (level, next, upto)) in delivers.iter().enumerate().rev() {
            if !known.contains_key(level) && has_copy(store, *end, from(n), *upto)? {
                known.insert(*level, *next);
            }
        }
        for (level, next) in std::mem::take(&mut piece.delay) {
            known.entry(level).or_insert(next);
        }
    }
    if let Some(last) = pieces.last_mut() {
        last.delay = known.into_iter().collect();
    }
    Ok(())
}

/// Whether the copy that a note speaks of stands between two distances from the note's end. Nothing but copies
/// of that very note can: whatever was appended in their place begins with a note of its own.
fn has_copy(store: &Store, note_end: LogOffset, from: u64, upto: u64) -> Result<bool, StateError> {
    let at = note_end + from;
    if from == upto {
        return Ok(store.end() >= at);
    }
    let io = |why| StateError(format!("the record at {at} cannot be read: {why}"));
    let known_damage = store.damaged().iter().any(|range| range.contains(&at.0));
    let read = match store.record(at) {
        // What stands there was written once.
        Err(why) if is_device_error(&why) => return Ok(true),
        read => read.map_err(io)?,
    };
    let Some(bytes) = read else {
        // A copy that was damaged later was delivered all the same.
        return Ok(known_damage);
    };
    let Ok(Entry::Message(record)) = record::parse(&bytes) else { return Ok(false) };
    let real_topic = props::Known::read(record.properties).real_topic;
    Ok(u64::from(record.size) == upto - from && real_topic == Some(record.topic))
}

fn piece_of(bytes: &[u8]) -> Result<Option<Piece>, StateError> {
    let Ok(Entry::Message(record)) = record::parse(bytes) else { return Ok(None) };
    let Ok(piece) = serde_json::from_slice::<Piece>(record.body) else { return Ok(None) };
    if piece.form > FORM {
        return Err(StateError(format!(
            "the state at {} has form {}, this version reads up to {FORM}: start the newer version again",
            record.physical_offset, piece.form
        )));
    }
    Ok(Some(piece))
}

fn lock_line(change: LockChange) -> (String, String, String, i32, Option<String>) {
    let Queue { topic, broker, queue } = change.queue;
    (change.group.to_string(), topic, broker, queue, change.client)
}

/// Properties and body of a piece's record.
fn encode_piece(tag: Tag, piece: &mut Piece) -> Result<(Vec<u8>, Vec<u8>), String> {
    piece.form = FORM;
    let body = serde_json::to_vec(piece).map_err(|why| why.to_string())?;
    let mut properties = Vec::new();
    props::push(&mut properties, "TAGS", tag.name());
    if !piece.topics_gone.is_empty() {
        props::push(&mut properties, DROPS, &piece.topics_gone.join(" "));
    }
    Ok((properties, body))
}

impl Broker {
    /// Applies a piece to the tables.
    pub(crate) fn apply_piece(&mut self, piece: Piece) {
        for config in piece.topics {
            self.topics.restore(config.topic_name.clone(), Some(config));
        }
        for name in piece.topics_gone.iter().filter_map(|name| TopicName::new(name).ok()) {
            self.topics.restore(name, None);
        }
        for config in piece.groups {
            if let Ok(name) = GroupName::new(&config.group_name) {
                self.groups.restore(name, Some(config));
            }
        }
        for name in piece.groups_gone.iter().filter_map(|name| GroupName::new(name).ok()) {
            self.groups.restore(name, None);
        }
        for (topic, group, queue, offset) in piece.offsets {
            if let (Ok(topic), Ok(group)) = (TopicName::new(&topic), GroupName::new(&group)) {
                self.offsets.restore(OffsetChange { topic, group, queue, offset });
            }
        }
        for (group, topic, broker, queue, client) in piece.locks {
            if let Ok(group) = GroupName::new(&group) {
                let change = LockChange { group, queue: Queue { topic, broker, queue }, client };
                self.locks.restore(self.now.mono, change);
            }
        }
        for (level, next) in piece.delay {
            self.delay.restore(level, QueueOffset(next));
        }
        if let Some(version) = piece.topics_version {
            self.topics.set_version(version);
        }
        if let Some(version) = piece.groups_version {
            self.groups.set_version(version);
        }
        self.state.exports.extend(piece.exports);
    }

    /// First record that the state is read from at the next start; what is before may be deleted.
    pub fn state_start(&self) -> LogOffset {
        self.state.snapshot.unwrap_or(self.store.first())
    }

    /// Notes changes of topics and groups in the log, and tells the name servers of topics. Called before
    /// whoever changed them is answered.
    pub(crate) fn note_tables(&mut self, now: Now, out: &mut Out) {
        let mut piece = Piece::default();
        if self.topics.has_changes() {
            let changes = self.topics.take_changes();
            let names: Vec<TopicName> = changes.iter().map(|(name, _)| name.clone()).collect();
            for (name, config) in changes {
                match config {
                    Some(config) => piece.topics.push(config),
                    None => piece.topics_gone.push(name.to_string()),
                }
            }
            piece.topics_version = Some(self.topics.version());
            self.export.topics = true;
            let facts =
                crate::register::Facts { options: &self.options, topics: &self.topics, groups: &self.groups };
            self.registrar.topics_changed(now, &names, facts, out);
        }
        if self.groups.has_changes() {
            for (name, config) in self.groups.take_changes() {
                match config {
                    Some(config) => piece.groups.push(config),
                    None => piece.groups_gone.push(name.to_string()),
                }
            }
            piece.groups_version = Some(self.groups.version());
            self.export.groups = true;
        }
        self.note(now, piece);
    }

    /// Notes changed offsets.
    pub(crate) fn note_offsets(&mut self, now: Now) {
        self.state.offsets_due = now.mono + OFFSETS_MS;
        let changes = self.offsets.take_changes();
        if changes.is_empty() || mutant!(CommitsLost) {
            return;
        }
        self.export.offsets = true;
        for changes in changes.chunks(PIECE_ENTRIES) {
            let line = |change: &OffsetChange| {
                (change.topic.to_string(), change.group.to_string(), change.queue, change.offset)
            };
            self.note(now, Piece { offsets: changes.iter().map(line).collect(), ..Piece::default() });
        }
    }

    /// Notes who got or gave back queue locks; before they are told.
    pub(crate) fn note_locks(&mut self, now: Now) {
        let changes = self.locks.take_changes();
        if mutant!(LocksLost) {
            return;
        }
        for changes in changes.chunks(PIECE_ENTRIES) {
            let locks = changes.iter().cloned().map(lock_line).collect();
            self.note(now, Piece { locks, ..Piece::default() });
        }
    }

    /// Appends copies of delayed messages behind the note that they are delivered: all or nothing.
    pub(crate) fn append_delivered(
        &mut self,
        now: Now,
        copies: &[(Draft<'_>, QueueSlot, Dispatch<'_>)],
        steps: &[(u32, u64, u64)],
    ) -> Result<Vec<Appended>, String> {
        let refused = |why| refused(why).remark;
        let late = mutant!(DelayNotedLate);
        let mut piece = match late {
            true => Piece { delay: self.delay_progress(), ..Piece::default() },
            false => Piece { delivers: steps.to_vec(), ..Piece::default() },
        };
        let (properties, body) = encode_piece(Tag::Delta, &mut piece)?;
        let note = self.own_draft(now, STATE_TOPIC, &properties, &body);
        let size = note.encoded_len() as u64;
        let mut all = vec![(note, self.state.slot, Dispatch::of(STATE_TOPIC, 0, &properties))];
        all.extend_from_slice(copies);
        if late {
            all.rotate_left(1);
        }
        if mutant!(DelayProgressLost) {
            all.remove(0);
        }
        let bytes: u64 = all.iter().map(|(draft, ..)| draft.encoded_len() as u64).sum();
        if bytes + 8 > self.store.segment_bytes() {
            return self.append_huge(now, copies);
        }
        let mut appended = self.store.append_all(now.wall, &all).map_err(refused)?;
        self.export.delay = true;
        self.state.delta_bytes += size;
        if appended.len() > copies.len() && !late {
            appended.remove(0);
        }
        Ok(appended)
    }

    /// A message that fills a log file alone, so that the note cannot lie in the same one.
    fn append_huge(
        &mut self,
        now: Now,
        copies: &[(Draft<'_>, QueueSlot, Dispatch<'_>)],
    ) -> Result<Vec<Appended>, String> {
        let appended = self.store.append_all(now.wall, copies).map_err(|why| refused(why).remark)?;
        self.export.delay = true;
        let delay = self.delay_progress();
        self.note(now, Piece { delay, ..Piece::default() });
        Ok(appended)
    }

    fn delay_progress(&self) -> Vec<(u32, u64)> {
        self.delay.progress().map(|(level, next)| (level, next.0)).collect()
    }

    /// Appends a delta. If the store refuses, a snapshot follows as soon as it accepts again.
    pub(crate) fn note(&mut self, now: Now, mut piece: Piece) {
        if piece.is_empty() || self.state.behind {
            return;
        }
        if let Err(why) = self.append_piece(now, Tag::Delta, &mut piece) {
            self.state.refused(&why);
            self.state.behind = true;
            self.state.force_snapshot();
            self.state.again = Some(now.mono + AGAIN_MS);
        }
    }

    /// Whether something is not noted yet because the store refused.
    pub(crate) fn has_refused_notes(&self) -> bool {
        self.state.behind
    }

    /// What is due: offsets, a snapshot.
    pub(crate) fn state_tick(&mut self, now: Now) {
        if self.state.again.is_some_and(|again| again <= now.mono) {
            self.state.again = None;
        }
        if self.offsets.has_changes() && self.state.offsets_due <= now.mono {
            self.note_offsets(now);
        }
        self.snapshot_tick(now);
    }

    /// Writes the whole state if that is due.
    pub(crate) fn snapshot_tick(&mut self, now: Now) {
        if self.state.again.is_none() && self.snapshot_due() {
            self.snapshot(now);
        }
    }

    fn snapshot_due(&self) -> bool {
        let segment = |at: LogOffset| at.0 / self.options.store.mapped_file_size_commit_log.0.max(1);
        match self.state.snapshot {
            None => true,
            // One that is larger than a log file must not follow upon itself.
            Some(at) if segment(at) != segment(self.store.end()) => {
                self.store.end().0.saturating_sub(at.0) > 2 * self.state.snapshot_bytes
            }
            Some(_) => self.state.delta_bytes > DELTA_BYTES_MIN.max(2 * self.state.snapshot_bytes),
        }
    }

    /// Writes the whole state.
    fn snapshot(&mut self, now: Now) {
        let pieces = self.whole();
        let mut first = None;
        let mut bytes = 0;
        let tags = std::iter::once(Tag::Snapshot).chain(std::iter::repeat(Tag::Part));
        let end = std::iter::once((Tag::End, Piece::default()));
        for (tag, mut piece) in tags.zip(pieces).chain(end) {
            match self.append_piece(now, tag, &mut piece) {
                Ok(appended) => {
                    first = first.or(Some(appended.at));
                    bytes += u64::from(appended.size);
                }
                Err(why) => {
                    // An unfinished snapshot is harmless: its pieces say what is already so.
                    self.state.refused(&why);
                    self.state.again = Some(now.mono + AGAIN_MS);
                    return;
                }
            }
        }
        self.store.keep_from(first);
        self.state.behind = false;
        if std::mem::take(&mut self.state.complained) {
            info!("the state is noted in the log again");
        }
        self.state.snapshot = first;
        self.state.snapshot_bytes = bytes;
        self.state.delta_bytes = 0;
    }

    fn whole(&self) -> Vec<Piece> {
        let mut pieces = vec![Piece {
            topics_version: Some(self.topics.version()),
            groups_version: Some(self.groups.version()),
            delay: self.delay_progress(),
            exports: self.state.exports.clone(),
            ..Piece::default()
        }];
        let topics: Vec<TopicConfig> = self.topics.all().cloned().collect();
        pieces.extend(
            topics.chunks(PIECE_ENTRIES).map(|part| Piece { topics: part.to_vec(), ..Piece::default() }),
        );
        let groups: Vec<GroupConfig> = self.groups.all().map(|(_, config)| config.clone()).collect();
        pieces.extend(
            groups.chunks(PIECE_ENTRIES).map(|part| Piece { groups: part.to_vec(), ..Piece::default() }),
        );
        let mut offsets = Vec::new();
        for (topic, group, queues) in self.offsets.all() {
            for (queue, offset) in queues {
                offsets.push((topic.to_string(), group.to_string(), *queue, Some(*offset)));
            }
        }
        pieces.extend(
            offsets.chunks(PIECE_ENTRIES).map(|part| Piece { offsets: part.to_vec(), ..Piece::default() }),
        );
        let locks: Vec<_> = self.locks.all().filter(|_| !mutant!(LocksLost)).map(lock_line).collect();
        pieces.extend(
            locks.chunks(PIECE_ENTRIES).map(|part| Piece { locks: part.to_vec(), ..Piece::default() }),
        );
        pieces
    }

    fn append_piece(&mut self, now: Now, tag: Tag, piece: &mut Piece) -> Result<Appended, String> {
        let (properties, body) = encode_piece(tag, piece)?;
        let appended = self.append_own(now, STATE_TOPIC, self.state.slot, &properties, &body);
        let appended = appended.map_err(|why| refused(why).remark)?;
        self.state.delta_bytes += u64::from(appended.size);
        Ok(appended)
    }
}
