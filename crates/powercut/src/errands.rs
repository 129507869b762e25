//! What a broker does beside sending: positions of a group, delayed messages, deletion.
//!
//! Owns what was asked of the broker in a second connection and what has to be there of it after a cut. I10: a
//! group's position never goes back, and what was set more than a second before the end is kept. I13: a delayed
//! message is delivered, some time after it was acknowledged.

use anyhow::{Result, bail, ensure};
use kerolox_crash::{
    oracle::{Ending, may_go},
    wire::{Batch, Message, Sent, Wire},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

/// The group whose position is set, and the topic and queue in which it is.
const GROUP: &str = "Power";
/// Where delayed messages go.
const LATER: &str = "Later";
/// The broker puts positions into the log this often; the same again for a machine that is busy.
const POSITION_AGE: Duration = Duration::from_secs(2);
/// One delayed message for so many positions.
const POSITIONS_PER_DELAYED: u64 = 8;
/// Pause between two errands.
const PAUSE: Duration = Duration::from_millis(2);
/// Longest wait for the delayed messages, behind their second.
const PATIENCE: Duration = Duration::from_secs(20);

/// What was asked for.
#[derive(Debug, Default)]
pub struct Errands {
    topic: String,
    /// Positions set since the last look, with their times.
    positions: Vec<(Instant, u64)>,
    position: u64,
    /// The position that cannot be taken back.
    floor: u64,
    /// Acknowledged delayed messages, with their times as in the oracle's acknowledgements.
    delayed: BTreeMap<u64, Option<Instant>>,
    next: u64,
}

impl Errands {
    /// Errands for a group that reads this topic.
    pub fn new(topic: &str) -> Errands {
        Errands { topic: topic.into(), ..Errands::default() }
    }

    /// Delayed messages acknowledged so far.
    pub fn delayed(&self) -> u64 {
        self.delayed.len() as u64
    }

    /// Runs errands until the connection breaks or `over` is set; either has old files deleted, or sends delayed
    /// messages too: deletion could take those before they were looked for.
    pub fn run(&mut self, addr: SocketAddr, deletes: bool, over: &AtomicBool) {
        let Ok(mut wire) = Wire::connect(addr) else { return };
        while !over.load(Ordering::SeqCst) {
            if self.one(&mut wire, deletes).is_err() {
                return;
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn one(&mut self, wire: &mut Wire, deletes: bool) -> Result<()> {
        self.position += 1;
        if wire.commit(GROUP, &self.topic, 0, self.position)? {
            self.positions.push((Instant::now(), self.position));
        }
        match self.position.is_multiple_of(POSITIONS_PER_DELAYED) {
            true if deletes => wire.delete_expired().map(drop),
            true => self.send_delayed(wire),
            false => Ok(()),
        }
    }

    fn send_delayed(&mut self, wire: &mut Wire) -> Result<()> {
        let number = self.next;
        self.next += 1;
        let (body, key) = (number.to_be_bytes(), format!("DE1A{number:028X}"));
        let message = Message { topic: LATER, queue: 0, key: &key, body: &body, delay_level: 1 };
        if let Sent::Acknowledged(_) = wire.send(&message)? {
            self.delayed.insert(number, Some(Instant::now()));
        }
        Ok(())
    }

    /// Looks after a restart: `end` is when the broker ended, and whether with the power.
    pub fn check(&mut self, addr: SocketAddr, ending: Ending, end: Instant, was_cut: bool) -> Result<()> {
        let found = Wire::connect(addr)?.committed(GROUP, &self.topic, 0)?.unwrap_or(0);
        ensure!(found <= self.position, "I10: the group stands at {found}, it was set to {}", self.position);
        ensure!(found >= self.floor, "I10: the group stands at {found}, it was at {}", self.floor);
        let is_old = |at: Instant| at + POSITION_AGE < end && !may_go(ending, Some(at));
        let old = self.positions.iter().filter(|(at, _)| is_old(*at)).map(|(_, position)| *position).max();
        ensure!(found >= old.unwrap_or(0), "I10: the group stands at {found}, it was at {old:?} long before");
        if was_cut {
            self.floor = found;
            self.delayed.retain(|_, at| !may_go(ending, *at));
            self.delayed.values_mut().for_each(|at| *at = None);
        }
        self.positions.clear();
        Ok(())
    }

    /// Waits until every delayed message has been delivered; how many came more than once.
    pub fn settle(&self, addr: SocketAddr) -> Result<u64> {
        let mut wire = Wire::connect(addr)?;
        let began = Instant::now();
        let (mut there, mut from, mut delivered) = (BTreeSet::new(), wire.min_offset(LATER, 0)?, 0);
        loop {
            let Batch::Messages(pulled) = wire.pull(LATER, 0, from)? else {
                bail!("I16: nothing was to be deleted")
            };
            for message in &pulled {
                from = message.offset + 1;
                delivered += 1;
                match <[u8; 8]>::try_from(message.body.as_slice()).map(u64::from_be_bytes) {
                    Ok(number) if number < self.next => drop(there.insert(number)),
                    _ => bail!("I2: a delayed message of {} bytes was never sent", message.body.len()),
                }
            }
            let waited_for = self.delayed.keys().find(|number| !there.contains(number));
            match waited_for {
                None if pulled.is_empty() => return Ok(delivered - there.len() as u64),
                Some(number) if began.elapsed() > PATIENCE => {
                    bail!("I13: delayed message {number} was not delivered")
                }
                _ if pulled.is_empty() => std::thread::sleep(PAUSE),
                _ => {}
            }
        }
    }
}
