//! What a connection may cost: the rules against floods, stalls and hoarding, without a socket.
//!
//! Knows times and byte counts. Knows no connection table and closes nothing itself; the driver asks and acts.
//! Reference: section 1.10 of the wire reference for the idle limit; the others are ours.

use kerolox_protocol::{Millis, frame::FRAME_BYTES_MAX};
use std::{collections::HashMap, fmt, net::IpAddr};

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Limits of one server.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest frame that is accepted, in bytes including its length field.
    pub frame_bytes_max: usize,
    /// Frames beyond so many bytes are judged by their header if more of them is to come. Smaller ones cost less
    /// than being looked at twice.
    pub judged_bytes_min: usize,
    /// Open connections in all.
    pub connections_max: usize,
    /// Open connections from one address. Many clients may share one behind an address translation.
    pub connections_per_address_max: usize,
    /// Bytes of unfinished frames held for all connections together.
    pub partial_bytes_max: usize,
    /// Bytes of large unfinished frames held for all connections from one address; beyond it, and beyond the
    /// limit for all, the largest of the address that holds most is cut, so that others do not pay for it.
    pub partial_bytes_per_address_max: usize,
    /// Bytes waiting to be sent to one connection; a peer that lets more pile up is cut.
    pub unsent_bytes_max: usize,
    /// Bytes waiting to be sent to all connections together; beyond it the one with the most is cut.
    pub unsent_bytes_total_max: usize,
    /// Reads from files on the way for all connections together; beyond it a read answers an error.
    pub cold_reads_max: usize,
    /// Bytes waiting to be sent over one outgoing link.
    pub link_bytes_max: usize,
    /// A connection without any read or write for so long is closed.
    pub idle: Millis,
    /// An accepted connection whose first request is not here after so long is closed. Clients connect when they
    /// have something to say; of a large first request over a slow line the header is enough, since its body is
    /// held to its rate.
    pub first_request: Millis,
    /// A started frame is not judged before this age.
    pub slow_grace: Millis,
    /// Average rate that a started frame must keep from then on, in bytes per second.
    pub slow_bytes_per_second: u32,
    /// Time for an outgoing link to resolve its name and connect.
    pub connect_timeout: Millis,
    /// Time that a graceful stop may take.
    pub stop_timeout: Millis,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            frame_bytes_max: FRAME_BYTES_MAX,
            judged_bytes_min: 32 * KIB,
            connections_max: 50_000,
            connections_per_address_max: 10_000,
            partial_bytes_max: 1024 * MIB,
            partial_bytes_per_address_max: 256 * MIB,
            unsent_bytes_max: 64 * MIB,
            unsent_bytes_total_max: 1024 * MIB,
            cold_reads_max: 4096,
            link_bytes_max: 16 * MIB,
            idle: Millis(120_000),
            first_request: Millis(10_000),
            slow_grace: Millis(5_000),
            slow_bytes_per_second: 1024,
            connect_timeout: Millis(3_000),
            stop_timeout: Millis(10_000),
        }
    }
}

impl Limits {
    /// What an unfinished frame counts for its address: a small one nothing, since nearly every read of a busy
    /// connection leaves one behind.
    pub fn large(&self, held: usize) -> usize {
        if held > self.judged_bytes_min { held } else { 0 }
    }
}

/// The life signs of one connection, and what follows from them.
///
/// ```text
///   accepted ─────────────► mute ───► must have sent a request in time, or the header of a large one
///   bytes, no frame open ──► quiet ──► idle limit after the last read or write
///   first byte of a frame ─► started ─► after the grace, must have had its bytes per second
///   last byte of a frame ──► quiet
/// ```
#[derive(Debug, Clone)]
pub struct Vitals {
    active: Millis,
    /// When the connection was accepted, until its first request came.
    mute: Option<Millis>,
    /// When the unfinished frame began, and how much of it is here.
    started: Option<(Millis, usize)>,
}

