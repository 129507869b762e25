//! Every crash state of a short life: after each change to the disk, with every subset of what was not synced.

mod harness;

use harness::{World, options, read_all};
use kerolox_protocol::{LogOffset, Millis};
use kerolox_store::{Flush, Store, disk::memory::MemDisk};

/// How much was promised after so many changes to the disk.
struct Promise {
    changes: usize,
    flushed: LogOffset,
}

fn life(flush: Flush) -> (World, Vec<Promise>) {
    let mut options = options(flush);
    options.segment_bytes = 4 << 10;
    options.message_bytes_max = 2 << 10;
    options.index = false;
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
/// was, and nothing else. Then appends, stops and opens again.
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
    drop(store);
    // A second crash right after recovery finds the same.
    let (store, again) = open(&disk.kill()).map_err(|why| why.to_string())?;
    if store.end() != end || !again.damaged.is_empty() {
        return Err(format!("{end} at first, {} later: {again:?}", store.end()));
    }
    Ok(())
}

fn every_state(flush: Flush, per_point: u64) -> u64 {
    let (world, promises) = life(flush);
    let trace = world.disk.take_trace();
    let result = trace.each_crash(per_point, 7, |state| {
        let kept = promises.iter().rev().find(|promise| promise.changes <= state.point);
        let flushed = kept.map_or(LogOffset(0), |promise| promise.flushed);
        check(&state.disk, &world, flushed)
            .map_err(|why| format!("after {} changes, outcome {}: {why}", state.point, state.outcome))
    });
    result.unwrap()
}

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
    for point in 0..=trace.len() {
        let disk = trace.killed(point);
        check(&disk, &world, LogOffset(0)).unwrap_or_else(|why| panic!("after {point} changes: {why}"));
    }
}
