//! Looking up a key.

use std::{fmt, io, path::PathBuf, sync::Arc};

use kerolox_protocol::ids::{LogOffset, Millis};

use super::{
    Index, IndexFile,
    format::{ENTRY_LEN, Entry, Header, SLOT_LEN, Shape, key_hash, name_text, slot},
};
use crate::{
    cold::Gate,
    disk::{Disk, File, Open},
};

/// Entries looked at in one search. A key that millions of records carry, asked for a time long ago, would
/// otherwise be a walk over a whole file.
const STEPS_MAX: u32 = 1 << 20;
/// Keys of one file not yet on disk that a search takes along.
const MEMORY_MAX: usize = 4096;

/// A search that has looked at memory and may go to disk. It stays valid whatever the index does meanwhile.
pub struct Find {
    disk: Arc<dyn Disk>,
    shape: Shape,
    hash: u32,
    max: usize,
    begin: Millis,
    end: Millis,
    /// Newest first.
    parts: Vec<Part>,
    last: Option<Header>,
}

struct Part {
    /// Newest first.
    in_memory: Vec<u64>,
    path: PathBuf,
    file: Option<Arc<dyn File>>,
    /// As on disk when the search began: what is newer is in memory.
    written: Header,
    begin_ms: i64,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// Records whose key has the same hash; newest first within a file, each once.
    pub offsets: Vec<LogOffset>,
    /// Store time of the newest key in the index.
    pub last_ms: Millis,
    /// Log offset of the newest key's record.
    pub last_at: LogOffset,
    /// The search ended before the chain did.
    pub is_cut: bool,
}

impl fmt::Debug for Find {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Find({:08x}, {} files)", self.hash, self.parts.len())
    }
}

impl Index {
    /// Begins a search for records of `topic` with `key`, stored between `begin` and `end` (inclusive, to
    /// the second). Looks at memory only; [`Find::run`] does the rest.
    pub fn find(&self, topic: &str, key: &str, max: usize, begin: Millis, end: Millis) -> Find {
        let hash = key_hash(topic, key);
        let mut parts = Vec::new();
        for file in self.files.iter().rev() {
            if file.head.next > 1 && file.head.overlaps(begin, end) {
                parts.push(self.part(file, hash, begin, end));
            }
            // Files do not overlap in time, so no older one can have a match.
            if file.head.begin_ms < begin.0 {
                break;
            }
        }
        let last = self.files.back().map(|file| file.head);
        Find { disk: Arc::clone(&self.disk), shape: self.shape, hash, max, begin, end, parts, last }
    }

    fn part(&self, file: &IndexFile, hash: u32, begin: Millis, end: Millis) -> Part {
        let flying = file.flying.as_ref().map(|raws| raws.as_slice()).unwrap_or_default();
        let matches = file
            .tail
            .iter()
            .rev()
            .chain(flying.iter().rev())
            .filter(|raw| raw.hash == hash && (begin.0..=end.0).contains(&file.head.time(raw.diff)));
        Part {
            in_memory: matches.map(|raw| raw.at).take(MEMORY_MAX).collect(),
            path: self.dir.join(name_text(file.name)),
            file: file.file.clone(),
            written: file.written,
            begin_ms: file.head.begin_ms,
        }
    }
}

impl Find {
    /// Finishes the search; touches the disk. Different keys can share a hash: `accept` may look at the
    /// record and refuse it, and only accepted ones count towards the maximum.
    ///
    /// # Errors
    /// Those of reading. A file removed by retention meanwhile is not one.
    pub fn run(self, accept: &mut dyn FnMut(LogOffset) -> bool) -> io::Result<Found> {
        self.run_through(&Gate::default(), accept)
    }

    /// As [`Find::run`], by somebody who must perhaps not wait for the device.
    pub(crate) fn run_through(
        self,
        gate: &Gate,
        accept: &mut dyn FnMut(LogOffset) -> bool,
    ) -> io::Result<Found> {
        let mut found = Found::default();
        if let Some(last) = self.last {
            found.last_ms = Millis(last.end_ms);
            found.last_at = LogOffset(u64::try_from(last.end_at).unwrap_or(0));
        }
        let mut steps = STEPS_MAX;
        for part in &self.parts {
            for at in &part.in_memory {
                self.take(LogOffset(*at), &mut found, accept);
            }
            if found.offsets.len() >= self.max {
                break;
            }
            if part.written.next > 1 {
                self.walk(gate, part, &mut steps, &mut found, accept)?;
            }
        }
        found.is_cut = steps == 0;
        Ok(found)
    }

    fn take(&self, at: LogOffset, found: &mut Found, accept: &mut dyn FnMut(LogOffset) -> bool) {
        if found.offsets.len() < self.max && !found.offsets.contains(&at) && accept(at) {
            found.offsets.push(at);
        }
    }

    fn walk(
        &self,
        gate: &Gate,
        part: &Part,
        steps: &mut u32,
        found: &mut Found,
        accept: &mut dyn FnMut(LogOffset) -> bool,
    ) -> io::Result<()> {
        let file = match &part.file {
            Some(file) => Arc::clone(file),
            None => match gate.file(|| part.path.clone(), || self.disk.open(&part.path, Open::Read)) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(error) => return Err(error),
            },
        };
        let mut head = [0; SLOT_LEN as usize];
        let slot_at = self.shape.slot_at(self.shape.slot_of(self.hash));
        gate.read(&file, &mut head, slot_at)?;
        let mut at = slot(head, self.shape.entries());
        while let Some(number) = at {
            if *steps == 0 || found.offsets.len() >= self.max {
                break;
            }
            *steps -= 1;
            let mut bytes = [0; ENTRY_LEN as usize];
            let entry_at = self.shape.entry_at(number);
            gate.read(&file, &mut bytes, entry_at)?;
            let Some(entry) = Entry::decode(&bytes) else { break };
            let time = part.begin_ms.saturating_add(i64::from(entry.diff) * 1000);
            // What a job wrote since the search began was found in memory.
            if number < part.written.next {
                if time < self.begin.0 {
                    break;
                }
                if entry.hash == self.hash && time <= self.end.0 {
                    self.take(LogOffset(entry.at), found, accept);
                }
            }
            // A chain leads to ever older entries; anything else is damage and would be a loop.
            at = (entry.prev != 0 && entry.prev < number).then_some(entry.prev);
        }
        Ok(())
    }
}
