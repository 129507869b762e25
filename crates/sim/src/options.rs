//! What one run is: everything is drawn from the seed, and printed when it fails.
//!
//! Swarm testing: each run has its own subset of faults, loads and sizes, so that rare pairs of circumstances
//! meet often. No schedule exceeds what the mode promises to survive.

use crate::{network::NodeId, random::Random, rot::Rot};
use kerolox_store::disk::memory::Call;

/// What a send waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The page cache: survives the end of the process.
    Async,
    /// The disk: survives a power cut.
    Sync,
}

/// Something that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9`.
    Kill(NodeId),
    /// The broker's machine loses power.
    PowerCut,
    /// The broker's process (or its machine, with `power`) dies at a call to its disk, from now on counted.
    CrashAt {
        /// The kind of call,
        call: Call,
        /// and which of them.
        nth: u64,
        /// Whether unsynced data is lost.
        power: bool,
    },
    /// The server is stopped in order and started again.
    Stop(NodeId),
    /// Each connection is cut with this probability, percent.
    Cut(u64),
    /// The broker is reached by nobody for so long.
    Partition(i64),
    /// The network is slow for so long.
    Slow(i64),
    /// The disk is slow for so long.
    SlowDisk(i64),
    /// The wall clock jumps.
    Clock(i64),
    /// Nothing of any file is in memory for so long.
    Cold(i64),
    /// A call to the disk fails.
    DiskError {
        /// The kind of call,
        call: Call,
        /// and which of them.
        nth: u64,
    },
    /// The disk has only so many bytes left, for so long.
    DiskFull {
        /// Bytes left.
        left: u64,
        /// How long.
        ms: i64,
    },
    /// The disk does something in silence.
    Rot(Rot),
}

/// What is deleted while a run goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deletion {
    /// Age from which log files go, ms.
    pub keep_ms: i64,
    /// Size of a disk that makes them go earlier, bytes.
    pub disk_bytes: Option<u64>,
    /// Pause between two looks at the disk, ms.
    pub look_ms: i64,
}

/// A run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where everything comes from.
    pub seed: u64,
    /// What a send waits for.
    pub mode: Mode,
    /// How long faults happen, virtual ms.
    pub faults_ms: i64,
    /// What happens when.
    pub faults: Vec<(i64, Fault)>,
    /// Name servers: one, or two that know nothing of each other.
    pub namesrvs: usize,
    /// Producers.
    pub producers: usize,
    /// Consumers, all of one group.
    pub consumers: usize,
    /// Clients that lock queues.
    pub holders: usize,
    /// Topics.
    pub topics: usize,
    /// Queues of each.
    pub queues: u32,
    /// Longest pause of a producer between two sends to a queue.
    pub think_ms: i64,
    /// Longest time that a consumer takes for what a pull brought.
    pub work_ms: i64,
    /// Until when topics are made.
    pub topics_until_ms: i64,
    /// Share of batches, percent.
    pub batches: u64,
    /// Share of messages that consumers give back, percent.
    pub gives_back: u64,
    /// Share of messages that are sent in a transaction, percent.
    pub transactions: u64,
    /// Share of delayed messages, percent.
    pub delayed: u64,
    /// Largest body.
    pub body_max: u64,
    /// Share of clients that write binary headers, percent.
    pub binary: u64,
    /// Share of sends that arrive in pieces, percent.
    pub pieces: u64,
    /// Largest delay of the network in good weather.
    pub delay_max: i64,
    /// Longest time that a flush waits before it runs, and its outcome before it is told.
    pub flush_ms_max: i64,
    /// The same for other work.
    pub background_ms_max: i64,
    /// How long a pull may be held.
    pub suspend_ms: i64,
    /// Size of a log file.
    pub segment_bytes: u64,
    /// Size of a queue file.
    pub queue_file_bytes: u64,
    /// Pause between two flushes of the asynchronous mode.
    pub flush_interval_ms: i64,
    /// What is deleted; `None`: nothing.
    pub deletion: Option<Deletion>,
    /// Pause between two checkpoints, ms.
    pub checkpoint_ms: i64,
    /// Bytes of the log's newest part that readers find in memory.
    pub tail_bytes: usize,
    /// Print notes as they come.
    pub echo: bool,
}

/// A delay of level 1 and 2 that a run can wait for.
pub const DELAY_LEVELS: &str = "1s 3s 10s";
/// The same in ms.
pub const DELAYS: [i64; 3] = [1_000, 3_000, 10_000];

impl Options {
    /// The run of a seed.
    pub fn draw(seed: u64, mode: Mode) -> Options {
        let mut options = Options::rich(seed, mode);
        let r = &mut Random::new(seed ^ 0x005e_ed0f_0000_0003);
        if r.chance(30) {
            options.delete_old(r);
        }
        options
    }

