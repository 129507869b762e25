//! Which files a store directory holds, and which sizes they agree on.
//!
//! Reads directories and the small files of the root; never creates, opens for writing or repairs anything.

use super::{Finding, Findings, Kind, Remedy, Severity};
use crate::{
    checkpoint::{self, Checkpoint, Progress},
    disk::{DirEntry, Disk, Open, Paths},
    ends::Ends,
    log::parse_file_name,
    options::Options,
    quarantine::QUARANTINE,
    queue::ENTRY_BYTES,
    smallfile::{self, Digest},
};
use kerolox_protocol::names;
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

/// A file whose name tells where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbered {
    /// Position of its first byte: of the log, or of the queue.
    pub base: u64,
    /// Where it is.
    pub path: PathBuf,
    /// Bytes.
    pub len: u64,
}

/// A queue: its topic and number.
pub type QueueName = (String, u32);

/// The files of a store.
#[derive(Debug)]
pub struct Layout {
    /// Where things are.
    pub paths: Paths,
    /// Bytes of a log file.
    pub segment_bytes: u64,
    /// Files of the log, in order.
    pub segments: Vec<Numbered>,
    /// Bytes of a queue file.
    pub queue_file_bytes: u64,
    /// Files of the queues, in order.
    pub queues: BTreeMap<QueueName, Vec<Numbered>>,
    /// Files of the index, in order; the base is the name as a number.
    pub index: Vec<Numbered>,
    /// The last owner did not stop cleanly, or is running.
    pub aborted: bool,
    /// The original's checkpoint, and how many bytes the file has.
    pub checkpoint: Option<(Checkpoint, u64)>,
    /// Ends of queues, if they belong to this state.
    pub ends: Option<Ends>,
    /// The log was durable up to here; 0 when that is unknown.
    pub durable: u64,
    /// The files of the root and of `config`, without directories.
    pub(crate) root_files: Vec<DirEntry>,
    pub(crate) config_files: Vec<DirEntry>,
    /// What looked wrong on the way.
    pub(crate) findings: Vec<Finding>,
}

impl Layout {
    /// Reads it. `options` tell the paths, and the sizes of a store that has no file yet.
    ///
    /// # Errors
    /// When the root or a directory cannot be read.
    pub fn read(disk: &dyn Disk, options: &Options) -> io::Result<Layout> {
        let paths = options.paths.clone();
        let mut found = Findings::default();
        let root_files = disk.list(&paths.root)?;
        let own = OwnState::read(disk, &paths, &mut found)?;
        let mut segments = Vec::new();
        for dir in &paths.commit_log {
            for entry in list(disk, dir)?.into_iter().filter(|entry| !entry.is_of_file_system()) {
                match parse_file_name(&entry.name).filter(|_| !entry.is_dir) {
                    Some(base) => {
                        segments.push(Numbered { base, path: dir.join(&entry.name), len: entry.len })
                    }
                    None => {
                        let text = "is no file of a log; a broker refuses to start with it".to_owned();
                        found.push(Finding::damage(Kind::ForeignName, &dir.join(&entry.name), text));
                    }
                }
            }
        }
        segments.sort_by_key(|file| file.base);
        let known = own.ends.as_ref().map(|ends| ends.segment_bytes);
        let segment_bytes = known.unwrap_or_else(|| commonest(&segments).unwrap_or(options.segment_bytes));
        let queues = queues(disk, &paths.consume_queue(), &mut found)?;
        let known = own.ends.as_ref().map(|ends| ends.queue_file_bytes);
        let default = options.queue_file_bytes.max(1).div_ceil(ENTRY_BYTES) * ENTRY_BYTES;
        let queue_file_bytes = known.or_else(|| commonest(queues.values().flatten())).unwrap_or(default);
        let index = index_files(disk, &paths.index(), &mut found)?;
        if list(disk, &paths.root.join(QUARANTINE))?.iter().any(|entry| !entry.is_dir) {
            let text = "holds files that an earlier start set aside".to_owned();
            found.push(Finding::note(Kind::Quarantine, &paths.root.join(QUARANTINE), text));
        }
        let mut layout = Layout {
            config_files: list(disk, &paths.config())?.into_iter().filter(|entry| !entry.is_dir).collect(),
            paths,
            segment_bytes: segment_bytes.max(1),
            segments,
            queue_file_bytes: queue_file_bytes.max(ENTRY_BYTES),
            queues,
            index,
            aborted: own.aborted,
            checkpoint: own.checkpoint,
            ends: own.ends,
            durable: own.durable,
            root_files: root_files.into_iter().filter(|entry| !entry.is_dir).collect(),
            findings: found.all,
        };
        layout.check_log_files();
        layout.check_queue_files();
        Ok(layout)
    }

