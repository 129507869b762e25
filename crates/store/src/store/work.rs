//! Work that the store hands out, when, and what follows from its outcome.
//!
//! | Job | When | At once |
//! |---|---|---|
//! | flush | written beyond flushed; under [`Flush::Async`] after an interval | one |
//! | write-behind, checkpoint, mending, cleaning and dropping of queues | see [`Store::queue_jobs`] | one of them |
//! | a log file made ahead | the last is three quarters full; one under [`Flush::Sync`] | one |
//! | room reserved in the last log file | it is busy | one |
//! | zeros ahead of the end | few are left, under [`Flush::Sync`] | one |
//! | probe of the disk, deletion of log files | after an interval | one |

mod behind;
mod mend;

use super::{Store, trash::Trash};
use crate::{
    checkpoint::{Checkpoint, Progress},
    disk::{File, Space},
    doubt::{Life, Open},
    ends::{Ends, TopicEnds},
    index::{Index, IndexDone, PENDING_WORTH},
    job::{
        Dirty, Flushed, Outcome, Probe, Probed, Remove, Snapshot, StoreDone, StoreJob, TRASH, Wanted, Work,
    },
    log::is_no_room,
    options::Flush,
    retain,
    smallfile::Digest,
    types::{Now, Refusal},
};
use kerolox_protocol::{LogOffset, Millis, TopicName};
use std::{collections::BTreeMap, io, path::PathBuf, sync::Arc};

/// Pause between two looks at a disk that had no room.
const RETRY: Millis = Millis(1_000);
/// Room that must be there before appends are tried again.
const RETRY_FREE: u64 = 1 << 20;
/// Pause between two forecasts.
const FORECAST: Millis = Millis(600_000);

/// What is under way, and when the next is due.
#[derive(Debug)]
pub(super) struct Agenda {
    flushing: bool,
    last_flush: Option<Millis>,
    /// The last thing that was flushed.
    flushed: Flushed,
    /// A job works on queue files; there is never a second one.
    queues_busy: bool,
    last_behind: Option<Millis>,
    /// What queue files cover.
    covered: Flushed,
    /// Queue files hold entries beyond [`Agenda::covered`]: others before them wait for a file to be made.
    /// There is no checkpoint meanwhile, since the ends of queues belong to no one position.
    partial: bool,
    /// The next write-behind is due at once: the last one left some to it.
    hurry: bool,
    /// Touched since the last checkpoint.
    dirty: Dirty,
    last_checkpoint: Option<Millis>,
    checkpoint_covers: LogOffset,
    checkpoint_soon: bool,
    /// A checkpoint that waits for the index: for its keys up to this record to be durable.
    waiting: Option<Box<Snapshot>>,
    last_index: Option<Millis>,
    /// The last job of the index found no room.
    index_full: bool,
    /// Of the original's checkpoint as it lies on the disk.
    digest: Digest,
    spare_busy: bool,
    reserving: bool,
    zeroing: bool,
    pub(super) probing: bool,
    pub(super) last_probe: Option<Millis>,
    delete_asked: bool,
    /// Topics whose files are to be removed.
    drops: Vec<Arc<str>>,
    /// Next queue to look at, while queues are being cleaned.
    clean_next: Option<usize>,
    /// A queue whose files are made whole, and what is looked at there: nobody else may open them meanwhile.
    mending: Option<(Life, Open)>,
    /// That failed: not again before then.
    mend_after: Option<Millis>,
    /// From here on the log is looked at while the starts of queues move up to it.
    cleaning: LogOffset,
    /// No queue begins with a message before this position.
    starts_at: LogOffset,
    /// Log files that are to be taken out of the log.
    deletion: Option<Work>,
    /// Those on their way: by position, as long as they are open.
    leaving: BTreeMap<u64, Arc<dyn File>>,
    /// Those that are out, and not gone yet.
    pub(super) trash: Trash,
    /// Free bytes of each disk when the last forecast was made.
    last_forecast: Option<(Millis, BTreeMap<PathBuf, u64>)>,
    /// The last deletion took files before their time.
    pub(super) forced: bool,
    held: Option<Held>,
    clock: retain::Clock,
    /// Since when a stop goes on, and when it said so last.
    stopping: Option<(Millis, Millis)>,
    stopped: bool,
}

