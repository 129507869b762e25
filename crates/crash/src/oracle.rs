//! What was acknowledged, and whether it is there.
//!
//! Owns the record of every send, in memory and in a file outside the store, and the comparison with what the
//! broker gives back. The checks are those named in the crate's head.

use crate::wire::{Batch, Message, Pulled, Sent, Wire};
use anyhow::{Context, Result, bail, ensure};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{BufWriter, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

/// Largest body; small ones share sectors, large ones span many.
const BODY_BYTES_MAX: u64 = 6_000;
/// Messages seen before that are read again in any case.
const REREAD: usize = 500;

/// Longest wait until the broker knows where a queue begins.
const PATIENCE: Duration = Duration::from_secs(10);

/// An acknowledgement.
#[derive(Debug, Clone, Copy)]
struct Ack {
    offset: u64,
    /// `None` once it has outlived a power cut: it will outlive all others.
    at: Option<Instant>,
}

/// One sender, its queue, and what it knows.
pub struct Sender {
    /// Of this sender alone; in every body.
    id: u32,
    topic: String,
    queue: u32,
    /// Number of the next message.
    next: u64,
    /// Acknowledged, by number.
    acked: BTreeMap<u64, Ack>,
    /// Sent without an answer, or lost within the promise: may be there or not.
    unknown: BTreeSet<u64>,
    /// As read so far: the number at each offset. `None` was deleted before it was read.
    seen: Vec<Option<u64>>,
    /// Highest offset that a queue may begin with: deletion has to be asked for.
    begin_max: u64,
    /// Between an acknowledgement and the next message.
    pause: Duration,
    record: BufWriter<File>,
}

/// How the broker ended that is looked at next, and thereby what must have outlived it.
#[derive(Debug, Clone, Copy)]
pub enum Ending {
    /// All that was acknowledged.
    Kept,
    /// What was acknowledged before; of the rest the newest may be gone.
    KeptBefore(Instant),
}

/// Whether what was acknowledged then may be gone. `None` is before every cut.
pub fn may_go(ending: Ending, at: Option<Instant>) -> bool {
    matches!((ending, at), (Ending::KeptBefore(before), Some(at)) if at >= before)
}

/// What a look has found. Nothing that was promised was missing: else there would be none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Found {
    /// Messages that are there more than once.
    pub duplicates: u64,
    /// Acknowledged messages that went with what the promise leaves open.
    pub lost: u64,
    /// When the first of them was acknowledged.
    pub first_lost: Option<Instant>,
}

/// What is left in a damaged store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Survey {
    /// Messages that are there as they were sent.
    pub sound: u64,
    /// Messages whose body does not match its CRC, which every client sees.
    pub unsound: u64,
    /// Acknowledged messages that the broker does not give out.
    pub missing: u64,
}

/// All senders.
pub struct Oracle {
    path: PathBuf,
    senders: Vec<Sender>,
    pause: Duration,
    duplicates: u64,
}

impl Oracle {
    /// An oracle that writes what it knows to files named after `path`; its senders share a topic.
    pub fn new(path: &Path, topic: &str, senders: u32) -> Result<Oracle> {
        let mut oracle =
            Oracle { path: path.to_owned(), senders: Vec::new(), pause: Duration::ZERO, duplicates: 0 };
        (0..senders).try_for_each(|queue| oracle.add_sender(topic, queue))?;
        Ok(oracle)
    }

    /// One more sender; no other may send to its queue.
    pub fn add_sender(&mut self, topic: &str, queue: u32) -> Result<()> {
        let id = u32::try_from(self.senders.len())?;
        let path = self.path.with_extension(id.to_string());
        let file = File::create(&path).with_context(|| format!("make {}", path.display()))?;
        self.senders.push(Sender {
            id,
            topic: topic.into(),
            queue,
            next: 0,
            acked: BTreeMap::new(),
            unknown: BTreeSet::new(),
            seen: Vec::new(),
            begin_max: 0,
            pause: self.pause,
            record: BufWriter::new(file),
        });
        Ok(())
    }

