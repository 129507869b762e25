//! Parts of the log that are read ahead of who catches up, past the page cache.
//!
//! Through the page cache every page of a cold log costs a page of memory, which something at the end of the log may
//! lose by it, and a first touch; here the same few buffers are filled again and again. Owns these buffers and who
//! fills them: a window is asked for first, then read by whoever comes first, the job that reads ahead or a reader who
//! waits. Knows nothing of records. What is written of a log never changes, so a window never becomes stale.

use crate::{
    disk::{DIRECT_ALIGN, File},
    hash::FixedMap,
};
use std::{
    ops::Range,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Size of a window, and its alignment by position in the log; within a file.
pub(super) const WINDOW: u64 = 1 << 20;
/// Windows that may be asked for at a time, whoever asks.
pub(super) const WINDOWS_MAX: usize = 32;

/// A buffer that can be read into past the page cache.
struct Room {
    bytes: Vec<u8>,
    skip: usize,
}

impl Room {
    fn new() -> Room {
        let bytes = vec![0; WINDOW as usize + DIRECT_ALIGN];
        let skip = bytes.as_ptr().align_offset(DIRECT_ALIGN).min(DIRECT_ALIGN);
        Room { bytes, skip }
    }

    fn get(&self, part: Range<usize>) -> Option<&[u8]> {
        self.bytes.get(self.skip..)?.get(part)
    }
}

/// A log file, and the part of it that a window is.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) file: Arc<dyn File>,
    /// Log position of the file's first byte.
    pub(super) base: u64,
    /// Log positions.
    pub(super) part: Range<u64>,
}

enum Window {
    /// Nobody reads it yet.
    Asked(Piece),
    /// Somebody does.
    Reading,
    /// From this log position on.
    Here(u64, Arc<Room>),
}

#[derive(Default)]
struct State {
    windows: FixedMap<u64, Window>,
    spare: Vec<Room>,
}

impl State {
    /// Forgets a window, and keeps its buffer if nobody reads from it.
    fn drop_window(&mut self, number: u64) {
        if let Some(Window::Here(_, room)) = self.windows.remove(&number) {
            self.spare.extend(Arc::into_inner(room));
        }
    }
}

/// Windows that are asked for, being read, or there.
#[derive(Default)]
pub(crate) struct Windows {
    state: Mutex<State>,
    /// How many there are, for those who need not wait to know that there is none.
    count: AtomicUsize,
    /// One that was being read no longer is.
    ended: Condvar,
}

/// What taking records from windows came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// All were appended.
    All,
    /// They will come, and anything was appended.
    Later,
    /// A part of them is in no window; anything was appended.
    Elsewhere,
}

impl Windows {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that a window will be wanted. `false`: it is known, or too many are.
    pub(super) fn ask(&self, number: u64, piece: Piece) -> bool {
        let mut state = self.state();
        if state.windows.len() >= WINDOWS_MAX || state.windows.contains_key(&number) {
            return false;
        }
        state.windows.insert(number, Window::Asked(piece));
        self.count.store(state.windows.len(), Ordering::Relaxed);
        true
    }

    /// Forgets windows.
    pub(super) fn forget(&self, numbers: Range<u64>) {
        let mut state = self.state();
        numbers.for_each(|number| state.drop_window(number));
        self.count.store(state.windows.len(), Ordering::Relaxed);
    }