/// Unread messages keep log files that would go.
#[derive(Debug)]
struct Held {
    topic: Arc<str>,
    /// When that was said last.
    said: Millis,
    /// Room is wanted.
    urgent: bool,
}

impl Agenda {
    /// `clean`: the starts of queues are right.
    pub(super) fn new(
        covered: Flushed,
        flushed: Flushed,
        dirty: Dirty,
        digest: Digest,
        clean: bool,
    ) -> Agenda {
        Agenda {
            flushing: false,
            last_flush: None,
            flushed,
            queues_busy: false,
            last_behind: None,
            covered,
            partial: false,
            hurry: false,
            dirty,
            last_checkpoint: None,
            checkpoint_covers: covered.upto,
            checkpoint_soon: false,
            waiting: None,
            last_index: None,
            index_full: false,
            digest,
            spare_busy: false,
            reserving: false,
            zeroing: false,
            probing: false,
            last_probe: None,
            delete_asked: false,
            drops: Vec::new(),
            clean_next: (!clean).then_some(0),
            mending: None,
            mend_after: None,
            cleaning: LogOffset(0),
            starts_at: LogOffset(0),
            deletion: None,
            leaving: BTreeMap::new(),
            trash: Trash::default(),
            last_forecast: None,
            forced: false,
            held: None,
            clock: retain::Clock::default(),
            stopping: None,
            stopped: false,
        }
    }

    /// No queue begins with a message before this position of the log.
    pub(super) fn set_starts(&mut self, at: LogOffset) {
        self.starts_at = at;
    }

    /// The original's checkpoint was written.
    pub(super) fn set_digest(&mut self, digest: Digest) {
        self.digest = digest;
    }
}

impl Store {
    /// Hands out what is due. To be called after [`Store::commit`] and when [`Store::next_timer`] says.
    pub fn jobs(&mut self, now: Now, into: &mut Vec<StoreJob>) {
        if self.poisoned.is_some() || self.agenda.stopped {
            return;
        }
        self.flush_job(now, into);
        self.queue_jobs(now, into);
        self.index_job(now, into);
        self.spare_job(into);
        self.reserve_job(into);
        self.zero_job(into);
        self.probe_job(now, into);
        into.extend(self.agenda.deletion.take().map(StoreJob));
        self.shrink_job(into);
    }