    /// The run of a seed without deletion.
    pub fn rich(seed: u64, mode: Mode) -> Options {
        let mut options = Options::plain(seed, mode);
        // A stream of its own: what is drawn here leaves the plain run as it was.
        options.enrich(&mut Random::new(seed ^ 0x005e_ed0f_0000_0002));
        options
    }

    /// The run of a seed with deletion.
    pub fn deleting(seed: u64, mode: Mode) -> Options {
        let mut options = Options::rich(seed, mode);
        options.delete_old(&mut Random::new(seed ^ 0x005e_ed0f_0000_0004));
        options
    }

    /// The run of a seed with a disk that rots.
    pub fn rot(seed: u64, mode: Mode) -> Options {
        let mut options = Options::rich(seed, mode);
        options.rots(&mut Random::new(seed ^ 0x005e_ed0f_0000_0005));
        options
    }

    /// Silent damage, and crashes after which it is met; little in memory, so that files are read.
    fn rots(&mut self, r: &mut Random) {
        for _ in 0..r.between(1, 4) {
            let at = r.between(self.faults_ms / 10, self.faults_ms);
            self.faults.push((at, Fault::Rot(Rot::draw(r))));
            if r.chance(50) {
                let end =
                    if r.chance(60) { Fault::Kill(NodeId::Broker) } else { Fault::Stop(NodeId::Broker) };
                self.faults.push((at + r.between(0, 2_000), end));
            }
        }
        self.faults.sort_by_key(|(at, _)| *at);
        self.segment_bytes = 1 << r.between(14, 17);
        self.body_max = self.body_max.min(2_000);
        self.checkpoint_ms = if r.chance(70) { r.between(100, 5_000) } else { 60_000 };
        self.tail_bytes = if r.chance(30) { 4 << 20 } else { 0 };
    }

    /// Whether the disk rots.
    pub fn has_rot(&self) -> bool {
        self.faults.iter().any(|(_, fault)| matches!(fault, Fault::Rot(_)))
    }

    /// Small files, of which the old ones go.
    fn delete_old(&mut self, r: &mut Random) {
        self.segment_bytes = 1 << r.between(14, 16);
        self.queue_file_bytes = 20 * r.between(4, 20) as u64;
        self.checkpoint_ms = r.between(100, 2_000);
        self.tail_bytes = if r.chance(50) { 4 << 20 } else { 0 };
        self.body_max = self.body_max.min(2_000);
        let by_age = r.chance(60);
        self.deletion = Some(Deletion {
            keep_ms: if by_age { r.between(100, 8_000) } else { 1_000 * 3_600_000 },
            disk_bytes: (!by_age || r.chance(30))
                .then(|| self.segment_bytes * r.between(8, 16) as u64 + (1 << 19)),
            look_ms: r.between(50, 1_500),
        });
        self.think_ms = (self.think_ms / r.between(1, 4)).max(10);
    }

    /// The run of a seed without transactions, locks, retries, late topics, slow consumers, cold reads and a second
    /// name server. Seeds that are known by name, for what they once found, are of this kind.
    pub fn plain(seed: u64, mode: Mode) -> Options {
        let mut random = Random::new(seed);
        let r = &mut random;
        let faults_ms = if r.chance(25) { r.between(40_000, 150_000) } else { r.between(5_000, 30_000) };
        let mut options = Options {
            seed,
            mode,
            faults_ms,
            faults: Vec::new(),
            namesrvs: 1,
            producers: r.between(1, 3) as usize,
            consumers: r.between(1, 3) as usize,
            holders: 0,
            topics: r.between(1, 2) as usize,
            queues: r.between(1, 4) as u32,
            think_ms: (faults_ms / r.between(10, 40)).max(10),
            work_ms: 0,
            topics_until_ms: 0,
            batches: if r.chance(50) { r.below(60) } else { 0 },
            gives_back: 0,
            transactions: 0,
            delayed: if r.chance(50) { r.below(40) } else { 0 },
            body_max: if r.chance(30) { 4_000 } else { 400 },
            binary: r.below(101),
            pieces: if r.chance(50) { r.below(60) } else { 0 },
            delay_max: r.between(1, 20),
            flush_ms_max: r.between(1, 40),
            background_ms_max: r.between(1, 200),
            suspend_ms: r.between(5_000, 20_000),
            segment_bytes: 1 << r.between(15, 20),
            queue_file_bytes: 20 * r.between(4, 60) as u64,
            flush_interval_ms: r.between(50, 1_000),
            deletion: None,
            checkpoint_ms: 60_000,
            tail_bytes: 4 << 20,
            echo: false,
        };
        options.draw_faults(r);
        options
    }

