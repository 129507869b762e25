//! Answers that wait for the log: first for the group's write, then, if their sender wants it, for the disk.
//!
//! Knows log offsets, deadlines and tickets; knows no store. First in, first out: offsets only grow, so only
//! the head has to be looked at.
//!
//! ```text
//!   push ──► group ──written──► answered (asynchronous flush, or the sender does not wait)
//!                      └──────► flushing ──flushed──► answered
//!                                   └────deadline──► answered FLUSH_DISK_TIMEOUT
//! ```
//! A failed write or flush answers everything that waits with the cause; nothing is acknowledged after it.

use crate::{answer::Answer, answer::Ticket};
use kerolox_net::ConnId;
use kerolox_protocol::{LogOffset, Millis};
use std::collections::{BTreeSet, VecDeque};

/// What is said when the wait is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// A message was stored.
    Sent {
        /// Offset message ids.
        ids: Ids,
        /// Queue as the sender is told.
        queue: i32,
        /// First queue offset.
        offset: i64,
    },
    /// Anything else.
    Answer(Answer),
}

/// Places of what was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ids {
    /// One message.
    One(LogOffset),
    /// A batch: ids joined by commas.
    Many(String),
}

/// An answer that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// The log must be written (and flushed, if asked) up to here.
    pub end: LogOffset,
    /// Whether it waits for the flush where the mode has one.
    pub flush: bool,
    /// Where it goes.
    pub to: Ticket,
    /// What is said.
    pub said: Said,
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End<'a> {
    /// As wanted.
    Done,
    /// Written, but not flushed in time.
    Late,
    /// The log failed.
    Failed(&'a str),
}

/// All waiting answers.
#[derive(Debug, Default)]
pub(crate) struct Parked {
    group: Vec<Waiting>,
    flushing: VecDeque<(Millis, Waiting)>,
    gone: BTreeSet<ConnId>,
}

impl Parked {
    /// Number of waiting answers.
    pub(crate) fn len(&self) -> usize {
        self.group.len() + self.flushing.len()
    }

    /// Whether an answer waits for the group to be written.
    pub(crate) fn waits_for_write(&self) -> bool {
        !self.group.is_empty()
    }

    /// Lets an answer wait.
    pub(crate) fn push(&mut self, waiting: Waiting) {
        self.group.push(waiting);
    }

