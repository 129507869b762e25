//! Trials of the real broker on a disk that fails: what must happen at the fault, and what must be there behind it.
//!
//! Owns the disk of each trial, its faults and the order of events. To be run inside a
//! [`Room`](crate::isolate::Room).

use crate::{
    faults::{Fault, Faults, Op},
    fuse::passthrough::Passthrough,
};
use anyhow::{Context, Result, anyhow, bail, ensure};
use kerolox_crash::{
    FlushMode,
    broker::{self, Broker, Launch, SMALL_FILES, Starting},
    oracle::{Ending, Oracle, Survey},
    wire::{Sent, Wire},
};
use kerolox_store::disk::memory::Rng;
use rustix::{
    io::Errno,
    process::{Pid, Signal, kill_process},
};
use std::{
    ops::Range,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
    time::{Duration, Instant},
};

const TOPIC: &str = "Trial";
const SENDERS: u32 = 2;
/// Messages of each sender before the fault.
const BEFORE: usize = 100;
/// Sends of each sender while the fault lasts.
const DURING: usize = 20;
/// Sends until a disk without room must have refused one: a log file and more.
const UNTIL_FULL: usize = 20_000;
/// How soon a broker serves again once there is room.
const AGAIN: Duration = Duration::from_secs(10);
/// What a page cache asks a device for.
const PAGE: u64 = 4096;
/// Bits that are flipped while the broker is down.
const FLIPS: u64 = 6;

/// A broker on a disk with faults.
struct Trial {
    faults: Arc<Faults>,
    disk: Passthrough,
    backing: PathBuf,
    launch: Launch,
    oracle: Oracle,
}

impl Trial {
    fn new(binary: &Path, dir: &Path, name: &str) -> Result<Trial> {
        let dir = dir.join(name);
        let (backing, root, faults) = (dir.join("backing"), dir.join("root"), Arc::new(Faults::default()));
        let disk = Passthrough::mount(&backing, &root, faults.clone())?;
        let settings = SMALL_FILES.iter().copied().chain([FlushMode::Sync.setting()]);
        let launch = Launch {
            binary: binary.to_owned(),
            store: root.join("store"),
            log: dir.join("broker.log"),
            settings: settings.map(str::to_owned).collect(),
        };
        let oracle = Oracle::new(&dir.join("acknowledged"), TOPIC, SENDERS)?;
        Ok(Trial { faults, disk, backing, launch, oracle })
    }

    fn start(&self) -> Result<Broker> {
        Broker::serving(Starting::spawn(&self.launch)?)
    }

    /// Sends so many from each sender; all answers. A connection that breaks ends a sender's part.
    fn send(&mut self, broker: &Broker, each: usize) -> Result<Vec<Sent>> {
        let mut said = Vec::new();
        for sender in self.oracle.senders() {
            let mut wire = Wire::connect(broker.addr())?;
            for _ in 0..each {
                match sender.send_one(&mut wire)? {
                    Some(sent) => said.push(sent),
                    None => break,
                }
            }
        }
        Ok(said)
    }

    fn fill(&mut self, broker: &Broker) -> Result<()> {
        let said = self.send(broker, BEFORE)?;
        ensure!(said.iter().all(is_acknowledged), "not all were acknowledged before the fault");
        Ok(())
    }

    /// After a restart on a healthy disk all is there, and more is taken.
    fn all_is_there(&mut self, broker: &Broker) -> Result<()> {
        self.oracle.check(broker.addr(), true, Ending::Kept)?;
        self.fill(broker)
    }

    /// Ends the broker as an operator does.
    fn stop(&self, broker: Broker) -> Result<()> {
        let pid = i32::try_from(broker.process_id()).ok().and_then(Pid::from_raw).context("no process")?;
        kill_process(pid, Signal::TERM)?;
        broker.ended()
    }

    /// The log's first file, as it is behind the faults.
    fn log_file(&self) -> PathBuf {
        self.backing.join("store/commitlog/00000000000000000000")
    }

