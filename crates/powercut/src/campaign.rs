//! The campaign: one machine, many disks, many lives of the broker on each, and the power cut at the end of each.
//!
//! Owns the order of things and the choice of what happens, which is the seed's. Expects to be run inside a
//! [`Room`](crate::isolate::Room).

use crate::{
    errands::Errands,
    machine::Machine,
    platter::{Counts, Fate},
};
use anyhow::{Context, Result, ensure};
use kerolox_crash::{
    FlushMode,
    broker::{self, Broker, Launch, SMALL_FILES, Starting},
    oracle::{Ending, Oracle},
    send_from_all_sides, wait,
};
use kerolox_store::disk::memory::Rng;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::Receiver,
    },
    time::{Duration, Instant},
};

/// The disk's size, bytes.
const DISK_BYTES: u64 = 128 << 20;
/// Cuts on one disk before it is replaced.
const CUTS_PER_DISK: u64 = 25;
/// A disk that is fuller is replaced before its time: the broker refuses sends on a full one.
const USED_PERCENT_MAX: u64 = 50;
/// Background flushes under ASYNC_FLUSH come this often.
pub const FLUSH_INTERVAL: Duration = Duration::from_millis(200);
/// What a flush may take, and a busy machine. Lost messages were acknowledged within interval and this.
const FLUSH_TAKES_MAX: Duration = Duration::from_millis(800);
/// Beside those of the crash loop: the smallest waits, deletion only when it is asked for.
const SETTINGS: [&str; 9] = [
    "mappedFileSizeCommitLog=262144",
    "flushIntervalCommitLog=200",
    "flushIntervalConsumeQueue=100",
    "cleanResourceInterval=50",
    "fileReservedTime=0",
    "deleteWhen=",
    "cleanFileForciblyEnable=false",
    "diskMaxUsedSpaceRatio=95",
    "messageDelayLevel=1s 2s",
];
/// The topic of the first senders, and how many they are.
const TOPIC: &str = "Crash";
const SENDERS: u32 = 4;
/// What each waits between two messages that wait for no disk.
const ASYNC_PAUSE: Duration = Duration::from_millis(1);
/// Of senders that came later, so many go on: their topics were made a few lives ago.
const LATER_SENDERS: usize = 4;
/// Largest number of acknowledgements before the power is cut.
const ACKS_MAX: usize = 600;
/// One cut in so many comes while the broker starts.
const EARLY: usize = 4;
/// One life in so many ends with a kill alone, and goes on after it.
const KILLS: usize = 6;
/// One life in so many is long: everything that is done in the background has its turn.
const LONG: usize = 12;
const LONG_LIFE: Duration = Duration::from_millis(2_200);
/// The disk's requests within which an armed cut comes.
const REQUESTS_MAX: usize = 120;
/// Longest wait for an armed cut: an idle disk has no requests.
const ARMED: Duration = Duration::from_millis(500);

/// Cuts the power under a broker in a loop and checks what it kept.
#[derive(Debug, clap::Parser)]
pub struct Campaign {
    /// The program to start.
    #[arg(long)]
    pub binary: PathBuf,
    /// A directory of its own, on a file system that keeps its power. The program makes it and, if all went well,
    /// removes it.
    #[arg(long)]
    pub dir: PathBuf,
    /// Cuts under a broker that serves.
    #[arg(long, default_value_t = 50)]
    pub cuts: u64,
    /// What an acknowledgement waits for.
    #[arg(long = "mode", value_enum, default_value_t = FlushMode::Sync)]
    pub flush: FlushMode,
    /// Of all choices.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// The disk says that it has flushed, and has not: no broker survives that, so that the campaign must fail.
    #[arg(skip)]
    pub broken_disk: bool,
}

/// What a campaign that held has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    /// Cuts under a broker that serves.
    pub cuts: u64,
    /// Cuts while the broker started, beside the others.
    pub early: u64,
    /// Kills without a cut, beside both.
    pub kills: u64,
    /// Messages acknowledged and there.
    pub acknowledged: u64,
    /// Messages acknowledged and gone, as ASYNC_FLUSH may have it.
    pub lost: u64,
    /// The longest time before a cut at which a lost message had been acknowledged.
    pub lost_age_max: Duration,
    /// Messages without an answer, there or not.
    pub unacknowledged: u64,
    /// Messages that are there twice although sent once.
    pub duplicates: u64,
    /// Delayed messages acknowledged and delivered.
    pub delayed: u64,
    /// Those of them that were delivered more than once.
    pub delayed_twice: u64,
    /// What the disks did.
    pub disk: Counts,
}

