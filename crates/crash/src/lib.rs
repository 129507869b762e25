//! Kills the real broker again and again, and checks from outside that it kept its word.
//!
//! Owns the loop of a campaign and its result. The broker is a process that knows nothing of this; what it
//! acknowledged is written to a file outside its store, and after every restart all of it is read back.
//!
//! Invariants, by their numbers: I1 nothing acknowledged is lost, I2 nothing appears that was not sent, I3 an
//! offset of a queue is one message for ever, I4 offsets have no gaps, I5 the order of one sender is kept, I17
//! a message is there twice only if its first send was not acknowledged.

pub mod broker;
pub mod oracle;
pub mod wire;

use anyhow::{Context, Result, bail};
use broker::{Broker, Launch, SMALL_FILES, Starting};
use kerolox_store::disk::memory::Rng;
use oracle::{Ending, Oracle};
use std::{
    path::{Path, PathBuf},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    time::Duration,
};

/// The topic of all messages.
const TOPIC: &str = "Crash";
/// Senders; each keeps to one queue, so that its order can be checked.
const SENDERS: u32 = 4;
/// One life in so many ends while the broker starts.
const EARLY: usize = 4;
/// Spread of the kills during the start, milliseconds: a start takes tens of them.
const EARLY_MS_MAX: usize = 60;
/// Largest number of acknowledgements after which a broker is killed.
const ACKS_MAX: usize = 1_500;
/// Longest wait for an acknowledgement.
const PATIENCE: Duration = Duration::from_secs(60);
/// Every so many lives all is read back and the files are verified; in between only what is new.
const WHOLE_EVERY: u64 = 10;

/// What an acknowledgement waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum FlushMode {
    /// The page cache.
    Async,
    /// The device.
    Sync,
}

impl FlushMode {
    /// The broker's setting.
    pub fn setting(self) -> &'static str {
        match self {
            FlushMode::Async => "flushDiskType=ASYNC_FLUSH",
            FlushMode::Sync => "flushDiskType=SYNC_FLUSH",
        }
    }
}

/// Kills a broker in a loop and checks what it kept.
#[derive(Debug, clap::Parser)]
pub struct Campaign {
    /// The program to start.
    #[arg(long)]
    pub binary: PathBuf,
    /// A directory of its own. The program makes it and, if all went well, removes it.
    #[arg(long)]
    pub dir: PathBuf,
    /// Kills of a broker that serves.
    #[arg(long, default_value_t = 50)]
    pub cycles: u64,
    /// What an acknowledgement waits for.
    #[arg(long, value_enum, default_value_t = FlushMode::Async)]
    pub flush: FlushMode,
    /// Of the times of the kills.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// What a campaign that held has seen. Nothing was lost: else it would not have held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Kills during the start, beside the others.
    pub early: u64,
    /// Messages acknowledged, all of them there.
    pub acknowledged: u64,
    /// Messages without an answer, there or not.
    pub unacknowledged: u64,
    /// Messages that are there twice although sent once.
    pub duplicates: u64,
}

impl Campaign {
    /// Runs it.
    ///
    /// # Errors
    /// The first invariant that does not hold, by its number; or what kept the campaign from running.
    pub fn run(&self) -> Result<Kept> {
        let mut oracle = Oracle::new(&self.dir.join("acknowledged"), TOPIC, SENDERS)?;
        let launch = self.launch();
        let mut rng = Rng::new(self.seed);
        let mut early = 0;
        for cycle in 0..self.cycles {
            while rng.below(EARLY) == 0 {
                early += 1;
                let starting = Starting::spawn(&launch)?;
                std::thread::sleep(Duration::from_millis(rng.below(EARLY_MS_MAX) as u64));
                starting.kill()?;
            }
            let is_whole = cycle % WHOLE_EVERY == 0;
            if is_whole && cycle > 0 {
                broker::verify(&launch).with_context(|| format!("after {cycle} kills"))?;
            }
            let broker = Broker::serving(Starting::spawn(&launch)?)?;
            oracle
                .check(broker.addr(), is_whole, Ending::Kept)
                .with_context(|| format!("after {cycle} kills"))?;
            load(&mut oracle, broker, 1 + rng.below(ACKS_MAX))?;
        }
        let broker = Broker::serving(Starting::spawn(&launch)?)?;
        oracle.check(broker.addr(), true, Ending::Kept).context("after the last kill")?;
        broker.kill()?;
        broker::verify(&launch).context("after the last kill")?;
        let (acknowledged, unacknowledged) = (oracle.acked(), oracle.unknown());
        Ok(Kept { early, acknowledged, unacknowledged, duplicates: oracle.duplicates() })
    }

    fn launch(&self) -> Launch {
        let settings = SMALL_FILES.iter().copied().chain([self.flush.setting()]);
        Launch {
            binary: self.binary.clone(),
            store: self.dir.join("store"),
            log: self.dir.join("store.log"),
            settings: settings.map(str::to_owned).collect(),
        }
    }
}

/// Sends from all sides and kills the broker after so many acknowledgements.
fn load(oracle: &mut Oracle, broker: Broker, acks: usize) -> Result<()> {
    let addr = broker.addr();
    send_from_all_sides(oracle.senders().collect(), addr, |heard| {
        wait(heard, acks).and_then(|()| broker.kill())
    })
}

/// Sends from all sides while `meanwhile` runs, which hears of every acknowledgement and must end the broker.
///
/// # Errors
/// What `meanwhile` says, or a sender.
pub fn send_from_all_sides<R>(
    senders: Vec<&mut oracle::Sender>,
    addr: std::net::SocketAddr,
    meanwhile: impl FnOnce(&Receiver<()>) -> Result<R>,
) -> Result<R> {
    let over = AtomicBool::new(false);
    let (told, heard) = mpsc::channel();
    std::thread::scope(|scope| {
        let over = &over;
        let senders: Vec<_> = senders
            .into_iter()
            .map(|sender| {
                let told = told.clone();
                scope.spawn(move || sender.send_until_it_dies(addr, over, &told))
            })
            .collect();
        drop(told);
        let result = meanwhile(&heard);
        over.store(true, Ordering::SeqCst);
        for sender in senders {
            match sender.join() {
                Ok(result) => result?,
                Err(_) => bail!("a sender panicked"),
            }
        }
        result
    })
}

/// Waits for so many acknowledgements.
pub fn wait(heard: &Receiver<()>, acks: usize) -> Result<()> {
    for n in 0..acks {
        match heard.recv_timeout(PATIENCE) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout) => bail!("no acknowledgement for a minute, after {n}"),
            Err(RecvTimeoutError::Disconnected) => bail!("the broker broke all connections after {n}"),
        }
    }
    Ok(())
}

/// A directory for a campaign, made anew; an error if it is there.
pub fn make_dir(dir: &Path) -> Result<()> {
    std::fs::create_dir(dir).with_context(|| format!("make {}", dir.display()))
}
