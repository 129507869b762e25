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

mod ahead;
mod behind;
mod checkpoint;
mod mend;
mod retention;

use super::{Store, trash::Trash};
use crate::{
    disk::{File, around::is_out_of_files},
    doubt::{Life, Open},
    index::{IndexDone, PENDING_WORTH},
    job::{Outcome, Snapshot, StoreDone, StoreJob, Work},
    log::is_no_room,
    options::Flush,
    queue::files::Touched,
    retain,
    smallfile::Digest,
    types::{Flushed, Now, Refusal},
};
use kerolox_protocol::{LogOffset, Millis, TopicName};
use std::{collections::BTreeMap, io, path::PathBuf, sync::Arc};

/// Pause between two looks at a disk that had no room.
const RETRY: Millis = Millis(1_000);
/// Pause before a log file that could not be made ahead is made, unless an append needs it.
const SPARE_AGAIN: Millis = Millis(10_000);

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
    /// The position and time to which the write-behind brings queue files, while a pass over them is under way.
    pass: Option<Flushed>,
    /// Some queue files hold entries beyond [`Agenda::covered`], others do not. There is no checkpoint meanwhile, since
    /// the ends of queues belong to no one position.
    partial: bool,
    /// Touched since the last checkpoint.
    dirty: Touched,
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
    /// No log file could be made ahead: not again before then.
    spare_after: Option<Millis>,
    reserving: bool,
    zeroing: bool,
    pub(super) probing: bool,
    pub(super) last_probe: Option<Millis>,
    delete_asked: bool,
    /// Topics whose files are to be removed.
    drops: Vec<Arc<str>>,
    /// Next queue to look at, while queues are being cleaned.
    clean_next: Option<usize>,
    /// Since a start after a crash no cleaning has gone through all queues.
    may_have_strays: bool,
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
    held: Option<retention::Held>,
    clock: retain::Clock,
    /// Since when a stop goes on, and when it said so last.
    stopping: Option<(Millis, Millis)>,
    stopped: bool,
}

impl Agenda {
    /// `starts_are_right`: no queue begins before the log does.
    pub(super) fn new(
        covered: Flushed,
        flushed: Flushed,
        dirty: Touched,
        digest: Digest,
        starts_are_right: bool,
    ) -> Agenda {
        Agenda {
            flushing: false,
            last_flush: None,
            flushed,
            queues_busy: false,
            last_behind: None,
            covered,
            pass: None,
            partial: false,
            dirty,
            last_checkpoint: None,
            checkpoint_covers: covered.upto,
            checkpoint_soon: false,
            waiting: None,
            last_index: None,
            index_full: false,
            digest,
            spare_busy: false,
            spare_after: None,
            reserving: false,
            zeroing: false,
            probing: false,
            last_probe: None,
            delete_asked: false,
            drops: Vec::new(),
            clean_next: (!starts_are_right).then_some(0),
            may_have_strays: !starts_are_right,
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
        self.pass(now);
        if self.poisoned.is_some() || self.agenda.stopped {
            return;
        }
        self.flush_job(now, into);
        self.queue_jobs(now, into);
        self.index_job(now, into);
        self.spare_job(now, into);
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
        let behind_pause = match agenda.pass {
            Some(_) => Millis(0),
            None => behind::pause(options.behind_interval, self.queues.waiting()),
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
                    Ok(spare) => {
                        self.agenda.spare_after = None;
                        self.log.set_spare(spare);
                    }
                    // Made ahead only to save time: the append that finds no room will refuse.
                    Err((path, why)) if is_no_room(&why) => {
                        if self.agenda.spare_after.replace(now.mono + SPARE_AGAIN).is_none() {
                            tracing::warn!(path = %path.display(), %why, "no log file was made ahead");
                        }
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

    /// Never deletes a log file that holds anything at or behind `at`; `None` lifts that. What was said before counts
    /// until all that is appended by now is durable: a power cut may take what makes the older part needless.
    pub fn keep_from(&mut self, at: Option<LogOffset>) {
        self.keep_next = Some((at, self.log.end()));
        self.take_keep_next();
    }

    /// Where retention stops at present.
    pub(super) fn take_keep_next(&mut self) -> LogOffset {
        if let Some((at, _)) = self.keep_next.take_if(|(_, needs)| *needs <= self.log.flushed()) {
            self.keep_from = at;
        }
        self.keep_from.unwrap_or(LogOffset(u64::MAX))
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
        // Cleaning has time, but a stop waits for it.
        let work = if self.stopping { work.or_else(|| self.clean_job()) } else { work };
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
        for slot in topics.iter().flat_map(|topic| self.queues.queues_of(topic)) {
            self.agenda.dirty.forget_files(slot);
        }
        Some(Work::Drop { disk: Arc::clone(&self.disk), dir: self.files.dir().clone(), topics })
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

    pub(super) fn refuse_for_room(&mut self, path: PathBuf, why: &io::Error) -> Refusal {
        let said = Arc::from(why.to_string());
        let refusal = match is_out_of_files(why) {
            true => Refusal::NoFiles { why: said },
            false => Refusal::NoRoom { path, why: said },
        };
        if self.no_room.replace(refusal.clone()).is_none() {
            tracing::error!(%refusal, "appends are refused");
        }
        refusal
    }
}