/// What a read came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Came {
    /// It brought the end of a frame.
    pub ended: bool,
    /// It brought the header of a large frame that is wanted.
    pub header: bool,
    /// So many bytes of the frame that is unfinished now have come, wanted or not.
    pub unfinished: usize,
}

/// What is to be done with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Keep it; nothing can change before that time unless bytes move.
    KeepUntil(Millis),
    /// Neither side had anything to say for too long.
    Idle,
    /// It was made, and no request was ever sent on it.
    Mute,
    /// A frame was started and does not come.
    Slow,
}

impl Vitals {
    /// A connection that we made now.
    pub fn new(now: Millis) -> Vitals {
        Vitals { active: now, mute: None, started: None }
    }

    /// A connection that was made to us now: the other side is to speak first.
    pub fn accepted(now: Millis) -> Vitals {
        Vitals { active: now, mute: Some(now), started: None }
    }

    /// Bytes came, and this is what they came to.
    pub fn read(&mut self, now: Millis, came: Came) {
        self.active = now;
        if came.ended || came.header {
            self.mute = None;
        }
        self.started = match self.started {
            _ if came.unfinished == 0 => None,
            Some((since, _)) if !came.ended => Some((since, came.unfinished)),
            _ => Some((now, came.unfinished)),
        };
    }

    /// Bytes were taken by the peer.
    pub fn wrote(&mut self, now: Millis) {
        self.active = now;
    }

    /// Judges the connection at `now`.
    pub fn judge(&self, now: Millis, limits: &Limits) -> Verdict {
        let idle_at = self.active.0.saturating_add(limits.idle.0);
        let slow_at = self.started.map_or(i64::MAX, |(since, bytes)| slow_at(since, bytes, limits));
        let mute_at = self.mute.map_or(i64::MAX, |since| since.0.saturating_add(limits.first_request.0));
        if now.0 >= slow_at {
            Verdict::Slow
        } else if now.0 >= mute_at {
            Verdict::Mute
        } else if now.0 >= idle_at {
            Verdict::Idle
        } else {
            Verdict::KeepUntil(Millis(idle_at.min(slow_at).min(mute_at)))
        }
    }
}

/// When a frame of which `bytes` came since `since` falls behind its rate.
fn slow_at(since: Millis, bytes: usize, limits: &Limits) -> i64 {
    let rate = u64::from(limits.slow_bytes_per_second.max(1));
    let earned = u64::try_from(bytes).unwrap_or(u64::MAX).saturating_mul(1000) / rate;
    let earned = i64::try_from(earned).unwrap_or(i64::MAX);
    since.0.saturating_add(earned.max(limits.slow_grace.0))
}

/// Who may still connect, and what is held for whom: open connections in all and by address, and the bytes of
/// large unfinished frames by address.
#[derive(Debug, Default)]
pub struct Admission {
    total: usize,
    by_address: HashMap<IpAddr, Share>,
}

/// What one address has.
#[derive(Debug, Clone, Copy, Default)]
struct Share {
    connections: usize,
    held: usize,
}

/// Why a connection is closed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The server has as many as it may.
    Total(usize),
    /// The address has as many as it may.
    Address(usize),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Total(n) => write!(f, "the server already has {n} connections"),
            Refusal::Address(n) => write!(f, "the address already has {n} connections"),
        }
    }
}

impl Admission {
    /// Counts a new connection, or refuses it. Every admitted one must be given back with
    /// [`Admission::release`].
    pub fn admit(&mut self, address: IpAddr, limits: &Limits) -> Result<(), Refusal> {
        if self.total >= limits.connections_max {
            return Err(Refusal::Total(self.total));
        }
        let share = self.by_address.entry(address).or_default();
        if share.connections >= limits.connections_per_address_max {
            return Err(Refusal::Address(share.connections));
        }
        share.connections += 1;
        self.total += 1;
        Ok(())
    }

