//! What was acknowledged, and whether it is there.
//!
//! Owns the record of every send, in memory and in a file outside the store, and the comparison with what the
//! broker gives back. The checks are those named in the crate's head.

use crate::wire::{Pulled, Wire};
use anyhow::{Context, Result, bail, ensure};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufWriter, Write},
    net::SocketAddr,
    path::Path,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
};

/// Largest body; small ones share sectors, large ones span many.
const BODY_BYTES_MAX: u64 = 6_000;
/// Messages seen before that are read again in any case.
const REREAD: usize = 500;

/// One sender, its queue, and what it knows.
pub struct Sender {
    queue: u32,
    /// Number of the next message.
    next: u64,
    /// Acknowledged: number to offset.
    acked: BTreeMap<u64, u64>,
    /// Sent without an answer: may be there or not.
    unknown: BTreeMap<u64, ()>,
    /// As read so far: the number at each offset.
    seen: Vec<u64>,
    record: BufWriter<File>,
}

/// All senders.
pub struct Oracle {
    senders: Vec<Sender>,
    duplicates: u64,
}

impl Oracle {
    /// An oracle that writes what it knows to files named after `path`.
    pub fn new(path: &Path, senders: u32) -> Result<Oracle> {
        let sender = |queue: u32| {
            let path = path.with_extension(queue.to_string());
            let file = File::create(&path).with_context(|| format!("make {}", path.display()))?;
            let record = BufWriter::new(file);
            Ok(Sender {
                queue,
                next: 0,
                acked: BTreeMap::new(),
                unknown: BTreeMap::new(),
                seen: Vec::new(),
                record,
            })
        };
        Ok(Oracle { senders: (0..senders).map(sender).collect::<Result<_>>()?, duplicates: 0 })
    }

    /// The senders.
    pub fn senders(&mut self) -> impl Iterator<Item = &mut Sender> {
        self.senders.iter_mut()
    }

    /// Messages acknowledged so far.
    pub fn acked(&self) -> u64 {
        self.senders.iter().map(|sender| sender.acked.len() as u64).sum()
    }

    /// Messages sent without an answer so far.
    pub fn unknown(&self) -> u64 {
        self.senders.iter().map(|sender| sender.unknown.len() as u64).sum()
    }

    /// Messages that are there more than once.
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Reads back and compares: everything, or what is new and the newest of what was seen before.
    pub fn check(&mut self, addr: SocketAddr, is_whole: bool) -> Result<()> {
        let mut wire = Wire::connect(addr)?;
        self.duplicates = 0;
        for sender in &mut self.senders {
            let queue = sender.queue;
            let duplicates = sender.check(&mut wire, is_whole).with_context(|| format!("queue {queue}"))?;
            self.duplicates += duplicates;
        }
        Ok(())
    }
}

impl Sender {
    /// Sends one message after the other until the connection breaks, which it must not before `over`.
    /// Tells of every acknowledgement.
    pub fn send_until_it_dies(
        &mut self,
        addr: SocketAddr,
        over: &AtomicBool,
        told: &mpsc::Sender<()>,
    ) -> Result<()> {
        let Ok(mut wire) = Wire::connect(addr) else { return Ok(()) };
        while !over.load(Ordering::SeqCst) {
            let number = self.next;
            self.next += 1;
            let body = body(self.queue, number);
            match wire.send(self.queue, &body, &key(self.queue, number)) {
                Ok(Some(offset)) => {
                    self.acked.insert(number, offset);
                    writeln!(self.record, "{number} {offset}")?;
                    // Nobody listens any more once the broker is to be killed.
                    let _ = told.send(());
                }
                // A refusal says that it is not there, but only silence would prove it.
                Ok(None) => drop(self.unknown.insert(number, ())),
                Err(_) => {
                    self.unknown.insert(number, ());
                    break;
                }
            }
        }
        self.record.flush()?;
        Ok(())
    }