    /// What `kerolox store VERB` says and how it ends.
    fn store_tool(&self, words: &[&str]) -> Result<(Output, String)> {
        let mut command = Command::new(&self.launch.binary);
        let (verb, rest) = words.split_first().context("no verb")?;
        let output = command
            .args(["store", verb])
            .arg(&self.launch.store)
            .args(rest)
            .args(&self.launch.settings)
            .output()?;
        let said = [&*output.stdout, &*output.stderr].map(String::from_utf8_lossy).concat();
        Ok((output, said))
    }

    /// What all senders' messages have come to.
    fn survey(&mut self, broker: &Broker) -> Result<Survey> {
        let mut all = Survey::default();
        for sender in self.oracle.senders() {
            let found = sender.survey(&mut Wire::connect(broker.addr())?)?;
            all.sound += found.sound;
            all.unsound += found.unsound;
            all.missing += found.missing;
        }
        Ok(all)
    }

    fn broker_said(&self) -> String {
        std::fs::read_to_string(&self.launch.log).unwrap_or_default()
    }
}

/// Asks another process until it is as it should be, which must come soon; when it came. Of two errors the outer one
/// ends it at once.
fn soon(mut ask: impl FnMut() -> Result<Result<()>>) -> Result<Duration> {
    let since = Instant::now();
    while let Err(why) = ask()? {
        if since.elapsed() >= AGAIN {
            return Err(why.context(format!("not well after {AGAIN:?}")));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(since.elapsed())
}

fn is_acknowledged(sent: &Sent) -> bool {
    matches!(sent, Sent::Acknowledged(_))
}

/// After one failed write or sync of the log nothing is acknowledged any more, although the disk is well again; what
/// was acknowledged before outlives even that all unsynced writes go.
pub fn failure_ends_acknowledging(binary: &Path, dir: &Path) -> Result<()> {
    for (name, op) in [("sync", Op::Sync), ("write", Op::Write)] {
        let mut trial = Trial::new(binary, dir, name)?;
        let broker = trial.start()?;
        trial.fill(&broker)?;
        trial.faults.plan(op, "commitlog/00000000000000000000", Fault::Fail(Errno::IO), 1);
        let said = trial.send(&broker, DURING)?;
        ensure!(trial.faults.met() == 1, "{name}: the fault was met {} times", trial.faults.met());
        ensure!(!said.iter().any(is_acknowledged), "{name}: SEND_OK after an I/O error: {said:?}");
        ensure!(!said.is_empty(), "{name}: nobody was told anything");
        broker.kill()?;
        trial.disk.drop_unsynced()?;
        let broker = trial.start().with_context(|| format!("after a failed {name}"))?;
        trial.all_is_there(&broker).with_context(|| format!("after a failed {name}"))?;
        broker.kill()?;
    }
    Ok(())
}

/// Without room sends are refused with the cause and reads go on; with room again the same process serves again soon.
pub fn no_room_is_refused_until_there_is_room(binary: &Path, dir: &Path) -> Result<Duration> {
    let mut trial = Trial::new(binary, dir, "room")?;
    let broker = trial.start()?;
    trial.fill(&broker)?;
    trial.faults.set_room(Some(0));
    let why = refusal(&mut trial, &broker)?;
    ensure!(why.contains("space") || why.contains("room") || why.contains("disk"), "refused, but why? {why}");
    trial.oracle.check(broker.addr(), true, Ending::Kept).context("while there is no room")?;
    trial.faults.heal();
    let again = soon(|| {
        let sent = trial.send(&broker, 1)?;
        Ok(if sent.iter().any(is_acknowledged) {
            Ok(())
        } else {
            Err(anyhow!("sends are still refused: {sent:?}"))
        })
    })?;
    trial.all_is_there(&broker)?;
    broker.kill()?;
    let broker = trial.start()?;
    trial.all_is_there(&broker).context("after the disk was full and a kill")?;
    broker.kill()?;
    Ok(again)
}

/// Sends until one is refused; its remark.
fn refusal(trial: &mut Trial, broker: &Broker) -> Result<String> {
    for _ in 0..UNTIL_FULL {
        for sent in trial.send(broker, 1)? {
            if let Sent::Refused(_, remark) = sent {
                return Ok(remark);
            }
        }
    }
    bail!("{UNTIL_FULL} sends found room on a disk without any")
}

/// A slow disk delays acknowledgements and breaks none.
pub fn a_slow_disk_is_waited_for(binary: &Path, dir: &Path) -> Result<()> {
    let mut trial = Trial::new(binary, dir, "slow")?;
    let broker = trial.start()?;
    trial.fill(&broker)?;
    let (delay, since) = (Duration::from_millis(300), Instant::now());
    trial.faults.plan(Op::Sync, "commitlog/00000000000000000000", Fault::Delay(delay), 2);
    let said = trial.send(&broker, 1)?;
    ensure!(said.iter().all(is_acknowledged), "a slow disk is not a broken one: {said:?}");
    ensure!(
        trial.faults.met() > 0 && since.elapsed() >= delay,
        "an acknowledgement did not wait for the disk"
    );
    broker.kill()?;
    let broker = trial.start()?;
    trial.all_is_there(&broker)?;
    broker.kill()
}

/// Bits that flip in the log while the broker is down are found and named; what they hit is lost, and nothing else, and
/// nothing passes for what it is not.
pub fn flipped_bits_are_found(binary: &Path, dir: &Path, seed: u64) -> Result<Survey> {
    let mut trial = Trial::new(binary, dir, "flips")?;
    let broker = trial.start()?;
    trial.fill(&broker)?;
    broker.kill()?;
    let log = trial.log_file();
    flip(&log, &mut Rng::new(seed))?;
    let verified = broker::verify(&trial.launch);
    let named = verified.err().context("`store verify` finds no damage")?.to_string();
    ensure!(named.contains("damage"), "{named}");
    let broker = trial.start().context("on a damaged log")?;
    let all = trial.survey(&broker)?;
    broker.kill()?;
    ensure!(all.unsound + all.missing <= FLIPS, "{FLIPS} bits cost more than they hit: {all:?}");
    let said = trial.broker_said();
    ensure!(all.missing == 0 || said.contains("damage in the log"), "skipped in silence: {all:?}\n{said}");
    Ok(all)
}

/// Flips bits of bodies and headers, spread over what is filled.
fn flip(log: &Path, rng: &mut Rng) -> Result<()> {
    let bytes = std::fs::read(log)?;
    let filled = bytes.iter().rposition(|byte| *byte != 0).context("the log is empty")?;
    let file = std::fs::OpenOptions::new().write(true).open(log)?;
    for n in 0..FLIPS as usize {
        let at = (n * filled / FLIPS as usize) + rng.below(filled / FLIPS as usize);
        let byte = bytes.get(at).copied().unwrap_or(0);
        file.write_all_at(&[byte ^ (1 << rng.below(8))], at as u64)?;
    }
    Ok(())
}

/// Where the records of a log file stand.
fn records(log: &Path) -> Result<Vec<Range<u64>>> {
    let bytes = std::fs::read(log)?;
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(size) =
        bytes.get(at..).and_then(|rest| rest.first_chunk()).map(|size| u32::from_be_bytes(*size))
    {
        let end = at + size as usize;
        if size == 0 || end > bytes.len() {
            break;
        }
        found.push(at as u64..end as u64);
        at = end;
    }
    Ok(found)
}

/// Makes the page around a position of a file unreadable; how many of the records it hits.
fn spoil(trial: &Trial, file: &Path, at: u64, records: &[Range<u64>]) -> Result<u64> {
    let page = at / PAGE * PAGE..at / PAGE * PAGE + PAGE;
    trial.faults.spoil(std::fs::metadata(file)?.ino(), page.clone());
    Ok(records.iter().filter(|record| record.start < page.end && page.start < record.end).count() as u64)
}

/// Bad sectors in the log cost the messages in them and no other: found by the start that reads them again, and by the
/// pull that meets them.
pub fn bad_sectors_cost_what_they_hit(binary: &Path, dir: &Path) -> Result<()> {
    for (name, is_stopped) in [("killed", false), ("stopped", true)] {
        let mut trial = Trial::new(binary, dir, name)?;
        let broker = trial.start()?;
        trial.fill(&broker)?;
        if is_stopped {
            trial.stop(broker)?
        } else {
            broker.kill()?
        }
        let log = trial.log_file();
        let records = records(&log)?;
        let filled = records.last().context("the log is empty")?.end;
        let mut hit = 0;
        for share in 1..=3 {
            hit += spoil(&trial, &log, filled * share / 4, &records)?;
        }
        ensure!(hit >= 3 && hit < records.len() as u64 / 2, "{name}: {hit} of {} are hit", records.len());
        let (output, said) = trial.store_tool(&["verify"])?;
        ensure!(!output.status.success() && said.contains("unreadable"), "{name}: verify says {said}");
        let (output, said) = trial.store_tool(&["dump", "--body", "none"])?;
        ensure!(
            !output.status.success() && said.contains("the disk cannot read"),
            "{name}: dump says {said}"
        );
        let broker = trial.start().with_context(|| format!("{name}: {}", trial.broker_said()))?;
        let all = trial.survey(&broker)?;
        ensure!(all.unsound == 0 && all.missing > 0, "{name}: {all:?}");
        ensure!(all.missing <= hit, "{name}: {hit} records are hit, and that cost more: {all:?}");
        let said = trial.broker_said();
        let told = if is_stopped { "a message is damaged on the disk" } else { "damage in the log" };
        ensure!(said.contains(told), "{name}: passed over in silence: {said}");
        // Those that follow are taken, and stay.
        let sent = trial.send(&broker, DURING)?;
        ensure!(sent.iter().all(is_acknowledged), "{name}: refused behind a bad sector: {sent:?}");
        broker.kill()?;
        let broker = trial.start()?;
        let again = trial.survey(&broker)?;
        ensure!(again.missing == all.missing, "{name}: {all:?}, and later {again:?}");
        broker.kill()?;
    }
    Ok(())
}

/// Where the end of the log cannot be read after a crash, nothing is guessed: the start is refused with the way out,
/// and that is one.
pub fn an_unreadable_end_is_refused_and_mended(binary: &Path, dir: &Path) -> Result<()> {
    let mut trial = Trial::new(binary, dir, "end")?;
    let broker = trial.start()?;
    trial.fill(&broker)?;
    broker.kill()?;
    let log = trial.log_file();
    let records = records(&log)?;
    let last = records.last().context("the log is empty")?.clone();
    let hit = spoil(&trial, &log, last.end - 1, &records)?;
    ensure!(trial.start().is_err(), "it starts although nobody can tell where the log ends");
    let said = trial.broker_said();
    ensure!(said.contains("cannot read") && said.contains("store repair"), "refused, but what to do? {said}");
    let (_, said) = trial.store_tool(&["repair", "--apply"])?;
    ensure!(said.contains("copy"), "repair says {said}");
    let broker = trial.start().with_context(|| format!("after {said}: {}", trial.broker_said()))?;
    let all = trial.survey(&broker)?;
    ensure!(all.unsound == 0 && all.missing <= hit, "{hit} records are hit, and that cost more: {all:?}");
    let sent = trial.send(&broker, DURING)?;
    ensure!(sent.iter().all(is_acknowledged), "refused after a repair: {sent:?}");
    broker.kill()?;
    trial.start()?.kill()
}

/// A queue file that cannot be read costs nothing: it is made again from the log.
pub fn an_unreadable_queue_file_is_made_again(binary: &Path, dir: &Path) -> Result<()> {
    let mut trial = Trial::new(binary, dir, "queue")?;
    let broker = trial.start()?;
    trial.fill(&broker)?;
    trial.stop(broker)?;
    let file = trial.backing.join(format!("store/consumequeue/{TOPIC}/0/00000000000000000000"));
    trial.faults.spoil(std::fs::metadata(&file)?.ino(), 0..PAGE);
    let broker = trial.start()?;
    // Until it is made again a reader waits.
    soon(|| Ok(trial.oracle.check(broker.addr(), true, Ending::Kept).map(drop)))
        .with_context(|| trial.broker_said())?;
    ensure!(trial.broker_said().contains("made again from the log"), "{}", trial.broker_said());
    trial.all_is_there(&broker)?;
    broker.kill()?;
    let broker = trial.start()?;
    trial.all_is_there(&broker)?;
    broker.kill()
}
