//! Reading ahead of who catches up.
//!
//! Owns how far the log was asked for ahead of each reader of its old part. Readers are told by where they read: those
//! of several queues of one topic go through the same part, and one of them asks for all. Knows positions; asks no
//! device itself.
//!
//! ```text
//!         kept        reader                        asked
//!   ───────┼────────────┼─────────────────────────────┼──────────
//!  forgotten  for those  ◄─── less than its share ────►  comes next, [`STEP`] at a time
//!             behind it
//! ```
//!
//! A few readers have [`Windows`], filled past the page cache, and share their number. For more readers than that there
//! would be too few each, and what was read for one would be gone before it came to it: then the system is asked to
//! bring the log into its page cache.

use super::{
    slices::Slices,
    windows::{Piece, WINDOW, WINDOWS_MAX, Windows},
};
use crate::{disk::File, log::Log};
use kerolox_protocol::LogOffset;
use std::{ops::Range, sync::Arc};

/// Windows that a reader should find in memory, if there are enough.
const AHEAD: u64 = 8;
/// Windows asked for at once.
const STEP: u64 = 2;
/// Readers that are remembered; the one that was not heard of for longest goes.
const STREAMS_MAX: usize = 32;
/// Those of them that may have windows.
const WINDOWED_MAX: usize = 6;
const _: () =
    assert!(WINDOWS_MAX / WINDOWED_MAX >= 5, "each has one to read, one behind it, and steps ahead");
/// Bytes between the places where a window is asked whether it is in memory: odd pages, so that all get their turn.
const PROBE_STEP: u64 = 77 * 4096;
/// Of what lies between its records a reader must want one byte in so many: else most would be read for nothing.
const SPARSE: u64 = 16;

/// One reader, or several that go through the same part. Numbers are those of windows.
#[derive(Debug, PartialEq, Eq)]
struct Stream {
    /// What is before it was forgotten.
    kept: u64,
    /// Where the foremost is.
    reader: u64,
    /// What is before it was asked for.
    asked: u64,
    has_windows: bool,
    /// Since the last look for silent ones.
    was_heard: bool,
}

/// What is to be done now that a reader has gone on.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wish {
    forget: Vec<Range<u64>>,
    ask: Range<u64>,
    into_windows: bool,
}

/// Readers of the old part of the log, those heard of last at the end.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    streams: Vec<Stream>,
    windows: Arc<Windows>,
    /// Questions asked so far.
    probes: u64,
}

impl Streams {
    /// What was read ahead.
    pub(crate) fn windows(&self) -> &Arc<Windows> {
        &self.windows
    }

    /// What should be read ahead of who gets these records, unless they are near the end of the log. Nothing from `end`
    /// on is read: it is still to be written.
    pub(crate) fn read_ahead(&mut self, log: &Log, end: LogOffset, slices: &Slices) -> Option<ReadAhead> {
        let is_far = slices.is_far();
        if !is_far && self.streams.is_empty() {
            return None;
        }
        let part = slices.range()?;
        let (from, at) = (part.start / WINDOW, part.end / WINDOW);
        // Who has come near the end goes on as before, until it finds in memory what it wants.
        if !is_far && self.known(at).is_none()
            || slices.total_len().saturating_mul(SPARSE) < part.end.saturating_sub(part.start)
        {
            return None;
        }
        let Wish { forget, ask, into_windows } = self.next(from, at);
        forget.into_iter().for_each(|numbers| self.windows.forget(numbers));
        let piece = |number| Some((number, piece(log, number, part.start)?));
        let mut pieces: Vec<_> = ask.filter_map(piece).filter(|(_, piece)| piece.part.end <= end.0).collect();
        if into_windows {
            pieces.retain(|(_, piece)| is_far || !self.is_resident(piece));
            pieces.retain(|(number, piece)| self.windows.ask(*number, piece.clone()));
            let numbers: Vec<u64> = pieces.iter().map(|(number, _)| *number).collect();
            let windows = Arc::clone(&self.windows);
            return (!numbers.is_empty()).then(|| ReadAhead(Way::Windows(windows, numbers)));
        }
        let (_, Piece { file, base, part }) = pieces.first()?;
        let end = pieces.last().map_or(part.end, |(_, last)| last.part.end).min(base + log.segment_bytes());
        Some(ReadAhead(Way::PageCache(Arc::clone(file), part.start - base..end - base)))
    }

