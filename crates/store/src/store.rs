//! The store itself: one owner of the log, the queues and the index.
//!
//! Ties the parts together and keeps their order: a record is encoded into the log's memory, written by
//! `commit`, made durable by a flush job, and visible to readers when the mode's promise is kept.

mod append;
mod plan;
mod record;
mod times;
mod trash;
mod unread;
mod work;

use crate::{
    checkpoint::{self, Lock},
    cold::{Cold, Gate},
    disk::{Disk, around::is_bad_sector},
    doubt::{Doubts, Life},
    index::Index,
    log::Log,
    open::OpenError,
    options::{Flush, Options},
    queue::{Queues, files::Files},
    read::{Blocks, ReadAhead, Slices, Streams},
    recover::{self, Opened},
    types::{Arrival, Bounds, Flushed, Poisoned, QueueEntry, QueueInfo, QueueSlot, Refusal, Trimmed, Unread},
};
use kerolox_protocol::{LogOffset, Millis, QueueId, QueueOffset, TopicName};
use std::{collections::VecDeque, io, ops::Range, sync::Arc};

/// The storage engine of one directory.
#[derive(Debug)]
pub struct Store {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) options: Options,
    pub(crate) log: Log,
    pub(crate) queues: Queues,
    pub(crate) files: Arc<Files>,
    pub(crate) index: Option<Index>,
    /// Entries that are appended and not visible yet, in log order.
    hidden: VecDeque<Hidden>,
    /// Entries that became visible since [`Store::take_arrivals`].
    arrivals: Vec<Arrival>,
    /// Time of the last record.
    last_ms: Millis,
    /// When that was, by the monotonic clock.
    last_mono: Option<Millis>,
    /// What that clock told last.
    mono: Millis,
    poisoned: Option<Poisoned>,
    no_room: Option<Refusal>,
    disk_full: Option<Refusal>,
    stopping: bool,
    agenda: work::Agenda,
    /// Parts of the log that were found damaged, in order.
    pub(crate) damaged: Vec<Range<u64>>,
    /// Keys that waited for the index's file when a group was last written.
    keys_waiting: usize,
    /// Retention stops here.
    keep_from: Option<LogOffset>,
    /// Later, once the log is durable up to the second position, here.
    keep_next: Option<(Option<LogOffset>, LogOffset)>,
    /// Nor does it take these.
    unread: Vec<Unread>,
    /// What it took.
    trimmed: Vec<Trimmed>,
    used_percent: u32,
    pub(crate) gate: Gate,
    /// Entries of queues that do not lead to their messages, as readers found out.
    pub(crate) doubts: Arc<Doubts>,
    /// Queues whose entries were looked at since [`Store::take_mended`].
    mended: Vec<QueueSlot>,
    /// How far readers of the old part were read ahead, and what came of it.
    pub(crate) streams: Streams,
    /// Parts of the log that readers share.
    pub(crate) blocks: Arc<Blocks>,
    /// Ends with the store.
    _lock: Lock,
}

/// An appended entry that waits to be visible.
#[derive(Debug, Clone, Copy)]
struct Hidden {
    arrival: Arrival,
    generation: u32,
}

impl Store {
    /// Opens the store of a directory, repairing what a crash left. Blocks on the disk.
    pub fn open(disk: Arc<dyn Disk>, options: Options, now: Millis) -> Result<(Store, Opened), OpenError> {
        let recovered = recover::open(&disk, options, now)?;
        let report = recovered.report;
        let covered = recovered.covered;
        let flushed = Flushed { upto: recovered.log.end(), ms: recovered.last_ms };
        // Where no log file was ever deleted no queue begins before the log, and none has to be looked at.
        let starts_are_right = report.clean || recovered.log.first() == LogOffset(0);
        let mut store = Store {
            disk,
            options: recovered.options,
            log: recovered.log,
            queues: recovered.queues,
            files: recovered.files,
            index: recovered.index,
            hidden: VecDeque::new(),
            arrivals: Vec::new(),
            last_ms: recovered.last_ms,
            last_mono: None,
            mono: Millis(0),
            poisoned: None,
            no_room: None,
            disk_full: None,
            stopping: false,
            agenda: work::Agenda::new(
                covered,
                flushed,
                recovered.dirty,
                recovered.checkpoint,
                starts_are_right,
            ),
            damaged: report.damaged.clone(),
            keys_waiting: 0,
            keep_from: None,
            keep_next: None,
            unread: Vec::new(),
            trimmed: Vec::new(),
            used_percent: 0,
            gate: Gate::default(),
            doubts: Arc::default(),
            mended: Vec::new(),
            streams: Streams::default(),
            blocks: Arc::default(),
            _lock: recovered.lock,
        };
        if report.clean {
            store.agenda.set_starts(store.log.first());
        }
        let root = &store.options.paths.root;
        store.agenda.trash = trash::Trash::found(&*store.disk, root).map_err(OpenError::io(root))?;
        store
            .remember(&report, recovered.is_damage_known)
            .map_err(OpenError::io(&store.options.paths.root))?;
        Ok((store, report))
    }