    /// When [`Store::jobs`] wants to be called at the latest, on the monotonic clock.
    ///
    /// `None` while stopping: then one job's end leads to the next.
    pub fn next_timer(&self) -> Option<Millis> {
        if self.poisoned.is_some() || self.stopping {
            return None;
        }
        let (agenda, options) = (&self.agenda, &self.options);
        let after = |last: Option<Millis>, pause| last.unwrap_or_default() + pause;
        let unflushed = self.log.written() > self.log.flushed() && !agenda.flushing;
        let behind = self.queues.pending() > 0 && agenda.covered.upto < agenda.flushed.upto;
        let writable = behind && !agenda.queues_busy;
        let behind_pause = match agenda.hurry {
            true => Millis(0),
            false => behind::pause(options.behind_interval, self.queues.waiting()),
        };
        // While a job writes keys they count as pending; a timer for them would always be due.
        let keys = self.index.as_ref().filter(|index| index.pending() > 0 && !index.is_busy());
        let key_pause = keys.and_then(|index| match index.failed() {
            None => Some(options.behind_interval),
            Some(_) => index.lacks_room().then_some(RETRY),
        });
        // A checkpoint that waits for the index goes on when the index's job is done.
        let idle = !agenda.queues_busy && agenda.waiting.is_none() && !agenda.partial;
        let changed = idle && agenda.covered.upto > agenda.checkpoint_covers;
        let may_mend = !agenda.queues_busy && !agenda.probing && self.doubts.has_open();
        [
            unflushed.then(|| after(agenda.last_flush, options.flush_interval)),
            writable.then(|| after(agenda.last_behind, behind_pause)),
            key_pause.map(|pause| after(agenda.last_index, pause)),
            changed.then(|| after(agenda.last_checkpoint, options.checkpoint_interval)),
            (!agenda.probing && agenda.mending.is_none())
                .then(|| after(agenda.last_probe, self.probe_pause())),
            may_mend.then(|| agenda.mend_after.unwrap_or_default()),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Takes the outcome of a job.
    pub fn done(&mut self, now: Now, done: StoreDone) {
        match done.0 {
            Outcome::Flushed(result) => self.flushed_done(result),
            Outcome::Behind { behind, touched, result } => self.behind_done(now, behind, touched, result),
            Outcome::Checkpoint { snapshot, result } => self.checkpoint_done(now, *snapshot, result),
            Outcome::Left(result) => {
                self.agenda.queues_busy = false;
                match result {
                    Ok(()) => self.agenda.stopped = true,
                    Err(why) => {
                        self.poison("ending", &why);
                    }
                }
            }
            Outcome::Index(done) => self.index_done(now, done),
            Outcome::Spare(result) => {
                self.agenda.spare_busy = false;
                match result {
                    Ok(spare) => self.log.set_spare(spare),
                    // Made ahead only to save time: the append that finds no room will refuse.
                    Err((path, why)) if is_no_room(&why) => {
                        tracing::warn!(path = %path.display(), %why, "no log file was made ahead")
                    }
                    Err((_, why)) => {
                        self.poison("making a log file ahead", &why);
                    }
                }
            }
            Outcome::Reserved(reserved) => {
                self.agenda.reserving = false;
                match reserved {
                    Ok(reserved) => self.log.set_reserved(&reserved),
                    Err(why) => {
                        self.poison("reserving room in the log", &why);
                    }
                }
            }
            Outcome::Zeroed(result) => {
                self.agenda.zeroing = false;
                match result {
                    Ok(upto) => self.log.set_zeroed(upto),
                    // Not needed to go on: the append that finds no room will refuse.
                    Err(why) if is_no_room(&why) => self.log.skip_zeros(),
                    Err(why) => {
                        self.poison("writing ahead of the log", &why);
                    }
                }
            }
            Outcome::Probed(probed) => self.probed(now, probed),
            Outcome::Removed(result) => {
                self.agenda.probing = false;
                let mut open = std::mem::take(&mut self.agenda.leaving);
                match result {
                    Ok(moved) => {
                        // Not before: no entry may be gone whose record is there.
                        self.agenda.clean_next = Some(0);
                        for (base, path) in moved {
                            self.agenda.trash.add(path, open.remove(&base));
                        }
                    }
                    Err(why) => {
                        tracing::warn!(%why, "a log file could not be deleted; it goes at the next start");
                    }
                }
            }
            Outcome::Shrunk(result) => self.agenda.trash.done(result),
            Outcome::Cleaned(result) => self.cleaned(result),
            Outcome::Mended(result) => self.mended(now, result),
            Outcome::Dropped(result) => {
                self.agenda.queues_busy = false;
                self.agenda.checkpoint_soon = true;
                if let Err(why) = result {
                    self.poison("removing a topic's queues", &why);
                }
            }
        }
    }

    /// Stops: nothing is accepted any more; [`Store::jobs`] hands out the last work until
    /// [`Store::is_clean`].
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// Whether a stopping store has nothing left to do: everything is on the disk, or the store is poisoned
    /// and nothing more can be done.
    pub fn is_clean(&self) -> bool {
        self.agenda.stopped || self.stopping && self.poisoned.is_some()
    }

    /// Asks for the deletion of old log files at the next look, whatever the hour.
    pub fn delete_expired(&mut self) {
        self.agenda.delete_asked = true;
        self.agenda.last_probe = None;
    }

    /// Forgets a topic's messages. Its queues begin at 0 again; handles stay valid. The records stay in the
    /// log until retention takes them.
    pub fn delete_topic(&mut self, topic: &TopicName) {
        for slot in self.queues.queues_of(topic) {
            self.queues.clear(slot);
            self.files.forget(slot);
            self.doubts.forget(slot);
        }
        self.agenda.drops.push(Arc::from(topic.as_str()));
    }

    /// Never deletes a log file that holds anything at or behind `at`; `None` lifts that.
    pub fn keep_from(&mut self, at: Option<LogOffset>) {
        self.keep_from = at;
    }

    fn flush_job(&mut self, now: Now, into: &mut Vec<StoreJob>) {
        if self.agenda.flushing || self.log.written() == self.log.flushed() {
            return;
        }
        let due = match self.options.flush {
            Flush::Sync => true,
            Flush::Async => {
                let last = self.agenda.last_flush;
                self.stopping || last.is_none_or(|last| now.mono >= last + self.options.flush_interval)
            }
        };
        if !due {
            return;
        }
        // Of a record that is appended but not written the time would be too late.
        let ms = if self.log.written() == self.log.end() { self.last_ms } else { self.agenda.flushed.ms };
        match self.log.unflushed(ms) {
            Ok(what) => {
                self.agenda.flushing = true;
                // From its beginning on: what is written while it runs waits for the next one.
                self.agenda.last_flush = Some(now.mono);
                into.push(StoreJob(Work::Flush { disk: Arc::clone(&self.disk), what }));
            }
            Err(why) => {
                self.poison("opening a log file to flush it", &why);
            }
        }
    }

    fn flushed_done(&mut self, result: io::Result<Flushed>) {
        self.agenda.flushing = false;
        match result {
            Ok(flushed) if self.poisoned.is_none() => {
                self.agenda.flushed = flushed;
                self.log.set_flushed(flushed.upto);
                self.show();
            }
            Ok(_) => {}
            Err(why) => {
                self.poison("flushing the log", &why);
            }
        }
    }

    /// One job for the queue files: what was deleted goes first, since new entries may lie in its place;
    /// then entries are written; then, seldom, a checkpoint is made; cleaning has time.
    fn queue_jobs(&mut self, now: Now, into: &mut Vec<StoreJob>) {
        if self.agenda.queues_busy {
            return;
        }
        if self.has_no_time(now) {
            if let Some(work) = self.drop_job().or_else(|| self.leave_job()) {
                self.agenda.queues_busy = true;
                into.push(StoreJob(work));
            }
            return;
        }
        let work = self.drop_job().or_else(|| self.behind_job(now)).or_else(|| self.waiting_job());
        let work = work.or_else(|| self.checkpoint_job(now));
        let work = work.or_else(|| self.mend_job(now)).or_else(|| self.clean_job());
        if let Some(work) = work {
            self.agenda.queues_busy = true;
            into.push(StoreJob(work));
        }
    }

    fn drop_job(&mut self) -> Option<Work> {
        if self.agenda.drops.is_empty() {
            return None;
        }
        let topics = std::mem::take(&mut self.agenda.drops);
        // Files that are gone cannot be synced.
        self.agenda.dirty.0.retain(|(topic, ..)| !topics.contains(topic));
        Some(Work::Drop { disk: Arc::clone(&self.disk), dir: self.files.dir().clone(), topics })
    }

    fn checkpoint_job(&mut self, now: Now) -> Option<Work> {
        let agenda = &self.agenda;
        if agenda.waiting.is_some() || agenda.partial {
            return None;
        }
        let last = agenda.last_checkpoint;
        let grown = agenda.covered.upto.0.saturating_sub(agenda.checkpoint_covers.0);
        let waited = last.is_none_or(|last| now.mono >= last + self.options.checkpoint_interval);
        let all_done = self.queues.pending() == 0 && self.log.flushed() == self.log.end() && !agenda.flushing;
        let ahead = agenda.spare_busy || agenda.reserving || agenda.zeroing;
        let idle = !ahead && !agenda.probing && !agenda.trash.is_busy();
        let stop = self.stopping && all_done && idle;
        let due =
            stop || agenda.checkpoint_soon || grown >= self.options.checkpoint_bytes || grown > 0 && waited;
        if !due || self.stopping && !stop {
            return None;
        }
        self.agenda.checkpoint_soon = false;
        // Keys of all records that the queues cover are in the index's memory at least; they must be on the
        // disk before this is remembered.
        let snapshot = Box::new(self.snapshot(stop));
        self.agenda.waiting = Some(snapshot);
        self.waiting_job()
    }

    /// The checkpoint that waits for the index, if the index is ready for it.
    fn waiting_job(&mut self) -> Option<Work> {
        let mut snapshot =
            self.agenda.waiting.take_if(|snapshot| match (&self.index, snapshot.index_need) {
                // Should the index have failed, the next start reads from the log what it lacks.
                (Some(index), Some(need)) => {
                    index.failed().is_some() || index.synced().is_some_and(|mark| mark.covers(&need))
                }
                _ => true,
            })?;
        if let Some(index) = &self.index {
            snapshot.progress.index_synced = index.synced();
            snapshot.progress.index_written = index.written();
        }
        Some(Work::Checkpoint(snapshot))
    }

    fn index_job(&mut self, now: Now, into: &mut Vec<StoreJob>) {
        let Some(index) = &mut self.index else { return };
        let must_sync = self.agenda.waiting.is_some();
        let retry = self.agenda.last_index.is_none_or(|last| now.mono >= last + RETRY);
        if index.lacks_room() && retry && !self.stopping {
            index.retry();
        }
        let waited =
            self.agenda.last_index.is_none_or(|last| now.mono >= last + self.options.behind_interval);
        let due = must_sync || self.stopping || waited || index.pending() >= PENDING_WORTH;
        if due && let Some(job) = index.job(must_sync) {
            into.push(StoreJob(Work::Index(Box::new(job))));
        }
    }

    fn index_done(&mut self, now: Now, done: IndexDone) {
        self.agenda.last_index = Some(now.mono);
        let Some(index) = &mut self.index else { return };
        match index.done(done) {
            Ok(()) if std::mem::take(&mut self.agenda.index_full) => {
                tracing::info!("the index takes keys again");
            }
            Ok(()) => {}
            // Messages do not depend on it.
            Err(why) if index.lacks_room() => {
                if !std::mem::replace(&mut self.agenda.index_full, true) {
                    tracing::error!(%why, "no room for the index; its keys wait in memory until there is");
                }
            }
            Err(why) => tracing::error!(%why, "the index takes no more keys; a restart makes up for them"),
        }
        self.count_keys();
    }

    /// The state that queue files hold now.
    pub(super) fn snapshot(&mut self, stop: bool) -> Snapshot {
        let mut covers = self.agenda.covered;
        if mutant!(CheckpointAhead) {
            covers.upto = self.log.flushed();
        }
        let mut checkpoint = Checkpoint::default();
        checkpoint.set_physic(covers.ms);
        checkpoint.set_logics(covers.ms);
        checkpoint.set_index(covers.ms);
        let ends = Ends {
            clean: stop,
            covers: covers.upto,
            last_ms: covers.ms,
            checkpoints: [self.agenda.digest, Digest::of(checkpoint.bytes())],
            segment_bytes: self.options.segment_bytes,
            queue_file_bytes: self.files.file_bytes,
            index_covers: self.index.as_ref().and_then(Index::covered),
            damaged: self.damaged.clone(),
            topics: self.ends(),
        };
        let progress = Progress {
            boot_id: self.disk.boot_id(),
            flushed: self.log.flushed(),
            queues_written: covers.upto,
            queues_synced: covers.upto,
            ..Progress::default()
        };
        Snapshot {
            disk: Arc::clone(&self.disk),
            paths: self.options.paths.clone(),
            files: Arc::clone(&self.files),
            dirty: std::mem::take(&mut self.agenda.dirty),
            ends,
            progress,
            checkpoint,
            index_need: self.index.as_ref().and_then(Index::newest),
            last: stop.then(|| self.log.take_spare()),
        }
    }

    fn ends(&self) -> Vec<TopicEnds> {
        let topics = self.queues.topics().map(|(name, queues)| TopicEnds {
            name: Arc::clone(name),
            queues: queues
                .map(|(_, queue)| (queue.id, queue.min.min(queue.written), queue.written))
                .collect(),
        });
        topics.filter(|topic| !topic.queues.is_empty()).collect()
    }

    fn checkpoint_done(&mut self, now: Now, snapshot: Snapshot, result: io::Result<()>) {
        self.agenda.queues_busy = false;
        self.agenda.last_checkpoint = Some(now.mono);
        match result {
            Ok(()) => {
                self.agenda.digest = snapshot.digest();
                self.agenda.checkpoint_covers = snapshot.ends.covers;
                self.agenda.stopped |= snapshot.last.is_some();
            }
            Err(why) if is_no_room(&why) && !self.stopping => {
                let (files, dirs) = snapshot.dirty;
                self.agenda.dirty.0.extend(files);
                self.agenda.dirty.1.extend(dirs);
                self.refuse_for_room(self.options.paths.root.clone(), &why);
            }
            Err(why) => {
                self.poison("making a checkpoint", &why);
            }
        }
    }

    fn spare_job(&mut self, into: &mut Vec<StoreJob>) {
        if self.agenda.spare_busy || self.stopping {
            return;
        }
        // Where zeros are wanted the file is made early, to have them before it is needed.
        let share = if self.options.flush == Flush::Sync { 1 } else { 3 };
        if let Some((base, reserve)) = self.log.wants_spare(share) {
            self.agenda.spare_busy = true;
            let (disk, dir) = (Arc::clone(&self.disk), self.log.dir().clone());
            let segment_bytes = self.log.segment_bytes();
            into.push(StoreJob(Work::Spare { disk, dir, base, segment_bytes, reserve }));
        }
    }

    fn reserve_job(&mut self, into: &mut Vec<StoreJob>) {
        if self.agenda.reserving || self.stopping {
            return;
        }
        match self.log.wants_reserve() {
            Some(Ok(reserve)) => {
                self.agenda.reserving = true;
                into.push(StoreJob(Work::Reserve(reserve)));
            }
            Some(Err(why)) => {
                self.poison("opening a log file to reserve room", &why);
            }
            None => {}
        }
    }

    /// Zeros ahead make flushes fast; only who waits for flushes cares.
    fn zero_job(&mut self, into: &mut Vec<StoreJob>) {
        if self.options.flush != Flush::Sync || self.agenda.zeroing || self.stopping || self.no_room.is_some()
        {
            return;
        }
        match self.log.wants_zeros() {
            Some(Ok(zero)) => {
                self.agenda.zeroing = true;
                into.push(StoreJob(Work::Zero(zero)));
            }
            Some(Err(why)) => {
                self.poison("opening a log file to write ahead", &why);
            }
            None => {}
        }
    }

    pub(super) fn probe_pause(&self) -> Millis {
        let hurry = self.no_room.is_some() || self.disk_full.is_some();
        if hurry { RETRY.min(self.options.retention.interval) } else { self.options.retention.interval }
    }

    fn probe_job(&mut self, now: Now, into: &mut Vec<StoreJob>) {
        let due = self.agenda.last_probe.is_none_or(|last| now.mono >= last + self.probe_pause());
        if self.agenda.probing || self.agenda.mending.is_some() || self.stopping || !due {
            return;
        }
        self.agenda.probing = true;
        let (disk, paths) = (Arc::clone(&self.disk), self.options.paths.clone());
        let heads = self.log.oldest(retain::FILES_MAX + 1);
        let (wanted, seeks) = self.wanted();
        let files = Arc::clone(&self.files);
        into.push(StoreJob(Work::Probe(Probe { disk, paths, heads, files, wanted, seeks })));
    }

    fn probed(&mut self, now: Now, probed: Probed) {
        self.agenda.probing = false;
        self.agenda.last_probe = Some(now.mono);
        self.forget_silent_readers();
        let emptiest = probed.log.iter().map(|(path, space)| (retain::used_percent(*space), path)).min();
        let root = probed.root.map(|space| (retain::used_percent(space), &self.options.paths.root));
        // The log may lie on several disks and needs one of them; the queues need theirs.
        let Some((used_percent, path)) = emptiest.max(root) else { return };
        let path = path.clone();
        let root = probed.root.map(|space| (self.options.paths.root.clone(), space));
        let disks: Vec<_> = probed.log.iter().cloned().chain(root).collect();
        let free = disks.iter().map(|(_, space)| space.free).min().unwrap_or(0);
        self.forecast(now, &disks);
        self.log.set_free(free);
        if free >= RETRY_FREE && self.no_room.take().is_some() {
            tracing::info!(free, "there is room again, appends are tried");
        }
        self.used_percent = used_percent;
        self.delete_old(now, used_percent, &probed.heads, probed.wanted);
        self.weigh(used_percent, path);
    }

    /// Refuses appends on a full disk, and ends that.
    fn weigh(&mut self, used_percent: u32, path: PathBuf) {
        let limit_percent = self.options.retention.refuse_percent;
        let full = used_percent > limit_percent;
        let kept_for = self.agenda.held.as_ref().map(|held| Arc::clone(&held.topic));
        let refusal = full.then_some(Refusal::DiskFull { used_percent, limit_percent, path, kept_for });
        match (&self.disk_full, &refusal) {
            (None, Some(refusal)) => tracing::error!(%refusal, "appends are refused"),
            (Some(_), None) => tracing::info!(used_percent, limit_percent, "appends are accepted again"),
            _ => {}
        }
        self.disk_full = refusal;
    }

    /// Says in the log when writes will be refused, disk by disk, if it goes on like this.
    fn forecast(&mut self, now: Now, disks: &[(PathBuf, Space)]) {
        let free = || disks.iter().map(|(path, space)| (path.clone(), space.free)).collect();
        let Some((since, before)) = &self.agenda.last_forecast else {
            self.agenda.last_forecast = Some((now.mono, free()));
            return;
        };
        let passed = now.mono - *since;
        if passed < FORECAST {
            return;
        }
        let limit_percent = self.options.retention.refuse_percent;
        let mut said: Vec<Space> = Vec::new();
        for (path, space) in disks {
            let hours = before
                .get(path)
                .and_then(|before| retain::hours_left(*space, *before, passed, limit_percent));
            let Some(hours) = hours.filter(|hours| *hours < 72) else { continue };
            // Two directories of one disk.
            if !said.contains(space) {
                said.push(*space);
                let (path, free) = (path.display(), space.free);
                tracing::warn!(%path, hours, free, limit_percent, "at the present rate the disk will refuse writes");
            }
        }
        self.agenda.last_forecast = Some((now.mono, free()));
    }

    fn delete_old(
        &mut self,
        now: Now,
        used_percent: u32,
        heads: &[(u64, Option<Millis>)],
        wanted: Option<Wanted>,
    ) {
        // What was deleted last has not made its room yet: more of it would go than has to.
        if self.agenda.trash.makes_room() {
            return;
        }
        // A file's newest record is no younger than the next file's first.
        let files: Vec<_> = heads
            .windows(2)
            .filter_map(|two| {
                let [_, (next, time)] = two else { return None };
                Some((LogOffset(*next), *time))
            })
            .collect();
        let situation = retain::Situation {
            now_wall: self.agenda.clock.now(now),
            used_percent,
            asked: std::mem::take(&mut self.agenda.delete_asked),
            keep_from: self.keep_from.unwrap_or(LogOffset(u64::MAX)).min(self.agenda.checkpoint_covers),
            unread_from: wanted.as_ref().map_or(super::unread::ALL_READ, |wanted| wanted.from),
            files: &files,
        };
        let decision = retain::decide(&self.options.retention, &situation);
        self.tell_held(now, used_percent, wanted.filter(|_| decision.held));
        let segments = self.log.drop_oldest(decision.files);
        if segments.is_empty() {
            return;
        }
        let first = self.log.first();
        let (files, forced) = (segments.len(), decision.forced);
        self.agenda.forced = forced > 0;
        match forced {
            0 => tracing::info!(files, %first, used_percent, "log files are deleted, their time is over"),
            _ => tracing::error!(
                files,
                forced,
                %first,
                used_percent,
                "log files are deleted before their time, to make room: add space, or shorten fileReservedTime"
            ),
        }
        self.damaged.retain(|range| range.end > first.0);
        self.agenda.probing = true;
        let open = segments.iter().filter_map(|segment| Some((segment.base, segment.opened()?)));
        self.agenda.leaving = open.collect();
        let files = segments.into_iter().map(|segment| (segment.base, segment.path)).collect();
        let others = self.index.iter_mut().flat_map(|index| index.expire(first)).collect();
        let (disk, trash) = (Arc::clone(&self.disk), self.options.paths.root.join(TRASH));
        self.agenda.deletion = Some(Work::Remove(Remove { disk, trash, files, others }));
    }

    /// Says, now and then, that files stay only because somebody has not read them.
    fn tell_held(&mut self, now: Now, used_percent: u32, held: Option<Wanted>) {
        let Some(Wanted { from, topic, id }) = held else {
            if self.agenda.held.take().is_some() {
                tracing::info!(used_percent, "no log file is kept for unread messages any more");
            }
            return;
        };
        let rules = &self.options.retention;
        let (urgent, limit_percent) = (used_percent > rules.clean_percent, rules.refuse_percent);
        let said = self.agenda.held.take().filter(|held| held.urgent >= urgent);
        if let Some(Held { said, .. }) = said.filter(|held| now.mono - held.said < FORECAST) {
            self.agenda.held = Some(Held { topic, said, urgent });
            return;
        }
        if urgent {
            tracing::error!(
                %topic, queue = %id, %from, used_percent, limit_percent,
                "the disk is nearly full, but unread messages of a protected topic stand in the oldest log file: sends \
                 are refused above the limit instead; let its groups read on, or add space"
            );
        } else {
            tracing::warn!(
                %topic, queue = %id, %from, used_percent, limit_percent,
                "the oldest log file is kept beyond its time for unread messages of a protected topic"
            );
        }
        self.agenda.held = Some(Held { topic, said: now.mono, urgent });
    }

    pub(super) fn refuse_for_room(&mut self, path: PathBuf, why: &io::Error) -> Refusal {
        let refusal = Refusal::NoRoom { path, why: why.to_string().into() };
        if self.no_room.replace(refusal.clone()).is_none() {
            tracing::error!(%refusal, "appends are refused");
        }
        refusal
    }
}
