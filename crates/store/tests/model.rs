//! The store against its model, over random histories with every kind of end.

mod harness;

use harness::World;
use kerolox_store::Flush;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Op {
    Append { topic: u8, queue: u32, len: usize },
    Batch { topic: u8, lens: Vec<usize> },
    Commit,
    RunOne(usize),
    Settle,
    Pass(i64),
    Check,
    Reopen,
    Kill,
    PowerCut(u64),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (0u8..3, 0u32..3, 0usize..3000).prop_map(|(topic, queue, len)| Op::Append { topic, queue, len }),
        2 => (0u8..3, prop::collection::vec(0usize..1500, 1..8)).prop_map(|(topic, lens)| Op::Batch { topic, lens }),
        6 => Just(Op::Commit),
        6 => any::<usize>().prop_map(Op::RunOne),
        2 => Just(Op::Settle),
        4 => (1i64..300).prop_map(Op::Pass),
        2 => Just(Op::Check),
        1 => Just(Op::Reopen),
        1 => Just(Op::Kill),
        1 => any::<u64>().prop_map(Op::PowerCut),
    ]
}

fn run(flush: Flush, ops: Vec<Op>) {
    let mut world = World::new(flush);
    for op in ops {
        match op {
            Op::Append { topic, queue, len } => {
                world.append(&format!("T{topic}"), queue, len).unwrap();
            }
            Op::Batch { topic, lens } => world.append_batch(&format!("T{topic}"), 0, &lens).unwrap(),
            Op::Commit => {
                world.store().commit().unwrap();
            }
            Op::RunOne(which) => world.run_one(which),
            Op::Settle => world.settle(),
            Op::Pass(ms) => world.pass(ms),
            Op::Check => world.check(),
            Op::Reopen => {
                let jobs = std::mem::take(&mut world.jobs);
                let now = world.now;
                for job in jobs {
                    let done = job.run();
                    world.store().done(now, done);
                }
                world.reopen();
                world.check();
            }
            Op::Kill => world.kill(),
            Op::PowerCut(seed) => world.power_cut(seed),
        }
    }
    world.kill();
    world.reopen();
    world.check();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn async_flush_keeps_what_was_committed(ops in prop::collection::vec(op(), 1..120)) {
        run(Flush::Async, ops);
    }

    #[test]
    fn sync_flush_keeps_and_shows_what_was_flushed(ops in prop::collection::vec(op(), 1..120)) {
        run(Flush::Sync, ops);
    }
}

/// Few in the gate; `PROPTEST_CASES` asks for more.
#[allow(clippy::disallowed_methods, reason = "the size of a test run is no configuration")]
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(64)
}