    /// Writes down what recovery found, before anything is built on it: the next crash must not be judged by
    /// what the one before left.
    fn remember(&mut self, report: &Opened, is_damage_known: bool) -> io::Result<()> {
        if report.clean {
            return Ok(());
        }
        let mut snapshot = self.snapshot(false);
        if let Some(index) = &self.index {
            snapshot.progress.index_synced = index.synced();
            snapshot.progress.index_written = index.written();
            if index.pending() > 0 {
                snapshot.expect_all_keys();
            }
        }
        if report.foreign || !is_damage_known {
            // From now on the store is ours. And what looks damaged now may look sound to the next start, which need
            // not doubt what this one had to.
            snapshot.run()?;
            self.agenda.set_digest(snapshot.digest());
        } else {
            checkpoint::save_progress(&*self.disk, &self.options.paths, &snapshot.progress)?;
        }
        Ok(())
    }

    /// Takes over those options that may change while the store is open: flush mode, intervals, limits,
    /// retention and the rule for cold reads. The others are as they were when it was opened.
    ///
    /// A change of the flush mode counts from now on: what was visible stays so, and what waited for a flush
    /// under [`Flush::Sync`] becomes visible under [`Flush::Async`] at once.
    pub fn retune(&mut self, options: &Options) {
        self.options.flush = options.flush;
        self.options.flush_interval = options.flush_interval;
        self.options.behind_interval = options.behind_interval;
        self.options.checkpoint_interval = options.checkpoint_interval;
        self.options.message_bytes_max = options.message_bytes_max;
        self.options.retention = options.retention.clone();
        self.options.ram_bytes = options.ram_bytes;
        self.options.memory_percent = options.memory_percent;
        self.show();
    }

    /// The handle of a queue. Makes the queue in memory if there was none; it has no file before it has a
    /// message.
    pub fn slot(&mut self, topic: &TopicName, queue: QueueId) -> QueueSlot {
        self.queues.slot(topic, queue)
    }

    /// The handle of a queue that is there.
    pub fn find_slot(&self, topic: &str, queue: QueueId) -> Option<QueueSlot> {
        self.queues.find(topic, queue)
    }

    /// Whether appends are accepted, and if not, why.
    pub fn writable(&self) -> Result<(), Refusal> {
        if let Some(poisoned) = &self.poisoned {
            return Err(Refusal::Poisoned(poisoned.clone()));
        }
        if self.stopping {
            return Err(Refusal::Stopping);
        }
        if let Some(refusal) = self.disk_full.as_ref().or(self.no_room.as_ref()) {
            return Err(refusal.clone());
        }
        // A message has one queue entry and as many keys as its sender likes.
        match self.queues.pending().max(self.keys_waiting) {
            entries if entries > self.options.pending_max => Err(Refusal::Behind { entries }),
            _ => Ok(()),
        }
    }

    fn count_keys(&mut self) {
        self.keys_waiting = self.index.as_ref().map_or(0, Index::pending);
    }

    /// Writes everything appended since the last call. What it covers survives the end of the process.
    /// Writes to the page cache; a full device queue may make it wait.
    pub fn commit(&mut self) -> Result<LogOffset, Poisoned> {
        if let Some(poisoned) = &self.poisoned {
            return Err(poisoned.clone());
        }
        match self.log.commit() {
            Ok(()) => {
                self.count_keys();
                self.show();
                Ok(self.log.written())
            }
            Err(why) => Err(self.poison("writing the log", &why)),
        }
    }

    /// Position of the oldest byte that is still there.
    pub fn first(&self) -> LogOffset {
        self.log.first()
    }
    /// End of what was appended.
    pub fn end(&self) -> LogOffset {
        self.log.end()
    }
    /// End of what was written: survives `kill -9`.
    pub fn written(&self) -> LogOffset {
        self.log.written()
    }
    /// End of what was flushed: survives a power cut.
    pub fn flushed(&self) -> LogOffset {
        self.log.flushed()
    }
    /// End of what the flush mode promises to keep, and so of what readers see.
    pub fn confirmed(&self) -> LogOffset {
        match self.options.flush {
            Flush::Async => self.log.written(),
            Flush::Sync if mutant!(UnconfirmedShown) => self.log.written(),
            Flush::Sync => self.log.flushed(),
        }
    }
    /// Bytes behind the end of the log that are probably still in memory; what lies further back is cold.
    pub fn warm_bytes(&self) -> u64 {
        self.options.warm_bytes()
    }
    /// Size of a log file. No record, and nothing that is appended as one piece, lies in two.
    pub fn segment_bytes(&self) -> u64 {
        self.log.segment_bytes()
    }
    /// The flush mode.
    pub fn flush_mode(&self) -> Flush {
        self.options.flush
    }

    /// Moves the entries that became visible since the last call to `into`, in log order.
    pub fn take_arrivals(&mut self, into: &mut Vec<Arrival>) {
        into.append(&mut self.arrivals);
    }

    /// First and end of a queue.
    pub fn bounds(&self, slot: QueueSlot) -> Bounds {
        self.queues.get(slot).map(|queue| queue.bounds()).unwrap_or_default()
    }