    /// Whether a part of the log seems to be in memory. One byte stands for all, and never the same one: to be asked
    /// for brings it in.
    fn is_resident(&mut self, piece: &Piece) -> bool {
        self.probes += 1;
        let Piece { file, base, part } = piece;
        let skip = self.probes.wrapping_mul(PROBE_STEP) % (part.end - part.start).max(1);
        file.is_resident(part.start - base + skip, 1) == Some(true)
    }

    /// A reader gets what is in these windows, and will go on from the last. What is new here is read from its first
    /// window on: a read through the page cache would make the system read ahead as well.
    fn next(&mut self, from: u64, at: u64) -> Wish {
        let known = self.known(at).map(|n| self.streams.remove(n));
        let windowed = self.streams.iter().filter(|stream| stream.has_windows).count();
        let mut stream = known.unwrap_or(Stream {
            kept: from,
            reader: at,
            asked: from,
            has_windows: windowed < WINDOWED_MAX,
            was_heard: true,
        });
        stream.was_heard = true;
        stream.reader = stream.reader.max(at);
        let (ahead, behind) = match stream.has_windows {
            true => share(windowed as u64 + 1),
            false => (AHEAD, AHEAD),
        };
        let kept = stream.reader.saturating_sub(behind).max(stream.kept);
        let mut forget = Vec::new();
        let end = (stream.reader + ahead).min(stream.asked + STEP);
        let ask = stream.asked..end.max(stream.asked);
        if stream.has_windows && kept > stream.kept {
            forget.push(stream.kept..kept);
        }
        (stream.kept, stream.asked) = (kept, ask.end);
        if self.streams.len() == STREAMS_MAX {
            forget.extend(self.streams.remove(0).windows());
        }
        let into_windows = stream.has_windows;
        self.streams.push(stream);
        Wish { forget, ask, into_windows }
    }

    /// Where the stream is that a reader at this window belongs to. Readers of one part are not all at the same place.
    fn known(&self, at: u64) -> Option<usize> {
        self.streams.iter().position(|stream| stream.kept <= at + 1 && at <= stream.asked)
    }

    /// Gives back the memory of readers that were not heard of since the last call.
    pub(crate) fn forget_silent_readers(&mut self) {
        let silent = self.forget_silent();
        silent.into_iter().for_each(|numbers| self.windows.forget(numbers));
        self.windows.shrink();
    }

    /// Lets those go that were not heard of since the last call.
    fn forget_silent(&mut self) -> Vec<Range<u64>> {
        let silent = self.streams.extract_if(.., |stream| !std::mem::take(&mut stream.was_heard));
        silent.filter_map(|stream| stream.windows()).collect()
    }
}

impl Stream {
    fn windows(&self) -> Option<Range<u64>> {
        self.has_windows.then_some(self.kept..self.asked)
    }
}

/// Windows ahead of each of so many readers, and behind it.
fn share(streams: u64) -> (u64, u64) {
    let share = WINDOWS_MAX as u64 / streams;
    let ahead = (share / 2 + 1).min(AHEAD);
    (ahead, (share - ahead - 1).min(AHEAD))
}

/// What of the log, from `from` on, a window can hold.
fn piece(log: &Log, number: u64, from: u64) -> Option<Piece> {
    let window = number * WINDOW..(number + 1) * WINDOW;
    let (file, base) = log.file_at(window.start.max(from.min(window.end - 1)))?.ok()?;
    let part = window.start.max(base)..window.end.min(base + log.segment_bytes());
    Some(Piece { file, base, part })
}

