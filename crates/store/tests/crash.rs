//! Every crash state of a short life: after each change to the disk, with every subset of what was not synced.

mod harness;

use harness::{World, options, read_all};
use kerolox_protocol::{LogOffset, Millis, QueueId, TopicName};
use kerolox_store::{
    Dispatch, Flush, Store,
    disk::{
        Disk,
        memory::{MemDisk, Trace},
    },
    tools::{Severity, verify::verify},
};
use std::path::Path;

/// How much was promised after so many changes to the disk.
struct Promise {
    changes: usize,
    flushed: LogOffset,
}

fn life(flush: Flush) -> (World, Vec<Promise>) {
    let mut options = options(flush);
    options.segment_bytes = 4 << 10;
    options.message_bytes_max = 2 << 10;
    // Three keys a record, so that files of the index end in the middle of one.
    options.index_slots = 8;
    options.index_max = 14;
    options.behind_interval = Millis(1);
    options.checkpoint_interval = Millis(3);
    let mut world = World::on(MemDisk::new(), options);
    world.disk.record();
    let mut promises = Vec::new();
    for n in 0..9 {
        world.append(["A", "B"][n % 2], 0, 300 + n * 150).unwrap();
        if n == 4 {
            world.append_batch("A", 1, &[100, 900, 500]).unwrap();
        }
        world.store().commit().unwrap();
        world.pass(1);
        for _ in 0..6 {
            world.run_one(n);
            let flushed = world.store().flushed();
            promises.push(Promise { changes: world.disk.recorded(), flushed });
        }
    }
    (world, promises)
}

/// Opens a state and compares: a beginning of what was sent, at least what was promised, each message where it
/// was, and nothing else. Then crashes again, appends and loses power.
fn check(disk: &MemDisk, world: &World, flushed: LogOffset) -> Result<(), String> {
    let options = world.options.clone();
    let open = |disk: &MemDisk| Store::open(disk.handle(), options.clone(), world.now.wall);
    let (store, opened) = open(disk).map_err(|why| why.to_string())?;
    let end = store.end();
    if end < flushed {
        return Err(format!("{flushed} was promised, {end} is there: {opened:?}"));
    }
    if !opened.damaged.is_empty() {
        return Err(format!("a crash is no damage: {opened:?}"));
    }
    for (topic, queue) in [("A", 0), ("A", 1), ("B", 0)] {
        let of_queue = world.sent.iter().filter(|sent| (&*sent.topic, sent.queue) == (topic, queue));
        let expected: Vec<_> =
            of_queue.filter(|sent| sent.end <= end).map(|sent| (sent.offset, sent.body.clone())).collect();
        let found = read_all(&store, topic, queue, 0);
        if found != expected {
            return Err(format!(
                "{topic} {queue}: {} wanted, {} found: {opened:?}",
                expected.len(),
                found.len()
            ));
        }
    }
    world.check_keys(&store, &opened, end)?;
    drop(store);
    // A second crash right after recovery finds the same.
    let disk = disk.kill();
    let (store, again) = open(&disk).map_err(|why| why.to_string())?;
    if store.end() != end || !again.damaged.is_empty() {
        return Err(format!("{end} at first, {} later: {again:?}", store.end()));
    }
    goes_on(&disk, store, world)
}

/// What is sent to a recovered store stands behind the rest, and outlives a power cut once it is flushed.
fn goes_on(disk: &MemDisk, mut store: Store, world: &World) -> Result<(), String> {
    let slot = store.slot(&TopicName::new("A").unwrap(), QueueId(0));
    let offset = store.bounds(slot).max;
    let draft = harness::draft("A", 0, b"after recovery", b"");
    let sent = store.append(world.now.wall, &draft, slot, &Dispatch::of("A", 0, b""));
    let sent = sent.map_err(|why| format!("a recovered store refuses: {why}"))?;
    store.commit().map_err(|why| why.to_string())?;
    let mut now = world.now;
    while store.flushed() < sent.end {
        now.mono = now.mono + Millis(100);
        let mut jobs = Vec::new();
        store.jobs(now, &mut jobs);
        jobs.into_iter().for_each(|job| store.done(now, job.run()));
    }
    drop(store);
    let disk = disk.power_cut(sent.end.0);
    let (store, _) =
        Store::open(disk.handle(), world.options.clone(), now.wall).map_err(|why| why.to_string())?;
    match read_all(&store, "A", 0, offset.0).as_slice() {
        [(at, body)] if *at == sent.queue_offset.0 && body == b"after recovery" => Ok(()),
        found => Err(format!("what was sent after recovery is not there: {found:?}")),
    }
}