impl Campaign {
    /// Runs it; tells `progress` of every disk that is done.
    ///
    /// # Errors
    /// The first invariant that does not hold, by its number; or what kept the campaign from running.
    pub fn run(&self, mut progress: impl FnMut(&Kept)) -> Result<Kept> {
        let mut kept = Kept::default();
        let mut machine = Machine::new(&self.dir, DISK_BYTES)?;
        machine.platter().lie(self.broken_disk);
        for disk in 0.. {
            let cuts = CUTS_PER_DISK.min(self.cuts - kept.cuts);
            if cuts == 0 {
                break;
            }
            machine.new_disk();
            let mut life = Disk::new(self, &mut machine, disk, &mut kept)?;
            if let Err(why) = life.run(cuts) {
                let evidence = self.dir.join("image");
                machine.platter().save(&evidence)?;
                return Err(why.context(format!("disk {disk}, of which a copy is {}", evidence.display())));
            }
            kept.disk = machine.platter().counts();
            progress(&kept);
        }
        Ok(kept)
    }

    fn launch(&self, root: &Path) -> Launch {
        let small = SMALL_FILES.iter().filter(|setting| !setting.starts_with("mappedFileSizeCommitLog"));
        let settings = small.chain(&SETTINGS).copied().chain([self.flush.setting()]);
        Launch {
            binary: self.binary.clone(),
            store: root.join("store"),
            log: self.dir.join("broker.log"),
            settings: settings.map(str::to_owned).collect(),
        }
    }
}

/// The lives of a broker on one disk.
struct Disk<'a> {
    flush: FlushMode,
    machine: &'a mut Machine,
    kept: &'a mut Kept,
    launch: Launch,
    oracle: Oracle,
    errands: Errands,
    rng: Rng,
    number: u64,
    /// Old files are deleted on every other disk, and delayed messages sent on the others.
    deletes: bool,
    /// What must have outlived the last life, and when that ended; none once it was looked at.
    ending: Ending,
    ended: Option<Instant>,
    was_cut: bool,
}

