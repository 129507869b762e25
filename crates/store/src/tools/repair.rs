//! Putting right what [`super::verify`] found and can be put right.
//!
//! Nothing is removed or overwritten before a copy of it lies, durably, under `kerolox.repair-<stamp>` in the
//! root. What is derived from the log is made anew from it; the log itself is only ever cut behind its last
//! good record, or copied to where the disk can be read. Running it again finds nothing left to do.

use super::{
    Finding, Remedy, Watch,
    layout::{Layout, Numbered, QueueName, list},
    patient::Patient,
    queues::{Event, Placed, Sequence},
    verify::{Verified, place_of, verify},
    walk::{Reader, Step},
};
use crate::{
    checkpoint::CHECKPOINT_LEN,
    disk::{
        Disk, File, Open,
        around::{give_up, read_around},
    },
    dispatch::Dispatch,
    ends::{Ends, TopicEnds},
    index::{Index, PENDING_WORTH, Shape, Trust},
    options::Options,
    queue::{
        QueueWrite,
        files::{Files, Touched},
    },
    smallfile::{self, Backup, beside},
    types::{QueueEntry, QueueSlot},
};
use kerolox_protocol::{LogOffset, Millis, QueueId, record::Record};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Bytes copied at once.
const PIECE: usize = 1 << 20;
/// Entries of a queue collected before they are written.
const BATCH_BYTES: usize = 20 * 512;
/// A queue whose next record is further ahead than this begins anew there, as when a broker recovers it.
const FILL_MAX: u64 = 1 << 16;
/// One repair can uncover what another hid.
const ROUNDS: usize = 3;

/// What would be done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// In this order.
    pub steps: Vec<Remedy>,
    /// Damage that nothing here can repair.
    pub beyond: Vec<Finding>,
}

/// What was done.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Repaired {
    /// Steps, in order.
    pub steps: Vec<Remedy>,
    /// Where copies of what was removed lie; `None`: nothing was.
    pub saved: Option<String>,
    /// What is found now.
    pub after: Verified,
}

/// What to do about the findings.
pub fn plan(verified: &Verified) -> Plan {
    let steps: BTreeSet<&Remedy> =
        verified.findings.iter().filter_map(|finding| finding.remedy.as_ref()).collect();
    let mut steps: Vec<Remedy> = steps.into_iter().cloned().collect();
    // The log first: the others are made from it.
    let rank = |step: &Remedy| match step {
        Remedy::LengthenLog { .. } => 0,
        Remedy::CopyLog { .. } => 1,
        Remedy::CutLog { .. } => 2,
        Remedy::RestoreBackup { .. } | Remedy::Remove { .. } | Remedy::ResetCheckpoint => 3,
        Remedy::RebuildQueue { .. } => 4,
        Remedy::RebuildIndex => 5,
    };
    steps.sort_by_key(rank);
    let is_beyond =
        |finding: &&Finding| finding.severity == super::Severity::Damage && finding.remedy.is_none();
    Plan { steps, beyond: verified.findings.iter().filter(is_beyond).cloned().collect() }
}

/// Repairs what can be repaired. `stamp` names the directory of copies; `local` is the local time, which names
/// a new index file. The caller holds the store's lock.
///
/// # Errors
/// Those of the disk. What was done until then is whole; run it again.
pub fn apply(
    disk: &Arc<dyn Disk>,
    options: &Options,
    stamp: &str,
    local: Millis,
    watch: Watch<'_>,
) -> io::Result<Repaired> {
    let mut done = Repaired { after: verify(&**disk, options, watch)?, ..Repaired::default() };
    for _ in 0..ROUNDS {
        let steps = plan(&done.after).steps;
        if steps.is_empty() {
            break;
        }
        let aside = options.paths.root.join(format!("kerolox.repair-{stamp}"));
        let repair =
            Repair { disk, options, layout: Layout::read(&Patient::new(&**disk), options)?, aside, local };
        repair.run(&steps)?;
        done.saved = Some(repair.aside.display().to_string());
        done.steps.extend(steps);
        done.after = verify(&**disk, options, watch)?;
    }
    Ok(done)
}

struct Repair<'a> {
    disk: &'a Arc<dyn Disk>,
    options: &'a Options,
    layout: Layout,
    aside: PathBuf,
    local: Millis,
}