    /// One visible entry. May read a file.
    pub fn entry(&self, slot: QueueSlot, at: QueueOffset) -> io::Result<Option<QueueEntry>> {
        let mut found = Vec::new();
        self.entries(slot, at, 1, &mut found)?;
        Ok(found.first().copied())
    }

    /// Visible entries from `from` on, at most `n`; may be fewer although there are more. May read a file.
    pub fn entries(
        &self,
        slot: QueueSlot,
        from: QueueOffset,
        n: usize,
        into: &mut Vec<QueueEntry>,
    ) -> io::Result<()> {
        let before = into.len();
        let read = self.queues.entries((&self.files, &self.gate), slot, from, n, into);
        let is_missing = match &read {
            Ok(()) => into.len() == before && n > 0 && self.bounds(slot).has(from),
            // A file may have been made, and never got its length.
            Err(why) => is_bad_sector(why) || why.kind() == io::ErrorKind::UnexpectedEof,
        };
        if is_missing && let Some((life, ..)) = self.name(slot) {
            self.doubts.doubt(life, from.0);
        }
        read
    }

    /// A queue, as long as it is not deleted, and its names.
    pub(crate) fn name(&self, slot: QueueSlot) -> Option<(Life, Arc<str>, QueueId)> {
        let queue = self.queues.get(slot)?;
        let life = Life { slot, generation: queue.generation };
        Some((life, Arc::clone(self.queues.topic_name(queue)?), queue.id))
    }

    /// Queues of which entries that did not lead to their messages were looked at since the last call: who waits for
    /// them may ask again.
    pub fn take_mended(&mut self) -> Vec<QueueSlot> {
        std::mem::take(&mut self.mended)
    }

    /// What should be read ahead of who gets these records, unless they are near the end of the log.
    pub fn read_ahead(&mut self, slices: &Slices) -> Option<ReadAhead> {
        let confirmed = self.confirmed();
        self.streams.read_ahead(&self.log, confirmed, slices)
    }

    /// From now on reads of what is not in memory fail with [`io::ErrorKind::WouldBlock`] and are collected, but
    /// those in `known`, which somebody has read meanwhile. Until [`Store::wait_again`].
    pub fn wait_for_nothing(&mut self, known: Cold) {
        self.gate.shut(known);
    }

    /// Whether such a read was met: what was found out since then is worth nothing.
    pub fn has_met_cold(&self) -> bool {
        self.gate.has_met()
    }

    /// Ends [`Store::wait_for_nothing`]. What was met has to be read, on a thread that may wait, before the
    /// question is asked again with it.
    pub fn wait_again(&mut self) -> Option<Cold> {
        self.gate.open()
    }

    /// Topics that have messages, or had and were not deleted.
    pub fn topics(&self) -> Vec<Arc<str>> {
        let living = self.queues.topics().map(|(name, mut queues)| queues.next().map(|_| Arc::clone(name)));
        living.flatten().collect()
    }

    /// Queues of a topic that have messages, or had.
    pub fn queues(&self, topic: &str) -> Vec<QueueInfo> {
        let slots = self.queues.queues_of(topic).into_iter();
        let living =
            slots.filter_map(|slot| Some((slot, self.queues.get(slot).filter(|queue| queue.alive)?)));
        living.map(|(slot, queue)| QueueInfo { id: queue.id, slot, bounds: queue.bounds() }).collect()
    }

    /// Share of the disk that was used at the last look, percent.
    pub fn used_percent(&self) -> u32 {
        self.used_percent
    }

    /// What made the index stop taking keys, if anything did; a restart makes up for it, or room does (a full disk).
    pub fn index_failed(&self) -> Option<io::ErrorKind> {
        self.index.as_ref().and_then(Index::failed)
    }

    /// Parts of the log that were found damaged: their messages are lost, and reads pass over them.
    pub fn damaged(&self) -> &[Range<u64>] {
        &self.damaged
    }

    /// Makes entries below the confirmed position visible.
    fn show(&mut self) {
        let confirmed = self.confirmed();
        while let Some(hidden) = self.hidden.front() {
            let arrival = hidden.arrival;
            if arrival.at.0 + u64::from(arrival.size) > confirmed.0 {
                return;
            }
            let generation = hidden.generation;
            self.hidden.pop_front();
            if self.queues.get(arrival.slot).is_some_and(|queue| queue.generation == generation) {
                self.queues.show(arrival.slot, arrival.queue_offset + 1);
                self.arrivals.push(arrival);
            }
        }
    }

    /// Ends writing for good. What failed is never tried again: after a failed sync the system may have
    /// forgotten the data and would report success.
    fn poison(&mut self, doing: &str, why: &io::Error) -> Poisoned {
        let first = self.poisoned.get_or_insert_with(|| {
            let poisoned = Poisoned { why: format!("{doing}: {why}").into() };
            tracing::error!(why = %poisoned.why, "the store stops accepting after a disk error");
            poisoned
        });
        first.clone()
    }
}