    /// Position of the first byte of the log.
    pub fn first(&self) -> u64 {
        self.segments.first().map_or(0, |file| file.base)
    }

    /// Position behind the last file of the log.
    pub fn files_end(&self) -> u64 {
        self.segments.last().map_or(0, |file| file.base.saturating_add(self.segment_bytes))
    }

    /// The file that holds a position of the log.
    pub fn segment_at(&self, at: u64) -> Option<&Numbered> {
        let after = self.segments.partition_point(|file| file.base <= at);
        let file = self.segments.get(after.checked_sub(1)?)?;
        (at - file.base < self.segment_bytes).then_some(file)
    }

    /// Directory of a queue.
    pub fn queue_dir(&self, queue: &QueueName) -> PathBuf {
        self.paths.consume_queue().join(&queue.0).join(queue.1.to_string())
    }

    /// Nothing came after what queues and index hold.
    pub fn is_clean(&self) -> bool {
        !self.aborted
    }

    /// How bad it is that a file is too short. A crash may come before a new file has its length, or while the
    /// end of the log is being cleared; the next start sees to it.
    fn shortness(&self, is_last: bool) -> Severity {
        if is_last && self.aborted { Severity::Leftover } else { Severity::Damage }
    }

    fn check_log_files(&mut self) {
        let mut wanted: Option<u64> = None;
        let last = self.segments.len().saturating_sub(1);
        for (n, file) in self.segments.iter().enumerate() {
            if let Some(wanted) = wanted.filter(|wanted| *wanted != file.base) {
                let text = format!("the file at {wanted} is missing before this one");
                self.findings.push(Finding::damage(Kind::LogGap, &file.path, text).at(wanted));
            }
            if file.len != self.segment_bytes {
                let text = format!("has {} bytes instead of {}", file.len, self.segment_bytes);
                let short_last = n == last && file.len < self.segment_bytes;
                let finding = Finding::new(self.shortness(short_last), Kind::LogFileSize, &file.path, text);
                let path = file.path.display().to_string();
                self.findings.push(match short_last {
                    true => finding.remedy(Remedy::LengthenLog { path }),
                    false => finding,
                });
            }
            wanted = Some(file.base.saturating_add(self.segment_bytes));
        }
    }

    fn check_queue_files(&mut self) {
        for ((topic, queue), files) in &self.queues {
            for file in files {
                if file.len != self.queue_file_bytes || file.base % self.queue_file_bytes != 0 {
                    let text = format!(
                        "has {} bytes and begins at {}; files of queues have {}",
                        file.len, file.base, self.queue_file_bytes
                    );
                    let remedy = Remedy::RebuildQueue { topic: topic.clone(), queue: *queue };
                    let is_last = files.last() == Some(file) && file.len < self.queue_file_bytes;
                    let severity = self.shortness(is_last);
                    let finding = Finding::new(severity, Kind::QueueFileSize, &file.path, text);
                    self.findings.push(finding.remedy(remedy));
                }
            }
        }
    }
}

/// The small files of the root.
struct OwnState {
    aborted: bool,
    checkpoint: Option<(Checkpoint, u64)>,
    ends: Option<Ends>,
    durable: u64,
}

impl OwnState {
    fn read(disk: &dyn Disk, paths: &Paths, found: &mut Findings) -> io::Result<OwnState> {
        let aborted = checkpoint::was_aborted(disk, paths)?;
        let bytes = smallfile::read(disk, &paths.root.join("checkpoint"))?;
        let ends = own(disk, &Ends::path(&paths.root), Ends::parse, found)?;
        let progress = own(disk, &paths.root.join("kerolox.checkpoint"), Progress::parse, found)?;
        let digest = Digest::of(bytes.as_deref().unwrap_or_default());
        let mut is_foreign = false;
        let ends = ends.filter(|ends| {
            let ours = ends.checkpoints.contains(&digest);
            if !ours {
                let text = "another broker had the store since this was written".to_owned();
                found.push(Finding::note(Kind::OwnState, &Ends::path(&paths.root), text));
                is_foreign = true;
            }
            ours
        });
        let progress = progress.filter(|_| !is_foreign);
        Ok(OwnState {
            aborted,
            checkpoint: bytes.map(|bytes| (Checkpoint::parse(&bytes), bytes.len() as u64)),
            ends,
            durable: progress.map_or(0, |progress| progress.flushed.0),
        })
    }
}