    /// The group was written. Answers that wait for a flush behind `flushed` stay until `deadline`.
    pub(crate) fn on_written(
        &mut self,
        flushed: Option<LogOffset>,
        deadline: Millis,
        mut say: impl FnMut(&Waiting, End<'_>),
    ) {
        for waiting in self.group.drain(..) {
            match flushed {
                Some(flushed) if waiting.flush && waiting.end > flushed => {
                    self.flushing.push_back((deadline, waiting));
                }
                _ => say(&waiting, End::Done),
            }
        }
    }

    /// The disk has everything below `flushed`.
    pub(crate) fn on_flushed(&mut self, flushed: LogOffset, mut say: impl FnMut(&Waiting, End<'_>)) {
        while let Some((_, waiting)) = self.flushing.pop_front_if(|(_, waiting)| waiting.end <= flushed) {
            if !self.gone.contains(&waiting.to.conn) {
                say(&waiting, End::Done);
            }
        }
        self.settle();
    }

    /// Answers what has waited for too long.
    pub(crate) fn expire(&mut self, now: Millis, mut say: impl FnMut(&Waiting, End<'_>)) {
        while let Some((_, waiting)) = self.flushing.pop_front_if(|(deadline, _)| *deadline <= now) {
            if !self.gone.contains(&waiting.to.conn) {
                say(&waiting, End::Late);
            }
        }
        self.settle();
    }

    /// The log failed: nothing that waits will come true.
    pub(crate) fn on_failed(&mut self, why: &str, mut say: impl FnMut(&Waiting, End<'_>)) {
        let flushing = self.flushing.drain(..).map(|(_, waiting)| waiting);
        for waiting in flushing.chain(self.group.drain(..)) {
            if !self.gone.contains(&waiting.to.conn) {
                say(&waiting, End::Failed(why));
            }
        }
        self.settle();
    }

    /// A connection is gone.
    pub(crate) fn on_closed(&mut self, conn: ConnId) {
        self.group.retain(|waiting| waiting.to.conn != conn);
        if !self.flushing.is_empty() {
            self.gone.insert(conn);
        }
    }

    /// When [`Parked::expire`] has something to do next.
    pub(crate) fn next_deadline(&self) -> Option<Millis> {
        self.flushing.front().map(|(deadline, _)| *deadline)
    }

    /// Connection numbers are never used twice, so the list of gone ones may be kept until nobody waits.
    fn settle(&mut self) {
        if self.flushing.is_empty() {
            self.gone.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kerolox_protocol::frame::Codec;

    fn waiting(end: u64, conn: u64, flush: bool) -> Waiting {
        let to = Ticket { conn: ConnId(conn), codec: Codec::Json, opaque: end as i32, oneway: false };
        let said = Said::Sent { ids: Ids::One(LogOffset(0)), queue: 0, offset: 0 };
        Waiting { end: LogOffset(end), flush, to, said }
    }

    fn ends(run: impl FnOnce(&mut dyn FnMut(&Waiting, End<'_>))) -> Vec<(u64, &'static str)> {
        let mut seen = Vec::new();
        run(&mut |waiting, end| {
            let how = match end {
                End::Done => "done",
                End::Late => "late",
                End::Failed(_) => "failed",
            };
            seen.push((waiting.end.0, how));
        });
        seen
    }

    #[test]
    fn an_answer_waits_for_what_its_sender_wants() {
        let mut parked = Parked::default();
        for (end, flush) in [(10, true), (20, false), (30, true), (40, true)] {
            parked.push(waiting(end, 1, flush));
        }
        // One was flushed by a flush that ran meanwhile; one does not wait for the disk.
        let seen = ends(|say| parked.on_written(Some(LogOffset(10)), Millis(50), say));
        assert_eq!(seen, [(10, "done"), (20, "done")]);
        assert_eq!(ends(|say| parked.on_flushed(LogOffset(29), say)), []);
        assert_eq!(ends(|say| parked.on_flushed(LogOffset(30), say)), [(30, "done")]);
        assert_eq!((parked.next_deadline(), parked.len()), (Some(Millis(50)), 1));
        assert_eq!(ends(|say| parked.expire(Millis(49), say)), []);
        assert_eq!(ends(|say| parked.expire(Millis(50), say)), [(40, "late")]);
        assert_eq!((parked.next_deadline(), parked.len()), (None, 0));
    }

    #[test]
    fn without_synchronous_flush_the_write_is_enough() {
        let mut parked = Parked::default();
        parked.push(waiting(10, 1, true));
        assert_eq!(ends(|say| parked.on_written(None, Millis(50), say)), [(10, "done")]);
    }

    #[test]
    fn a_failed_log_answers_everybody_and_acknowledges_nobody() {
        let mut parked = Parked::default();
        parked.push(waiting(10, 1, true));
        parked.on_written(Some(LogOffset(0)), Millis(9), |_, _| panic!("nothing is flushed"));
        parked.push(waiting(20, 1, false));
        assert_eq!(ends(|say| parked.on_failed("EIO", say)), [(10, "failed"), (20, "failed")]);
    }

    #[test]
    fn a_closed_connection_is_not_answered() {
        let mut parked = Parked::default();
        parked.push(waiting(10, 1, true));
        parked.push(waiting(20, 2, true));
        parked.on_written(Some(LogOffset(0)), Millis(9), |_, _| panic!("nothing is flushed"));
        parked.push(waiting(30, 1, true));
        parked.on_closed(ConnId(1));
        assert_eq!(parked.len(), 2);
        assert_eq!(ends(|say| parked.on_flushed(LogOffset(99), say)), [(20, "done")]);
    }
}