    fn enrich(&mut self, r: &mut Random) {
        let faults_ms = self.faults_ms;
        self.namesrvs = r.between(1, 2) as usize;
        self.holders = if r.chance(40) { r.between(2, 3) as usize } else { 0 };
        self.topics += r.below(3) as usize;
        self.topics_until_ms = if r.chance(50) { faults_ms * r.between(0, 70) / 100 } else { 0 };
        self.work_ms = if r.chance(30) { r.between(1, 3_000) } else { 0 };
        self.gives_back = if r.chance(40) { r.below(40) } else { 0 };
        self.transactions = if r.chance(40) { r.below(50) } else { 0 };
        for (_, fault) in &mut self.faults {
            if let Fault::Kill(node) | Fault::Stop(node) = fault
                && *node == NodeId::Namesrv
                && r.chance(50)
            {
                *node = NodeId::Namesrv2;
            }
        }
        if r.chance(40) {
            for _ in 0..r.between(1, 4) {
                self.faults.push((r.between(0, faults_ms), Fault::Cold(r.between(500, 10_000))));
            }
        }
        if r.chance(30) {
            for _ in 0..r.between(1, 3) {
                self.crash_twice(r);
            }
        }
        self.faults.sort_by_key(|(at, _)| *at);
    }

    /// A crash, and another one while the broker recovers from it.
    fn crash_twice(&mut self, r: &mut Random) {
        let at = r.between(0, self.faults_ms);
        let cut = r.chance(50) && self.faults.iter().any(|(_, fault)| *fault == Fault::PowerCut);
        let first = if cut { Fault::PowerCut } else { Fault::Kill(NodeId::Broker) };
        let call = r.pick(&CRASH_CALLS).copied().unwrap_or(Call::Write);
        self.faults.push((at, first));
        self.faults.push((at + 1, Fault::CrashAt { call, nth: 1 + r.below(6), power: cut && r.chance(50) }));
    }

    fn draw_faults(&mut self, r: &mut Random) {
        let all = [
            Kind::Kill,
            Kind::PowerCut,
            Kind::CrashAt,
            Kind::Stop,
            Kind::Cut,
            Kind::Partition,
            Kind::Slow,
            Kind::SlowDisk,
            Kind::Clock,
            Kind::DiskError,
            Kind::DiskFull,
        ];
        let kinds: Vec<Kind> = all.into_iter().filter(|_| r.chance(40)).collect();
        if kinds.is_empty() {
            return;
        }
        for _ in 0..r.between(1, 10) {
            let at = r.between(0, self.faults_ms);
            if let Some(kind) = r.pick(&kinds).copied() {
                let fault = kind.draw(r);
                self.faults.push((at, fault));
            }
        }
        self.faults.sort_by_key(|(at, _)| *at);
    }

    /// Whether the wall clock goes on evenly, so that times can be checked.
    pub fn even_clock(&self) -> bool {
        !self.faults.iter().any(|(_, fault)| matches!(fault, Fault::Clock(_)))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Kill,
    PowerCut,
    CrashAt,
    Stop,
    Cut,
    Partition,
    Slow,
    SlowDisk,
    Clock,
    DiskError,
    DiskFull,
}

/// Calls that a crash may fall on; weighted by what is done between them.
const CRASH_CALLS: [Call; 9] = [
    Call::Write,
    Call::Write,
    Call::Write,
    Call::Sync,
    Call::Sync,
    Call::SyncDir,
    Call::Rename,
    Call::SetLen,
    Call::Remove,
];

impl Kind {
    fn draw(self, r: &mut Random) -> Fault {
        let node = if r.chance(75) { NodeId::Broker } else { NodeId::Namesrv };
        let crash = |r: &mut Random| r.pick(&CRASH_CALLS).copied().unwrap_or(Call::Write);
        match self {
            Kind::Kill => Fault::Kill(node),
            Kind::PowerCut => Fault::PowerCut,
            Kind::CrashAt => Fault::CrashAt { call: crash(r), nth: 1 + r.below(20), power: r.chance(50) },
            Kind::Stop => Fault::Stop(node),
            Kind::Cut => Fault::Cut(1 + r.below(100)),
            Kind::Partition => Fault::Partition(r.between(50, 5_000)),
            Kind::Slow => Fault::Slow(r.between(50, 5_000)),
            Kind::SlowDisk => Fault::SlowDisk(r.between(50, 8_000)),
            Kind::Clock => Fault::Clock(r.between(-3_600_000, 3_600_000)),
            Kind::DiskError => {
                let call = if r.chance(50) { Call::Sync } else { Call::Write };
                Fault::DiskError { call, nth: 1 + r.below(10) }
            }
            Kind::DiskFull => Fault::DiskFull { left: r.below(200_000), ms: r.between(500, 8_000) },
        }
    }
}