/// Reads a file of our own. A damaged one can go: what it says can be found the slow way.
fn own<T, E: std::fmt::Display>(
    disk: &dyn Disk,
    path: &Path,
    parse: impl Fn(&[u8]) -> Result<T, E>,
    found: &mut Findings,
) -> io::Result<Option<T>> {
    let Some(bytes) = smallfile::read(disk, path)? else { return Ok(None) };
    match parse(&bytes) {
        Ok(value) => Ok(Some(value)),
        Err(why) => {
            let remedy = Remedy::Remove { path: path.display().to_string() };
            found.push(Finding::damage(Kind::OwnState, path, why.to_string()).remedy(remedy));
            Ok(None)
        }
    }
}

/// Entries of a directory that may be missing.
pub(super) fn list(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<DirEntry>> {
    match disk.list(dir) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries,
    }
}

/// Whether a file is there.
pub(super) fn exists(disk: &dyn Disk, path: &Path) -> io::Result<bool> {
    match disk.open(path, Open::Read) {
        Ok(_) => Ok(true),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(why) => Err(why),
    }
}

/// The length that most files have.
fn commonest<'a>(files: impl IntoIterator<Item = &'a Numbered>) -> Option<u64> {
    let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
    files.into_iter().filter(|file| file.len > 0).for_each(|file| *counts.entry(file.len).or_default() += 1);
    counts.into_iter().max_by_key(|(len, n)| (*n, *len)).map(|(len, _)| len)
}

fn queues(
    disk: &dyn Disk,
    dir: &Path,
    found: &mut Findings,
) -> io::Result<BTreeMap<QueueName, Vec<Numbered>>> {
    let mut queues = BTreeMap::new();
    for topic in list(disk, dir)? {
        let topic_dir = dir.join(&topic.name);
        if !topic.is_dir || names::check(&topic.name, 255).is_err() {
            found.push(Finding::note(Kind::ForeignName, &topic_dir, "is no topic's directory"));
            continue;
        }
        for queue in list(disk, &topic_dir)? {
            // As brokers do: what is no number is passed over.
            let number = queue.name.parse().ok().filter(|id: &u32| *id <= i32::MAX as u32 && queue.is_dir);
            let Some(id) = number else {
                found.push(Finding::note(Kind::ForeignName, &topic_dir.join(&queue.name), "is no queue"));
                continue;
            };
            let queue_dir = topic_dir.join(&queue.name);
            let mut files = Vec::new();
            for entry in list(disk, &queue_dir)? {
                let path = queue_dir.join(&entry.name);
                match parse_file_name(&entry.name).filter(|_| !entry.is_dir) {
                    Some(base) => files.push(Numbered { base, path, len: entry.len }),
                    None => {
                        let text = "is no file of a queue; a 4.9 broker refuses to start with it";
                        found.push(Finding::damage(Kind::ForeignName, &path, text));
                    }
                }
            }
            queues.insert((topic.name.clone(), id), files);
        }
    }
    Ok(queues)
}

fn index_files(disk: &dyn Disk, dir: &Path, found: &mut Findings) -> io::Result<Vec<Numbered>> {
    let mut files = Vec::new();
    for entry in list(disk, dir)? {
        let path = dir.join(&entry.name);
        let digits = entry.name.len() == 17 && entry.name.bytes().all(|b| b.is_ascii_digit());
        match entry.name.parse().ok().filter(|_| digits && !entry.is_dir) {
            Some(base) => files.push(Numbered { base, path, len: entry.len }),
            None => found.push(Finding::new(
                Severity::Note,
                Kind::ForeignName,
                &path,
                "is no file of the index; it is not used",
            )),
        }
    }
    files.sort_by_key(|file| file.base);
    Ok(files)
}