    /// Gives memory back that no window needs.
    pub(super) fn shrink(&self) {
        self.state().spare = Vec::new();
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// Whether a part of the log is in windows, or will be.
    pub(crate) fn covers(&self, part: Range<u64>) -> bool {
        let state = self.state();
        (part.start / WINDOW..part.end.div_ceil(WINDOW)).all(|number| state.windows.contains_key(&number))
    }

    /// Reads a window that was asked for, unless somebody does or did. One that cannot be read past the page cache is
    /// forgotten: whoever wants it goes the usual way, and learns why; where that is no error, it is asked for there.
    pub(super) fn read(&self, number: u64) {
        let mut state = self.state();
        let Some(window) = state.windows.get_mut(&number) else { return };
        let Window::Asked(piece) = window else { return };
        let Piece { file, base, part } = piece.clone();
        *window = Window::Reading;
        let spare = state.spare.pop();
        drop(state);
        let mut room = spare.unwrap_or_else(Room::new);
        let len = (part.end - part.start) as usize;
        let skip = room.skip;
        let at = part.start - base;
        let read = room.bytes.get_mut(skip..skip + len).map(|buf| file.read_direct(buf, at));
        let is_read = matches!(read, Some(Ok(true)));
        if matches!(read, Some(Ok(false))) {
            file.advise(at, part.end - part.start, true);
        }
        let mut state = self.state();
        match state.windows.get_mut(&number) {
            Some(window @ Window::Reading) if is_read => *window = Window::Here(part.start, Arc::new(room)),
            Some(Window::Reading) => {
                state.windows.remove(&number);
                self.count.store(state.windows.len(), Ordering::Relaxed);
                state.spare.push(room);
            }
            // It was forgotten, and perhaps asked for again.
            _ => state.spare.push(room),
        }
        drop(state);
        self.ended.notify_all();
    }

    /// Appends these parts of one file, in order. With `wait`, what was asked for is read now, or waited for.
    pub(super) fn take(
        &self,
        parts: impl Iterator<Item = Range<u64>>,
        wait: bool,
        out: &mut Vec<u8>,
    ) -> Taken {
        // Mostly all are in the same window.
        let mut last: Option<(u64, u64, Arc<Room>)> = None;
        for part in parts {
            let mut at = part.start;
            while at < part.end {
                let number = at / WINDOW;
                let (start, room) = match &last {
                    Some((known, start, room)) if *known == number => (*start, Arc::clone(room)),
                    _ => match self.find(number, wait) {
                        Ok(found) => found,
                        Err(taken) => return taken,
                    },
                };
                let end = part.end.min((number + 1) * WINDOW);
                let Some(from) = at.checked_sub(start) else { return Taken::Elsewhere };
                let Some(bytes) = room.get(from as usize..(end - start) as usize) else {
                    return Taken::Elsewhere;
                };
                out.extend_from_slice(bytes);
                last = Some((number, start, room));
                at = end;
            }
        }
        Taken::All
    }

    fn find(&self, number: u64, wait: bool) -> Result<(u64, Arc<Room>), Taken> {
        let mut state = self.state();
        loop {
            match state.windows.get(&number) {
                Some(Window::Here(start, room)) => return Ok((*start, Arc::clone(room))),
                None => return Err(Taken::Elsewhere),
                Some(_) if !wait => return Err(Taken::Later),
                Some(Window::Asked(_)) => {
                    drop(state);
                    self.read(number);
                    state = self.state();
                }
                Some(Window::Reading) => {
                    state = self.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

impl std::fmt::Debug for Windows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.state();
        f.debug_struct("Windows")
            .field("windows", &state.windows.len())
            .field("spare", &state.spare.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Disk, Open, memory::MemDisk};
    use std::path::Path;

    fn byte(at: u64) -> u8 {
        (at ^ (at >> 8) ^ (at >> 16)) as u8
    }

    /// A file of three windows, the log's from its second on.
    fn log() -> (MemDisk, Arc<dyn File>) {
        let disk = MemDisk::new();
        let file = disk.open(Path::new("log"), Open::Create).unwrap();
        let bytes: Vec<u8> = (WINDOW..4 * WINDOW).map(byte).collect();
        file.write_at(&bytes, 0).unwrap();
        (disk, file)
    }

    fn piece(file: &Arc<dyn File>, number: u64) -> Piece {
        Piece { file: Arc::clone(file), base: WINDOW, part: number * WINDOW..(number + 1) * WINDOW }
    }

    fn take(windows: &Windows, part: Range<u64>, wait: bool) -> (Taken, Vec<u8>) {
        let mut out = Vec::new();
        (windows.take(std::iter::once(part), wait, &mut out), out)
    }

    fn wanted(part: Range<u64>) -> Vec<u8> {
        part.map(byte).collect()
    }

    #[test]
    fn what_was_asked_for_is_read_once_by_whoever_comes_first() {
        let (disk, file) = log();
        let windows = Windows::default();
        let across = 2 * WINDOW - 100..2 * WINDOW + 100;
        assert_eq!(take(&windows, across.clone(), true).0, Taken::Elsewhere, "nobody asked");
        assert!(windows.ask(1, piece(&file, 1)) && windows.ask(2, piece(&file, 2)));
        assert!(!windows.ask(1, piece(&file, 1)), "it is known");
        assert!(windows.covers(across.clone()) && !windows.covers(WINDOW..3 * WINDOW + 1));
        windows.read(1);
        assert_eq!(take(&windows, across.clone(), false).0, Taken::Later);
        let (taken, out) = take(&windows, across.clone(), true);
        assert!(taken == Taken::All && out == wanted(across.clone()));
        // Nothing is left to read for the job.
        disk.spoil(Path::new("log"), 0, 3 * WINDOW).unwrap();
        windows.read(2);
        let (taken, out) = take(&windows, across.clone(), false);
        assert!(taken == Taken::All && out == wanted(across));
    }

    #[test]
    fn what_cannot_be_read_is_forgotten() {
        let (disk, file) = log();
        let windows = Windows::default();
        assert!(windows.ask(1, piece(&file, 1)));
        disk.spoil(Path::new("log"), 0, 3 * WINDOW).unwrap();
        assert_eq!(take(&windows, WINDOW..WINDOW + 10, true).0, Taken::Elsewhere);
        assert!(!windows.covers(WINDOW..WINDOW + 10));
    }

    #[test]
    fn windows_are_bounded_and_their_memory_is_used_again() {
        let (_disk, file) = log();
        let windows = Windows::default();
        let asked = (0..100).filter(|n| windows.ask(n + 7, piece(&file, 1))).count();
        assert_eq!(asked, WINDOWS_MAX);
        windows.read(7);
        windows.forget(7..60);
        assert_eq!(windows.state().spare.len(), 1);
        assert!(windows.ask(3, piece(&file, 3)));
        windows.read(3);
        assert_eq!(windows.state().spare.len(), 0);
        let part = 3 * WINDOW + 5..3 * WINDOW + 9;
        assert_eq!(take(&windows, part.clone(), false), (Taken::All, wanted(part)));
        windows.forget(0..10);
        windows.shrink();
        assert_eq!(windows.state().spare.len(), 0);
    }
}