/// Crashes again at every change that recovery makes, and compares as for the first crash.
fn crash_in_recovery(disk: &MemDisk, world: &World, flushed: LogOffset) -> Result<u64, String> {
    let disk = disk.kill();
    disk.record();
    let opened = Store::open(disk.handle(), world.options.clone(), world.now.wall);
    drop(opened.map_err(|why| why.to_string())?);
    let trace = disk.take_trace();
    // What recovery leaves is whole for one who knows nothing of recovery.
    let found = verify(&*disk.handle(), &world.options, &mut |_, _| {}).map_err(|why| why.to_string())?;
    if found.is_damaged() {
        return Err(format!("recovered, and not whole: {:?}", found.findings));
    }
    index_is_rebuilt(&disk.kill(), world)?;
    no_log_file_is_short(&trace, world)?;
    trace.each_crash(2, 3, |state| {
        check(&state.disk, world, flushed).map_err(|why| {
            format!("in recovery after {} changes, outcome {}: {why}", state.point, state.outcome)
        })
    })
}

/// A 4.9 broker refuses a store with a short log file: no process leaves one, wherever it ends.
fn no_log_file_is_short(trace: &Trace, world: &World) -> Result<(), String> {
    let short = |disk: &MemDisk| {
        let files = disk.list(Path::new("/store/commitlog")).unwrap_or_default();
        files.into_iter().find(|file| file.len < world.options.segment_bytes)
    };
    match (0..=trace.len()).find_map(|point| short(&trace.killed(point)).map(|file| (point, file))) {
        Some((point, file)) => Err(format!("after {point} changes a log file is short: {file:?}")),
        None => Ok(()),
    }
}

/// After a clean stop the index holds exactly what one made anew from the log would (I15).
fn index_is_rebuilt(disk: &MemDisk, world: &World) -> Result<(), String> {
    let opened = Store::open(disk.handle(), world.options.clone(), world.now.wall);
    let (mut store, _) = opened.map_err(|why| why.to_string())?;
    let mut now = world.now;
    store.stop();
    while !store.is_clean() {
        now.mono = now.mono + Millis(100);
        let mut jobs = Vec::new();
        store.jobs(now, &mut jobs);
        jobs.into_iter().for_each(|job| store.done(now, job.run()));
    }
    drop(store);
    let found = verify(&*disk.handle(), &world.options, &mut |_, _| {}).map_err(|why| why.to_string())?;
    let whole = found.findings.iter().all(|finding| finding.severity == Severity::Note);
    if whole { Ok(()) } else { Err(format!("stopped, and not whole: {:?}", found.findings)) }
}

fn every_state(flush: Flush, per_point: u64) -> u64 {
    let (world, promises) = life(flush);
    let trace = world.disk.take_trace();
    let (mut seen, mut nested) = (0, 0);
    let result = trace.each_crash(per_point, 7, |state| {
        let kept = promises.iter().rev().find(|promise| promise.changes <= state.point);
        let flushed = kept.map_or(LogOffset(0), |promise| promise.flushed);
        let name = |why| format!("after {} changes, outcome {}: {why}", state.point, state.outcome);
        seen += 1;
        if seen % NESTED_EVERY == 0 {
            nested += crash_in_recovery(&state.disk, &world, flushed).map_err(name)?;
        }
        check(&state.disk, &world, flushed).map_err(name)
    });
    let states = result.unwrap();
    // Read by those who keep the ledger.
    println!("crash states: {states}");
    println!("crash states within recovery: {nested}");
    assert!(nested > 0);
    states
}

/// Of so many states one is the start of a second crash.
const NESTED_EVERY: u64 = 50;

/// States per point; `CRASH_STATES` asks for more.
#[allow(clippy::disallowed_methods, reason = "the size of a test run is no configuration")]
fn per_point() -> u64 {
    std::env::var("CRASH_STATES").ok().and_then(|n| n.parse().ok()).unwrap_or(12)
}

#[test]
fn sync_flush_keeps_its_promise_in_every_crash_state() {
    let states = every_state(Flush::Sync, per_point());
    assert!(states > 1_000, "{states}");
}

#[test]
fn async_flush_keeps_its_promise_in_every_crash_state() {
    let states = every_state(Flush::Async, per_point());
    assert!(states > 500, "{states}");
}

#[test]
fn a_kill_after_any_change_loses_nothing_that_was_written() {
    let (world, _) = life(Flush::Async);
    let trace = world.disk.take_trace();
    no_log_file_is_short(&trace, &world).unwrap();
    for point in 0..=trace.len() {
        let disk = trace.killed(point);
        check(&disk, &world, LogOffset(0)).unwrap_or_else(|why| panic!("after {point} changes: {why}"));
    }
}