impl<'a> Disk<'a> {
    fn new(of: &Campaign, machine: &'a mut Machine, number: u64, kept: &'a mut Kept) -> Result<Disk<'a>> {
        let launch = of.launch(&machine.root());
        let dir = of.dir.join("acknowledged");
        std::fs::create_dir_all(&dir)?;
        let mut oracle = Oracle::new(&dir.join(format!("disk{number}")), TOPIC, SENDERS)?;
        if of.flush == FlushMode::Async {
            oracle.pace(ASYNC_PAUSE);
        }
        Ok(Disk {
            flush: of.flush,
            machine,
            kept,
            launch,
            oracle,
            errands: Errands::new(TOPIC),
            rng: Rng::new(of.seed.wrapping_mul(1_000_003).wrapping_add(number)),
            number,
            deletes: number % 2 == 1,
            ending: Ending::Kept,
            ended: None,
            was_cut: false,
        })
    }

    fn run(&mut self, cuts: u64) -> Result<()> {
        self.machine.boot()?;
        for life in 0..cuts {
            self.life(life).with_context(|| format!("after {life} cuts"))?;
            if self.machine.used_percent()? > USED_PERCENT_MAX {
                break;
            }
        }
        self.last_look().context("after the last cut")?;
        self.kept.acknowledged += self.oracle.acked();
        self.kept.unacknowledged += self.oracle.unknown();
        self.kept.duplicates += self.oracle.duplicates();
        self.kept.delayed += self.errands.delayed();
        Ok(())
    }

    /// From one cut to the next.
    fn life(&mut self, life: u64) -> Result<()> {
        while self.rng.below(EARLY) == 0 {
            self.cut_while_starting()?;
        }
        if self.rng.below(KILLS) == 0 {
            self.kill_and_verify()?;
        }
        let broker = self.start_and_look(false)?;
        if self.rng.below(3) == 0 {
            for queue in 0..=self.rng.below(3) {
                self.oracle.add_sender(&format!("Made{}In{life}", self.number), u32::try_from(queue)?)?;
            }
        }
        let (acks, moment) = (1 + self.rng.below(ACKS_MAX), Moment::choose(&mut self.rng, self.flush));
        let (fate, rng) = self.fate();
        let platter = self.machine.platter_handle();
        self.load(broker, |heard| {
            wait(heard, acks)?;
            match moment {
                Moment::Time(pause) => std::thread::sleep(pause),
                Moment::Request(after) => {
                    platter.arm(after, fate, rng.clone());
                    platter.wait(ARMED);
                }
            }
            platter.cut(fate, rng);
            Ok(())
        })?;
        self.kept.cuts += 1;
        self.power_cycle()
    }

    /// Starts a broker, and cuts the power at one of the disk's next requests.
    fn cut_while_starting(&mut self) -> Result<()> {
        let (fate, rng) = self.fate();
        self.machine.platter().arm(self.rng.below(REQUESTS_MAX) as u64, fate, rng.clone());
        let starting = Starting::spawn(&self.launch)?;
        self.machine.platter().wait(ARMED);
        self.machine.platter().cut(fate, rng);
        starting.kill()?;
        self.kept.early += 1;
        self.power_cycle()
    }

    /// A life that ends with a kill: what the log holds and what was made of it must agree.
    fn kill_and_verify(&mut self) -> Result<()> {
        let broker = self.start_and_look(false)?;
        let acks = 1 + self.rng.below(ACKS_MAX);
        self.load(broker, |heard| wait(heard, acks))?;
        self.kept.kills += 1;
        self.ended = Some(Instant::now());
        self.was_cut = false;
        broker::verify(&self.launch).context("after a kill")
    }

    /// All that has to be there is there, and delayed messages come; the file system is whole.
    fn last_look(&mut self) -> Result<()> {
        let broker = self.start_and_look(true)?;
        self.kept.delayed_twice += self.errands.settle(broker.addr())?;
        broker.kill()?;
        broker::verify(&self.launch)?;
        self.machine.halt()?;
        self.machine.check_file_system()
    }

    fn start_and_look(&mut self, is_whole: bool) -> Result<Broker> {
        let broker = Broker::serving(Starting::spawn(&self.launch)?)?;
        let found = self.oracle.check(broker.addr(), is_whole, self.ending)?;
        let ended = self.ended.take().unwrap_or_else(Instant::now);
        self.errands.check(broker.addr(), self.ending, ended, self.was_cut)?;
        self.kept.lost += found.lost;
        if let Some(first) = found.first_lost {
            let age = ended.saturating_duration_since(first);
            self.kept.lost_age_max = self.kept.lost_age_max.max(age);
        }
        self.ending = Ending::Kept;
        Ok(broker)
    }

    /// Sends and runs errands until `end` has been waited for; then the broker is killed.
    fn load(&mut self, broker: Broker, end: impl FnOnce(&Receiver<()>) -> Result<()>) -> Result<()> {
        if self.deletes {
            self.oracle.allow_deletion();
        }
        let addr: SocketAddr = broker.addr();
        let (errands, deletes, over) = (&mut self.errands, self.deletes, AtomicBool::new(false));
        let mut senders: Vec<_> = self.oracle.senders().collect();
        let old = SENDERS as usize..senders.len().saturating_sub(LATER_SENDERS).max(SENDERS as usize);
        senders.drain(old);
        send_from_all_sides(senders, addr, |heard| {
            std::thread::scope(|scope| {
                let errands = scope.spawn(|| errands.run(addr, deletes, &over));
                let ended = end(heard);
                let killed = broker.kill();
                over.store(true, Ordering::SeqCst);
                ensure!(errands.join().is_ok(), "the errands panicked");
                ended.and(killed)
            })
        })
    }

    /// After a cut: the machine goes down and comes up again.
    fn power_cycle(&mut self) -> Result<()> {
        let at = self.machine.platter().cut_at().context("the power is on")?;
        // What outlived one cut outlives the next: only the first one after a life takes anything.
        if self.ended.is_none() || !self.was_cut {
            self.ended = Some(at);
            if self.flush == FlushMode::Async {
                let window = FLUSH_INTERVAL + FLUSH_TAKES_MAX;
                self.ending = Ending::KeptBefore(at.checked_sub(window).unwrap_or(at));
            }
        }
        self.was_cut = true;
        self.machine.halt()?;
        self.machine.boot()
    }

    fn fate(&mut self) -> (Fate, Rng) {
        let fate = Fate::ALL.get(self.rng.below(Fate::ALL.len())).copied().unwrap_or(Fate::AllLost);
        (fate, Rng::new(self.rng.below(usize::MAX) as u64))
    }
}

/// When the power is cut, once the acknowledgements are there.
enum Moment {
    /// After this time.
    Time(Duration),
    /// Before this request of the disk from then on.
    Request(u64),
}

impl Moment {
    fn choose(rng: &mut Rng, flush: FlushMode) -> Moment {
        if rng.below(LONG) == 0 {
            return Moment::Time(LONG_LIFE);
        }
        if rng.below(2) == 0 {
            return Moment::Request(rng.below(REQUESTS_MAX) as u64);
        }
        let most = if flush == FlushMode::Async { FLUSH_INTERVAL } else { Duration::from_millis(5) };
        Moment::Time(Duration::from_micros(rng.below(most.as_micros() as usize) as u64))
    }
}