    /// The senders, in the order in which they were made.
    pub fn senders(&mut self) -> impl Iterator<Item = &mut Sender> {
        self.senders.iter_mut()
    }

    /// Has senders wait so long between messages: a page cache takes more than a small disk has room for.
    pub fn pace(&mut self, pause: Duration) {
        self.pause = pause;
        self.senders.iter_mut().for_each(|sender| sender.pause = pause);
    }

    /// Until the next look the broker may delete old messages: somebody asked it to.
    pub fn allow_deletion(&mut self) {
        self.senders.iter_mut().for_each(|sender| sender.begin_max = u64::MAX);
    }

    /// Messages acknowledged so far, without those that were lost within the promise.
    pub fn acked(&self) -> u64 {
        self.senders.iter().map(|sender| sender.acked.len() as u64).sum()
    }

    /// Messages sent without an answer so far, and those that were lost within the promise.
    pub fn unknown(&self) -> u64 {
        self.senders.iter().map(|sender| sender.unknown.len() as u64).sum()
    }

    /// Messages that are there more than once.
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Reads back and compares: everything, or what is new and the newest of what was seen before.
    pub fn check(&mut self, addr: SocketAddr, is_whole: bool, ending: Ending) -> Result<Found> {
        let mut wire = Wire::connect(addr)?;
        let mut all = Found::default();
        for sender in &mut self.senders {
            let found = sender
                .check(&mut wire, is_whole, ending)
                .with_context(|| format!("topic {}, queue {}", sender.topic, sender.queue))?;
            all.duplicates += found.duplicates;
            all.lost += found.lost;
            all.first_lost = all.first_lost.into_iter().chain(found.first_lost).min();
        }
        self.duplicates = all.duplicates;
        Ok(all)
    }
}

impl Sender {
    /// Sends one message after the other until the connection breaks or `over` is set. Tells of every
    /// acknowledgement.
    pub fn send_until_it_dies(
        &mut self,
        addr: SocketAddr,
        over: &AtomicBool,
        told: &mpsc::Sender<()>,
    ) -> Result<()> {
        let Ok(mut wire) = Wire::connect(addr) else { return Ok(()) };
        while !over.load(Ordering::SeqCst) {
            match self.send_one(&mut wire)? {
                // Nobody listens any more once the broker is to be killed.
                Some(Sent::Acknowledged(_)) => drop(told.send(())),
                Some(Sent::Refused(..)) => {}
                None => break,
            }
            if !self.pause.is_zero() {
                std::thread::sleep(self.pause);
            }
        }
        self.record.flush()?;
        Ok(())
    }

    /// Sends the next message and notes what becomes of it; `None` if the connection broke.
    pub fn send_one(&mut self, wire: &mut Wire) -> Result<Option<Sent>> {
        let number = self.next;
        self.next += 1;
        let (body, key) = (body(self.id, number), key(self.id, number));
        let message =
            Message { topic: &self.topic, queue: self.queue, key: &key, body: &body, delay_level: 0 };
        let sent = wire.send(&message).ok();
        match &sent {
            Some(Sent::Acknowledged(offset)) => {
                self.acked.insert(number, Ack { offset: *offset, at: Some(Instant::now()) });
                writeln!(self.record, "{number} {offset}")?;
            }
            // A refusal says that it is not there, but only silence would prove it.
            Some(Sent::Refused(..)) | None => drop(self.unknown.insert(number)),
        }
        Ok(sent)
    }