impl Repair<'_> {
    fn run(&self, steps: &[Remedy]) -> io::Result<()> {
        self.make_aside()?;
        let mut queues = BTreeSet::new();
        let mut must_index = false;
        for step in steps {
            match step {
                Remedy::LengthenLog { path } => {
                    let file = self.disk.open(Path::new(path), Open::Write)?;
                    file.set_len(self.layout.segment_bytes)?;
                    file.sync()?;
                }
                Remedy::CopyLog { path } => self.copy_log(Path::new(path))?,
                Remedy::CutLog { from } => self.cut(*from)?,
                Remedy::RestoreBackup { path } => self.restore(Path::new(path))?,
                Remedy::Remove { path } => self.move_away(Path::new(path))?,
                Remedy::ResetCheckpoint => {
                    let path = self.layout.paths.root.join("checkpoint");
                    self.save(&path)?;
                    smallfile::replace(&**self.disk, &path, &[0; CHECKPOINT_LEN], Backup::No)?;
                }
                Remedy::RebuildQueue { topic, queue } => {
                    queues.insert((topic.clone(), *queue));
                }
                Remedy::RebuildIndex => must_index = true,
            }
        }
        if !queues.is_empty() {
            self.rebuild_queues(&queues)?;
        }
        if must_index {
            self.rebuild_index()?;
        }
        Ok(())
    }

    fn make_aside(&self) -> io::Result<()> {
        self.disk.create_dir_all(&self.aside)?;
        self.disk.sync_dir(&self.layout.paths.root)
    }

    /// The place of a file's copy. A second copy of the same file gets a number.
    fn aside_for(&self, path: &Path) -> io::Result<PathBuf> {
        let within = path.strip_prefix(&self.layout.paths.root).map(Path::to_owned);
        let within = within.unwrap_or_else(|_| path.file_name().map(PathBuf::from).unwrap_or_default());
        let to = self.aside.join(within);
        if let Some(parent) = to.parent() {
            self.disk.create_dir_all(parent)?;
        }
        for n in 0.. {
            let candidate = if n == 0 { to.clone() } else { beside(&to, &format!(".{n}")) };
            if !super::layout::exists(&**self.disk, &candidate)? {
                return Ok(candidate);
            }
        }
        Ok(to)
    }

    /// Makes the names of a copy durable, up to the root.
    fn sync_names(&self, to: &Path) -> io::Result<()> {
        let dirs = to.ancestors().skip(1).take_while(|dir| dir.starts_with(&self.layout.paths.root));
        dirs.into_iter().try_for_each(|dir| self.disk.sync_dir(dir))
    }

    /// Copies a file, if it is there.
    fn save(&self, path: &Path) -> io::Result<()> {
        match self.disk.open(path, Open::Read) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
            file => {
                let file = file?;
                self.copy(&*file, 0, file.len()?, &self.aside_for(path)?)
            }
        }
    }

    fn copy(&self, from: &dyn File, start: u64, end: u64, to: &Path) -> io::Result<()> {
        let out = self.disk.open(to, Open::Create)?;
        out.set_len(0)?;
        let mut at = start;
        let mut piece = vec![0; PIECE];
        while at < end {
            let n = (end - at).min(PIECE as u64) as usize;
            let (part, _) = piece.split_at_mut(n);
            let lost = read_around(from, part, at)?;
            give_up(part, at, &lost);
            if part.iter().any(|b| *b != 0) {
                out.write_at(part, at - start)?;
            }
            at += n as u64;
        }
        out.set_len(end.saturating_sub(start))?;
        out.sync()?;
        self.sync_names(to)
    }

    /// A log file of which a part cannot be read goes, bad sectors and all, to where copies are; in its place comes a
    /// copy of what can be read, with a mark instead of the rest: a broker takes that for damage, and for nothing
    /// that a crash left.
    fn copy_log(&self, path: &Path) -> io::Result<()> {
        let aside = self.aside_of_log(path)?;
        let copy = beside(&aside, ".copy");
        let file = self.disk.open(path, Open::Read)?;
        self.copy(&*file, 0, file.len()?, &copy)?;
        drop(file);
        let dir = path.parent().unwrap_or(Path::new(""));
        self.disk.rename(path, &aside)?;
        let placed = self.disk.rename(&copy, path);
        if placed.is_err() {
            self.disk.rename(&aside, path)?;
        }
        placed?;
        aside.parent().map_or(Ok(()), |dir| self.disk.sync_dir(dir))?;
        self.disk.sync_dir(dir)
    }

    /// On the disk of the log, which need not be that of the root.
    fn aside_of_log(&self, path: &Path) -> io::Result<PathBuf> {
        if path.starts_with(&self.layout.paths.root) {
            return self.aside_for(path);
        }
        let beside_log = path.parent().and_then(Path::parent).unwrap_or(Path::new(""));
        let dir = beside_log.join(self.aside.file_name().unwrap_or_default());
        self.disk.create_dir_all(&dir)?;
        self.disk.sync_dir(beside_log)?;
        Ok(dir.join(path.file_name().unwrap_or_default()))
    }

    /// A file becomes its own copy.
    fn move_away(&self, path: &Path) -> io::Result<()> {
        let to = self.aside_for(path)?;
        self.disk.rename(path, &to)?;
        self.sync_names(&to)?;
        self.disk.sync_dir(path.parent().unwrap_or(Path::new("")))
    }

    fn restore(&self, path: &Path) -> io::Result<()> {
        self.save(path)?;
        let Some(bytes) = smallfile::read(&**self.disk, &beside(path, ".bak"))? else { return Ok(()) };
        smallfile::replace(&**self.disk, path, &bytes, Backup::No)
    }

    /// Clears the log from its end on; what stood there is copied.
    fn cut(&self, end: u64) -> io::Result<()> {
        for segment in &self.layout.segments {
            let size = self.layout.segment_bytes;
            if segment.base.saturating_add(size) <= end {
                continue;
            }
            let file = self.disk.open(&segment.path, Open::Write)?;
            let from = end.saturating_sub(segment.base);
            let Some(to) = written_to(&*file, from)? else { continue };
            let saved = beside(&self.aside_for(&segment.path)?, &format!(".from-{}", segment.base + from));
            self.copy(&*file, from, to, &saved)?;
            file.clear(from, size.saturating_sub(from))?;
            file.sync()?;
        }
        Ok(())
    }

    fn each_record(&self, visit: &mut dyn FnMut(&Record<'_>) -> io::Result<()>) -> io::Result<()> {
        let mut failed = Ok(());
        Reader::new(&**self.disk, &self.layout).walk(self.layout.first(), &mut |step| match step {
            Step::Record(record) => {
                failed = visit(record);
                if failed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            }
            _ => ControlFlow::Continue(()),
        })?;
        failed
    }

    fn rebuild_queues(&self, names: &BTreeSet<QueueName>) -> io::Result<()> {
        for name in names {
            for file in list(&**self.disk, &self.layout.queue_dir(name))? {
                self.move_away(&self.layout.queue_dir(name).join(&file.name))?;
            }
        }
        let dir = self.layout.paths.consume_queue();
        let files = Files::new(Arc::clone(self.disk), dir, self.layout.queue_file_bytes, 64);
        let covers = self.layout.ends.as_ref().map_or(u64::MAX, |ends| ends.covers.0);
        let mut builds: BTreeMap<QueueName, Build> = BTreeMap::new();
        let mut touched = Touched::default();
        self.each_record(&mut |record| {
            let dispatch = Dispatch::of_record(record);
            let place = place_of(record).filter(|(name, _)| dispatch.queued && names.contains(name));
            let Some((name, offset)) = place else { return Ok(()) };
            let slot = builds.len() as u32;
            let build = builds.entry(name.clone()).or_insert_with(|| Build::new(slot, covers));
            let at = LogOffset(record.physical_offset.unsigned_abs());
            let tags_code = dispatch.entry_code(&self.options.delay_levels, record.store_ms);
            let entry = QueueEntry { at, size: record.size, tags_code };
            let mut events = Vec::new();
            let placed = Placed { offset, entry, any_code: false, is_late: false };
            build.sequence.take(placed, &mut events);
            self.build(&files, &name, build, &events, &mut touched)
        })?;
        for (name, build) in &mut builds {
            let mut events = Vec::new();
            build.sequence.finish(&mut events);
            self.build(&files, name, build, &events, &mut touched)?;
            build.flush(&files, name, &mut touched)?;
        }
        files.sync(&touched)?;
        self.correct_ends(names, &builds)
    }

    fn build(
        &self,
        files: &Files,
        name: &QueueName,
        build: &mut Build,
        events: &[Event],
        touched: &mut Touched,
    ) -> io::Result<()> {
        for event in events {
            match event {
                Event::Accept(placed) => {
                    if build.next.is_some_and(|next| placed.offset.saturating_sub(next) > FILL_MAX) {
                        self.restart(files, name, build, touched)?;
                    }
                    build.push(placed);
                    if build.bytes.len() >= BATCH_BYTES {
                        build.flush(files, name, touched)?;
                    }
                }
                Event::Restart => self.restart(files, name, build, touched)?,
                Event::Gap(..) | Event::Wrong(_) => {}
            }
        }
        Ok(())
    }

    /// Forgets what was built: only files made by this repair lie there.
    fn restart(
        &self,
        files: &Files,
        name: &QueueName,
        build: &mut Build,
        touched: &mut Touched,
    ) -> io::Result<()> {
        files.forget(build.slot);
        for file in list(&**self.disk, &self.layout.queue_dir(name))? {
            self.disk.remove(&self.layout.queue_dir(name).join(&file.name))?;
        }
        touched.forget_files(build.slot);
        *build =
            Build { sequence: std::mem::take(&mut build.sequence), ..Build::new(build.slot.0, build.covers) };
        Ok(())
    }

    /// `kerolox.queues` must tell the ends that the rebuilt files have.
    fn correct_ends(
        &self,
        names: &BTreeSet<QueueName>,
        builds: &BTreeMap<QueueName, Build>,
    ) -> io::Result<()> {
        let Some(before) = &self.layout.ends else { return Ok(()) };
        let mut ends = before.clone();
        for name in names {
            let Some((min, end)) = builds.get(name).map(|build| (build.first, build.covered)) else {
                continue;
            };
            let id = QueueId(name.1);
            let at = match ends.topics.iter().position(|topic| *topic.name == *name.0) {
                Some(at) => at,
                None => {
                    ends.topics.push(TopicEnds { name: Arc::from(name.0.as_str()), queues: Vec::new() });
                    ends.topics.len() - 1
                }
            };
            let Some(topic) = ends.topics.get_mut(at) else { continue };
            topic.queues.retain(|(known, ..)| *known != id);
            topic.queues.push((id, min.unwrap_or(0), end.or(min).unwrap_or(0)));
            topic.queues.sort_by_key(|(id, ..)| *id);
        }
        let path = Ends::path(&self.layout.paths.root);
        if ends == *before || !super::layout::exists(&**self.disk, &path)? {
            return Ok(());
        }
        self.save(&path)?;
        smallfile::replace(&**self.disk, &path, &ends.encode(), Backup::No)
    }

    fn rebuild_index(&self) -> io::Result<()> {
        let dir = self.layout.paths.index();
        let invalid = || io::Error::new(io::ErrorKind::InvalidInput, "impossible size of index files");
        let shape = Shape::new(self.options.index_slots, self.options.index_max).ok_or_else(invalid)?;
        for Numbered { path, .. } in &self.layout.index {
            self.move_away(path)?;
        }
        let (mut index, _) = Index::open(Arc::clone(self.disk), &dir, shape, Trust::Clean)?;
        self.each_record(&mut |record| {
            let dispatch = Dispatch::of_record(record);
            let at = LogOffset(record.physical_offset.unsigned_abs());
            if dispatch.indexed {
                dispatch.each_key(|key| index.add(record.topic, key, at, record.store_ms, self.local));
            }
            if index.pending() >= PENDING_WORTH { write_keys(&mut index, false) } else { Ok(()) }
        })?;
        write_keys(&mut index, true)
    }
}