    /// A counted connection is gone.
    pub fn release(&mut self, address: IpAddr) {
        self.total = self.total.saturating_sub(1);
        if let Some(share) = self.by_address.get_mut(&address) {
            share.connections = share.connections.saturating_sub(1);
            if share.connections == 0 {
                self.by_address.remove(&address);
            }
        }
    }

    /// A connection of the address holds `now` bytes of an unfinished frame instead of `before`; what the
    /// address holds in all.
    pub fn hold(&mut self, address: IpAddr, before: usize, now: usize) -> usize {
        let Some(share) = self.by_address.get_mut(&address) else { return 0 };
        share.held = share.held.saturating_sub(before).saturating_add(now);
        share.held
    }

    /// The address for which most is held, if anything is.
    pub fn holds_most(&self) -> Option<IpAddr> {
        let held = self.by_address.iter().filter(|(_, share)| share.held > 0);
        held.max_by_key(|(address, share)| (share.held, **address)).map(|(address, _)| *address)
    }

    /// Open connections.
    pub fn total(&self) -> usize {
        self.total
    }
}

/// Lets few lines through per window and counts the rest, so that a flood cannot fill the log.
#[derive(Debug)]
pub struct LogLimit {
    per_window: u32,
    window: Millis,
    start: Option<Millis>,
    passed: u32,
    held: u64,
}

impl LogLimit {
    /// At most `per_window` lines per `window`.
    pub fn new(per_window: u32, window: Millis) -> LogLimit {
        LogLimit { per_window, window, start: None, passed: 0, held: 0 }
    }