    fn check(&mut self, wire: &mut Wire, is_whole: bool, ending: Ending) -> Result<Found> {
        let mut begin = wire.min_offset(&self.topic, self.queue)?;
        ensure!(begin <= self.begin_max, "I16: the queue begins at {begin}, nothing was to be deleted");
        // Where it was seen to begin it begins again, if not at once.
        let deleted = self.seen.iter().take_while(|seen| seen.is_none()).count() as u64;
        if begin < deleted {
            begin = self.begin(wire, deleted)?;
        }
        let known = if is_whole { 0 } else { self.seen.len().saturating_sub(REREAD) };
        let mut found: Vec<Option<u64>> = self.seen.iter().take(known).copied().collect();
        found.resize(found.len().max(usize::try_from(begin)?), None);
        loop {
            let (first, pulled) = match wire.pull(&self.topic, self.queue, found.len() as u64)? {
                Batch::Messages(pulled) => match pulled.first() {
                    Some(first) => (first.offset, pulled),
                    None => break,
                },
                Batch::BeginsAt(offset) => (offset, Vec::new()),
            };
            if first > found.len() as u64 && self.begin_max > begin {
                begin = self.begin(wire, first)?;
                found.resize(found.len().max(usize::try_from(begin)?), None);
                if first < begin {
                    continue;
                }
            }
            ensure!(first == found.len() as u64, "I4: offset {first} follows {}", found.len());
            for Pulled { offset, body, is_sound } in pulled {
                ensure!(is_sound, "I2: the body at offset {offset} does not match its CRC");
                ensure!(offset == found.len() as u64, "I4: offset {offset} follows {}", found.len());
                found.push(Some(self.identify(&body).with_context(|| format!("I2: offset {offset}"))?));
            }
        }
        self.compare(found, begin, ending)
    }

    /// Looks at a store that was damaged: what is there is as it was sent, or can be told from that.
    ///
    /// # Errors
    /// I2 or I3: something passes for what it is not.
    pub fn survey(&self, wire: &mut Wire) -> Result<Survey> {
        let mut survey = Survey::default();
        let mut next = 0;
        loop {
            let pulled = match wire.pull(&self.topic, self.queue, next)? {
                Batch::Messages(pulled) if pulled.is_empty() => break,
                Batch::Messages(pulled) => pulled,
                Batch::BeginsAt(offset) => {
                    next = offset;
                    continue;
                }
            };
            for Pulled { offset, body, is_sound } in pulled {
                ensure!(offset >= next, "I3: offset {offset} came behind {next}");
                next = offset + 1;
                if !is_sound {
                    survey.unsound += 1;
                    continue;
                }
                let number = self.identify(&body).with_context(|| format!("I2: offset {offset}"))?;
                let acked = self.acked.get(&number).map(|ack| ack.offset);
                ensure!(acked.is_none_or(|acked| acked == offset), "I3: message {number} is at {offset}");
                survey.sound += 1;
            }
        }
        survey.missing = (self.acked.len() as u64).saturating_sub(survey.sound + survey.unsound);
        Ok(survey)
    }