fn write_keys(index: &mut Index, must_sync: bool) -> io::Result<()> {
    while let Some(job) = index.job(must_sync) {
        let done = job.run();
        index.done(done)?;
    }
    Ok(())
}

/// The end of the last byte behind `from` that is not zero.
fn written_to(file: &dyn File, from: u64) -> io::Result<Option<u64>> {
    let (mut at, end) = (from, file.len()?);
    let mut found = None;
    let mut piece = vec![0; PIECE];
    while at < end {
        let n = (end - at).min(PIECE as u64) as usize;
        let (part, _) = piece.split_at_mut(n);
        read_around(file, part, at)?;
        found = part.iter().rposition(|b| *b != 0).map(|last| at + last as u64 + 1).or(found);
        at += n as u64;
    }
    Ok(found)
}

/// A queue being made anew.
struct Build {
    slot: QueueSlot,
    /// Records before this count for the ends that were written down.
    covers: u64,
    sequence: Sequence,
    first: Option<u64>,
    /// End as of `covers`.
    covered: Option<u64>,
    next: Option<u64>,
    /// Offset of the first entry in `bytes`.
    from: u64,
    bytes: Vec<u8>,
}

impl Build {
    fn new(slot: u32, covers: u64) -> Build {
        let sequence = Sequence::default();
        let slot = QueueSlot(slot);
        Build { slot, covers, sequence, first: None, covered: None, next: None, from: 0, bytes: Vec::new() }
    }

    fn push(&mut self, placed: &Placed) {
        let next = self.next.unwrap_or(placed.offset);
        if self.bytes.is_empty() {
            self.from = next;
        }
        for _ in next..placed.offset {
            self.bytes.extend(QueueEntry::BLANK.encode());
        }
        self.bytes.extend(placed.entry.encode());
        self.first.get_or_insert(placed.offset);
        self.next = Some(placed.offset + 1);
        if placed.entry.at.0 < self.covers {
            self.covered = self.next;
        }
    }

    fn flush(&mut self, files: &Files, name: &QueueName, touched: &mut Touched) -> io::Result<()> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        let bytes = std::mem::take(&mut self.bytes);
        let topic = Arc::from(name.0.as_str());
        let id = QueueId(name.1);
        files
            .write(&QueueWrite { slot: self.slot, generation: 0, topic, id, from: self.from, bytes }, touched)
    }
}