    /// Whether a line may be written now; if so, how many were held back since the last one.
    pub fn pass(&mut self, now: Millis) -> Option<u64> {
        let over = self.start.is_none_or(|start| now.0 >= start.0.saturating_add(self.window.0));
        if over {
            self.start = Some(now);
            self.passed = 0;
        }
        if self.passed >= self.per_window {
            self.held += 1;
            return None;
        }
        self.passed += 1;
        Some(std::mem::take(&mut self.held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Limits {
        Limits { connections_max: 3, connections_per_address_max: 2, ..Limits::default() }
    }

    fn came(ended: bool, unfinished: usize) -> Came {
        Came { ended, header: false, unfinished }
    }

    #[test]
    fn a_silent_connection_is_closed_at_the_idle_limit_and_not_before() {
        let limits = limits();
        let mut vitals = Vitals::new(Millis(0));
        assert_eq!(vitals.judge(Millis(119_999), &limits), Verdict::KeepUntil(Millis(120_000)));
        assert_eq!(vitals.judge(Millis(120_000), &limits), Verdict::Idle);
        vitals.wrote(Millis(100_000));
        assert_eq!(vitals.judge(Millis(120_000), &limits), Verdict::KeepUntil(Millis(220_000)));
        vitals.read(Millis(110_000), came(true, 0));
        assert_eq!(vitals.judge(Millis(230_000), &limits), Verdict::Idle);
    }

    #[test]
    fn a_connection_to_us_must_speak_in_time_and_one_of_ours_need_not() {
        let (limits, first) = (Limits::default(), Limits::default().first_request);
        let accepted = Vitals::accepted(Millis(1_000));
        let due = Millis(1_000) + first;
        assert_eq!(accepted.judge(due - Millis(1), &limits), Verdict::KeepUntil(due));
        assert_eq!(accepted.judge(due, &limits), Verdict::Mute);
        let after = |came| {
            let mut vitals = Vitals::accepted(Millis(1_000));
            vitals.read(Millis(9_000), came);
            vitals.judge(due, &limits)
        };
        let keeps = |verdict| matches!(verdict, Verdict::KeepUntil(_));
        assert_eq!(after(came(false, 100)), Verdict::Mute, "bytes that are no request do not count");
        assert!(keeps(after(came(true, 0))), "a request came");
        assert!(
            keeps(after(Came { header: true, ..came(false, 30_000) })),
            "a large first one is on its way"
        );
        assert!(matches!(Vitals::new(Millis(1_000)).judge(due, &limits), Verdict::KeepUntil(_)));
    }

    #[test]
    fn a_started_frame_must_keep_its_rate_after_the_grace() {
        let limits = limits();
        let mut vitals = Vitals::new(Millis(0));
        vitals.read(Millis(1_000), came(false, 1));
        assert_eq!(vitals.judge(Millis(5_999), &limits), Verdict::KeepUntil(Millis(6_000)));
        assert_eq!(vitals.judge(Millis(6_000), &limits), Verdict::Slow);
        // A byte now and then does not help; a kilobyte per second does.
        vitals.read(Millis(5_900), came(false, 100));
        assert_eq!(vitals.judge(Millis(6_000), &limits), Verdict::Slow);
        vitals.read(Millis(5_900), came(false, 10 * 1024));
        assert_eq!(vitals.judge(Millis(6_000), &limits), Verdict::KeepUntil(Millis(11_000)));
        assert_eq!(vitals.judge(Millis(11_000), &limits), Verdict::Slow);
    }

    #[test]
    fn a_finished_frame_clears_the_clock_and_the_next_one_starts_anew() {
        let limits = limits();
        let mut vitals = Vitals::new(Millis(0));
        vitals.read(Millis(0), came(false, 10));
        vitals.read(Millis(4_000), came(true, 10));
        assert_eq!(vitals.judge(Millis(8_999), &limits), Verdict::KeepUntil(Millis(9_000)));
        assert_eq!(vitals.judge(Millis(9_000), &limits), Verdict::Slow);
        vitals.read(Millis(8_000), came(true, 0));
        assert_eq!(vitals.judge(Millis(9_000), &limits), Verdict::KeepUntil(Millis(128_000)));
    }

    #[test]
    fn connections_are_counted_in_all_and_by_address() {
        let limits = limits();
        let [a, b] = [IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2])];
        let mut admission = Admission::default();
        assert_eq!(admission.admit(a, &limits), Ok(()));
        assert_eq!(admission.admit(a, &limits), Ok(()));
        assert_eq!(admission.admit(a, &limits), Err(Refusal::Address(2)));
        assert_eq!(admission.admit(b, &limits), Ok(()));
        assert_eq!(admission.admit(b, &limits), Err(Refusal::Total(3)));
        admission.release(a);
        assert_eq!(admission.admit(b, &limits), Ok(()));
        [a, b, b].into_iter().for_each(|address| admission.release(address));
        assert_eq!(admission.total(), 0);
        assert!(admission.by_address.is_empty(), "an address that left costs nothing");
    }

    #[test]
    fn what_is_held_is_counted_by_address() {
        let limits = Limits::default();
        let [a, b] = [IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2])];
        let mut admission = Admission::default();
        assert_eq!(admission.holds_most(), None);
        [a, a, b].into_iter().for_each(|address| admission.admit(address, &limits).unwrap());
        assert_eq!(
            (admission.hold(a, 0, 100), admission.hold(a, 0, 50), admission.hold(b, 0, 120)),
            (100, 150, 120)
        );
        assert_eq!(admission.holds_most(), Some(a));
        assert_eq!((admission.hold(a, 100, 0), admission.holds_most()), (50, Some(b)));
        admission.hold(b, 120, 0);
        admission.hold(a, 50, 0);
        assert_eq!(admission.holds_most(), None);
        // What was never counted, or whose connection is gone, does no harm.
        assert_eq!((admission.hold(b, 5, 0), admission.hold(IpAddr::from([9, 9, 9, 9]), 0, 7)), (0, 0));
    }

    #[test]
    fn a_flood_of_lines_is_counted_instead_of_written() {
        let mut limit = LogLimit::new(2, Millis(1_000));
        let passed: Vec<_> = [0, 1, 2, 3, 1_000, 1_001].map(|ms| limit.pass(Millis(ms))).into();
        assert_eq!(passed, [Some(0), Some(0), None, None, Some(2), Some(0)]);
    }
}