    /// Waits until the broker says that the queue begins at `offset`. Shortly after a crash it may still say
    /// where the queue began before files were deleted.
    fn begin(&self, wire: &mut Wire, offset: u64) -> Result<u64> {
        let since = Instant::now();
        loop {
            let begin = wire.min_offset(&self.topic, self.queue)?;
            if begin >= offset || since.elapsed() > PATIENCE {
                return Ok(begin);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The number of a message that was sent so.
    fn identify(&self, found: &[u8]) -> Result<u64> {
        let number = found.get(4..12).and_then(|part| part.try_into().ok()).map(u64::from_be_bytes);
        match number {
            Some(number) if number < self.next && found == body(self.id, number) => Ok(number),
            Some(number) => bail!("message {number} was never sent so"),
            None => bail!("a body of {} bytes was never sent", found.len()),
        }
    }

    /// Compares what was found, from `begin` on, with what has to be there.
    fn compare(&mut self, mut found: Vec<Option<u64>>, begin: u64, ending: Ending) -> Result<Found> {
        let gone = self.gone(&found, begin, ending)?;
        let first_lost = gone.iter().filter_map(|number| self.acked.get(number)?.at).min();
        for number in &gone {
            self.acked.remove(number);
            self.unknown.insert(*number);
        }
        // What readers have seen once they see for ever, unless it went with what may go.
        for (offset, (before, now)) in self.seen.iter().zip(&mut found).enumerate() {
            match (*before, *now) {
                (Some(before), Some(now)) if before != now => {
                    bail!("I3: offset {offset} was message {before} and is {now}")
                }
                (before, None) => *now = before,
                _ => {}
            }
        }
        ensure!(
            found.len() >= self.seen.len() || matches!(ending, Ending::KeptBefore(_)),
            "I3: {} messages were seen, {} are there",
            self.seen.len(),
            found.len()
        );
        let duplicates = self.duplicates(&found)?;
        self.seen = found;
        if let Ending::KeptBefore(_) = ending {
            self.acked.values_mut().for_each(|ack| ack.at = None);
        }
        self.begin_max = begin.max(if self.begin_max == u64::MAX { 0 } else { self.begin_max });
        Ok(Found { duplicates, lost: gone.len() as u64, first_lost })
    }

    /// Numbers of acknowledged messages that are not there, and need not be.
    fn gone(&self, found: &[Option<u64>], begin: u64, ending: Ending) -> Result<Vec<u64>> {
        let mut gone = Vec::new();
        for (number, Ack { offset, at }) in &self.acked {
            match usize::try_from(*offset).ok().and_then(|at| found.get(at)) {
                Some(Some(there)) if there == number => {}
                Some(Some(there)) => {
                    bail!("I1: message {number} was acknowledged at {offset}, {there} is there")
                }
                Some(None) => ensure!(*offset < begin, "I1: message {number} at {offset} was not read"),
                None if may_go(ending, *at) => gone.push(*number),
                None => bail!(
                    "I1: message {number} was acknowledged at {offset}, the queue ends at {}",
                    found.len()
                ),
            }
        }
        Ok(gone)
    }

    /// Messages that are there more than once; the order is checked on the way.
    fn duplicates(&self, found: &[Option<u64>]) -> Result<u64> {
        let mut duplicates = 0;
        let mut last = None;
        for number in found.iter().flatten() {
            match last {
                Some(last) if number == last => {
                    ensure!(!self.acked.contains_key(number), "I17: message {number} is there twice");
                    duplicates += 1;
                }
                Some(last) if number < last => bail!("I5: message {number} stands behind {last}"),
                _ => {}
            }
            last = Some(number);
        }
        Ok(duplicates)
    }

    /// The offset behind the last acknowledged message.
    pub fn end(&self) -> u64 {
        self.acked.values().map(|ack| ack.offset + 1).max().unwrap_or(0)
    }
}

/// A message's body, which tells its sender and number and is as long as they say.
fn body(sender: u32, number: u64) -> Vec<u8> {
    let mixed = (number ^ u64::from(sender) << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let len = match mixed >> 61 {
        0 => mixed % BODY_BYTES_MAX,
        _ => mixed % 300,
    };
    let mut body = sender.to_be_bytes().to_vec();
    body.extend(number.to_be_bytes());
    body.extend((0..len).map(|n| (mixed.rotate_left((n % 64) as u32) & 0xff) as u8));
    body
}

fn key(sender: u32, number: u64) -> String {
    format!("{sender:08X}{number:024X}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    /// A sender that sent five messages, of which the fourth was not answered.
    fn sender() -> Sender {
        // Tests of one process run side by side, and each takes its file away again.
        static MADE: AtomicU32 = AtomicU32::new(0);
        let (process, nth) = (std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(format!("kerolox-oracle-{process}-{nth}"));
        let mut sender = Oracle::new(&path, "Crash", 1).unwrap().senders.remove(0);
        std::fs::remove_file(path.with_extension("0")).unwrap();
        sender.next = 5;
        sender.acked = [(0, ack(0)), (1, ack(1)), (2, ack(2)), (4, ack(3))].into();
        sender.unknown = [3].into();
        sender
    }

    fn ack(offset: u64) -> Ack {
        Ack { offset, at: Some(Instant::now()) }
    }

    fn verdict(sender: &mut Sender, found: &[u64]) -> String {
        let found = found.iter().copied().map(Some).collect();
        sender
            .compare(found, 0, Ending::Kept)
            .map_or_else(|why| why.to_string(), |found| format!("{} duplicates", found.duplicates))
    }

    #[test]
    fn only_the_newest_may_go_with_the_power_and_only_within_the_window() {
        let power_cut = |found: &[u64], window: Duration| {
            let mut sender = sender();
            let before = Instant::now();
            sender.acked.values_mut().for_each(|ack| ack.at = Some(before));
            let found = found.iter().copied().map(Some).collect();
            let found = sender.compare(found, 0, Ending::KeptBefore(before + window));
            found.map_or_else(|why| why.to_string(), |found| format!("{} lost", found.lost))
        };
        assert_eq!(power_cut(&[0, 1, 2], Duration::ZERO), "1 lost");
        assert_eq!(power_cut(&[0, 1], Duration::ZERO), "2 lost");
        assert!(power_cut(&[0, 1, 2], Duration::from_millis(1)).starts_with("I1"), "it was to be there");
        assert!(power_cut(&[0, 2], Duration::ZERO).starts_with("I1"), "damaged, not lost");
    }

    #[test]
    fn what_is_lost_is_never_acknowledged_again() {
        let mut sender = sender();
        let before = sender.acked.get(&0).unwrap().at.unwrap();
        sender.seen = [0, 1, 2, 3].map(Some).into();
        sender.acked.remove(&4);
        sender.compare(vec![Some(0)], 0, Ending::KeptBefore(before)).unwrap();
        assert_eq!((sender.seen.len(), sender.acked.len()), (1, 1));
        let again = sender.compare(vec![], 0, Ending::KeptBefore(before)).unwrap_err();
        assert!(again.to_string().starts_with("I1"), "what outlived one cut outlives the next");
        assert!(verdict(&mut sender, &[0, 4, 1]).starts_with("I5"), "it came back");
    }

    #[test]
    fn a_queue_shrinks_at_its_beginning_only_by_deletion() {
        let mut sender = sender();
        let found = || vec![None, None, Some(2), Some(4)];
        assert!(sender.compare(found(), 0, Ending::Kept).unwrap_err().to_string().starts_with("I1"));
        assert_eq!(sender.compare(found(), 2, Ending::Kept).unwrap().lost, 0);
        assert_eq!(sender.begin_max, 2);
    }

    #[test]
    fn every_broken_promise_is_named() {
        assert_eq!(verdict(&mut sender(), &[0, 1, 2, 4]), "0 duplicates");
        assert!(verdict(&mut sender(), &[0, 1, 2]).starts_with("I1"));
        assert!(verdict(&mut sender(), &[0, 2, 1, 4]).starts_with("I1"));
        assert!(verdict(&mut sender(), &[]).starts_with("I1"));
        let mut seen = sender();
        seen.acked.clear();
        assert_eq!(verdict(&mut seen, &[0, 1, 3, 3]), "1 duplicates");
        assert!(verdict(&mut seen, &[0, 1, 3]).starts_with("I3"), "one is gone that was seen");
        assert!(verdict(&mut seen, &[0, 1, 2, 4]).starts_with("I3"), "another is there");
        let mut order = sender();
        order.acked = [(4, ack(0))].into();
        assert!(verdict(&mut order, &[4, 3]).starts_with("I5"));
        assert!(verdict(&mut order, &[4, 4]).starts_with("I17"));
    }

    #[test]
    fn a_body_is_known_by_all_its_bytes() {
        let sender = sender();
        assert_eq!(sender.identify(&body(0, 3)).unwrap(), 3);
        assert!(sender.identify(&body(0, 5)).is_err(), "never sent");
        assert!(sender.identify(&body(1, 3)).is_err(), "another sender's");
        let mut flipped = body(0, 4);
        *flipped.last_mut().unwrap() ^= 1;
        assert!(sender.identify(&flipped).is_err());
        assert!(sender.identify(b"short").is_err());
    }
}