    /// Reads the queue; gives the number of messages that are there more than once.
    fn check(&mut self, wire: &mut Wire, is_whole: bool) -> Result<u64> {
        let known = if is_whole { 0 } else { self.seen.len().saturating_sub(REREAD) };
        let mut found: Vec<u64> = self.seen.iter().take(known).copied().collect();
        loop {
            let pulled = wire.pull(self.queue, found.len() as u64)?;
            if pulled.is_empty() {
                break;
            }
            for Pulled { offset, body } in pulled {
                ensure!(offset == found.len() as u64, "I4: offset {offset} follows {}", found.len());
                found.push(self.identify(&body).with_context(|| format!("I2: offset {offset}"))?);
            }
        }
        self.compare(found)
    }

    /// The number of a message that was sent so.
    fn identify(&self, found: &[u8]) -> Result<u64> {
        let number = found.get(4..12).and_then(|part| part.try_into().ok()).map(u64::from_be_bytes);
        match number {
            Some(number) if number < self.next && found == body(self.queue, number) => Ok(number),
            Some(number) => bail!("message {number} was never sent so"),
            None => bail!("a body of {} bytes was never sent", found.len()),
        }
    }

    fn compare(&mut self, found: Vec<u64>) -> Result<u64> {
        let at_offset = |offset: u64| usize::try_from(offset).ok().and_then(|at| found.get(at));
        for (number, offset) in &self.acked {
            match at_offset(*offset) {
                Some(there) if there == number => {}
                Some(there) => bail!("I1: message {number} was acknowledged at {offset}, {there} is there"),
                None => bail!(
                    "I1: message {number} was acknowledged at {offset}, the queue ends at {}",
                    found.len()
                ),
            }
        }
        // What readers have seen once they see for ever.
        for (offset, (before, now)) in self.seen.iter().zip(&found).enumerate() {
            ensure!(before == now, "I3: offset {offset} was message {before} and is {now}");
        }
        ensure!(
            found.len() >= self.seen.len(),
            "I3: {} messages were seen, {} are there",
            self.seen.len(),
            found.len()
        );
        let mut duplicates = 0;
        let mut last = None;
        for number in &found {
            match last {
                Some(last) if *number == last => {
                    ensure!(!self.acked.contains_key(number), "I17: message {number} is there twice");
                    duplicates += 1;
                }
                Some(last) if *number < last => bail!("I5: message {number} stands behind {last}"),
                _ => {}
            }
            last = Some(*number);
        }
        self.seen = found;
        Ok(duplicates)
    }
}

/// A message's body, which tells its sender and number and is as long as they say.
fn body(queue: u32, number: u64) -> Vec<u8> {
    let mixed = (number ^ u64::from(queue) << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let len = match mixed >> 61 {
        0 => mixed % BODY_BYTES_MAX,
        _ => mixed % 300,
    };
    let mut body = queue.to_be_bytes().to_vec();
    body.extend(number.to_be_bytes());
    body.extend((0..len).map(|n| (mixed.rotate_left((n % 64) as u32) & 0xff) as u8));
    body
}

fn key(queue: u32, number: u64) -> String {
    format!("{queue:08X}{number:024X}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A sender that sent five messages, of which the fourth was not answered.
    fn sender() -> Sender {
        // Tests of one process run side by side, and each takes its file away again.
        static MADE: AtomicU32 = AtomicU32::new(0);
        let (process, nth) = (std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(format!("kerolox-oracle-{process}-{nth}"));
        let mut sender = Oracle::new(&path, 1).unwrap().senders.remove(0);
        std::fs::remove_file(path.with_extension("0")).unwrap();
        sender.next = 5;
        sender.acked = [(0, 0), (1, 1), (2, 2), (4, 3)].into();
        sender.unknown = [(3, ())].into();
        sender
    }

    fn verdict(sender: &mut Sender, found: &[u64]) -> String {
        sender.compare(found.to_vec()).map_or_else(|why| why.to_string(), |n| format!("{n} duplicates"))
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
        order.acked = [(4, 0)].into();
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