/// A part of the log that will be wanted soon.
#[derive(Debug)]
pub struct ReadAhead(Way);

#[derive(Debug)]
enum Way {
    Windows(Arc<Windows>, Vec<u64>),
    PageCache(Arc<dyn File>, Range<u64>),
}

impl ReadAhead {
    /// Asks for it. May wait for memory and for the device.
    pub fn run(&self) {
        match &self.0 {
            Way::Windows(windows, numbers) => numbers.iter().for_each(|number| windows.read(*number)),
            Way::PageCache(file, part) => file.advise(part.start, part.end - part.start, true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Windows that a list of streams has asked for and not forgotten.
    fn follow(streams: &mut Streams, held: &mut Vec<u64>, at: u64) {
        let Wish { forget, ask, into_windows } = streams.next(at, at);
        held.retain(|number| !forget.iter().any(|range| range.contains(number)));
        if into_windows {
            assert!(ask.clone().all(|number| !held.contains(&number)), "nothing twice");
            held.extend(ask);
        }
    }

    fn only(numbers: Range<u64>) -> Vec<Range<u64>> {
        std::iter::once(numbers).collect()
    }

    #[test]
    fn readers_of_one_part_ask_once_and_stay_ahead() {
        let (mut streams, mut held) = (Streams::default(), Vec::new());
        for step in 0..400u64 {
            // Four queues, a few answers apart from each other.
            let at = 100 + step / 4 - (step % 4) / 2;
            follow(&mut streams, &mut held, at);
            assert!(held.contains(&at.max(100)), "step {step}: what it reads next was asked for");
            assert!(held.iter().all(|number| *number < at + 2 + AHEAD), "no further than it must");
            assert!(held.len() <= WINDOWS_MAX);
        }
        assert!(held.contains(&(100 + 99 + AHEAD - 1)), "{held:?}");
        assert_eq!(streams.streams.len(), 1);
    }

    #[test]
    fn as_many_readers_as_may_have_windows_never_need_more_than_there_are() {
        let (mut streams, mut held) = (Streams::default(), Vec::new());
        let far = |n: u64| (n + 1) << 20;
        for step in 0..200u64 {
            for n in 0..WINDOWED_MAX as u64 {
                follow(&mut streams, &mut held, far(n) + step);
                assert!(held.contains(&(far(n) + step)), "step {step} of {n}");
            }
            assert!(held.len() <= WINDOWS_MAX, "{held:?}");
        }
        let Wish { forget, ask, into_windows } = streams.next(far(90), far(90));
        assert_eq!(
            (forget, ask, into_windows),
            (vec![], far(90)..far(90) + STEP, false),
            "one more has none"
        );
    }

    #[test]
    fn who_was_not_heard_of_for_longest_is_forgotten_with_its_windows() {
        let mut streams = Streams::default();
        let far = |n: u64| (n + 1) << 20;
        for n in 0..STREAMS_MAX as u64 {
            assert_eq!(streams.next(far(n), far(n)).forget, []);
        }
        assert_eq!(streams.next(far(40), far(40)).forget, only(far(0)..far(0) + STEP));
        assert!(streams.next(far(41), far(41)).into_windows, "its place is free");
        assert_eq!(streams.streams.len(), STREAMS_MAX);
    }

    #[test]
    fn who_was_silent_between_two_looks_is_forgotten() {
        let mut streams = Streams::default();
        streams.next(10, 10);
        streams.next(1_000, 1_000);
        assert_eq!(streams.forget_silent(), []);
        streams.next(1_001, 1_001);
        assert_eq!(streams.forget_silent(), only(10..10 + STEP));
        assert_eq!(streams.next(1_002, 1_002).forget, [], "the other goes on");
        assert_eq!(streams.streams.len(), 1);
    }
}
