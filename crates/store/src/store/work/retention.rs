//! Looks at the disks, and what follows from how full they are: files of the log go, appends are refused.

use super::{RETRY, Store};
use crate::{
    disk::Space,
    job::{Probe, Probed, Remove, StoreJob, TRASH, Wanted, Work},
    retain,
    types::{Now, Refusal},
};
use kerolox_protocol::{LogOffset, Millis};
use std::{path::PathBuf, sync::Arc};

/// Room that must be there before appends are tried again.
const RETRY_FREE: u64 = 1 << 20;
/// Pause between two forecasts.
const FORECAST: Millis = Millis(600_000);

/// Ends of the oldest files but the last that was looked at, with times that are no earlier than their newest records:
/// a file's newest is no younger than the next file's first, or, where that cannot be read, the first of a later one.
fn ages(heads: &[(u64, Option<Millis>)]) -> Vec<(LogOffset, Option<Millis>)> {
    let mut later = None;
    let next = heads.iter().skip(1).rev().map(|(base, first)| {
        later = first.or(later);
        (LogOffset(*base), later)
    });
    let mut files: Vec<_> = next.collect();
    files.reverse();
    files
}

/// Unread messages keep log files that would go.
#[derive(Debug)]
pub(super) struct Held {
    topic: Arc<str>,
    /// When that was said last.
    said: Millis,
    /// Room is wanted.
    urgent: bool,
}

impl Store {
    pub(in crate::store) fn probe_pause(&self) -> Millis {
        let hurry = self.no_room.is_some() || self.disk_full.is_some();
        if hurry { RETRY.min(self.options.retention.interval) } else { self.options.retention.interval }
    }

    pub(super) fn probe_job(&mut self, now: Now, into: &mut Vec<StoreJob>) {
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

    pub(super) fn probed(&mut self, now: Now, probed: Probed) {
        self.agenda.probing = false;
        self.agenda.last_probe = Some(now.mono);
        self.streams.forget_silent_readers();
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
        let files = ages(heads);
        let situation = retain::Situation {
            now_wall: self.agenda.clock.now(now),
            used_percent,
            asked: std::mem::take(&mut self.agenda.delete_asked),
            keep_from: self.take_keep_next().min(self.agenda.checkpoint_covers),
            unread_from: wanted.as_ref().map_or(crate::store::unread::ALL_READ, |wanted| wanted.from),
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_whose_next_tells_no_time_is_as_old_as_the_one_behind_that() {
        let heads = [(0, Some(1)), (10, None), (20, Some(3)), (30, None)];
        let heads = heads.map(|(base, first)| (base, first.map(Millis)));
        let at = |base, ms: Option<i64>| (LogOffset(base), ms.map(Millis));
        assert_eq!(ages(&heads), [at(10, Some(3)), at(20, Some(3)), at(30, None)]);
        assert_eq!(ages(&heads[..1]), []);
    }
}
