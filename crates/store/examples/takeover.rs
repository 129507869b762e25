//! Opens a store directory, says what is there, appends some messages to a topic, and stops cleanly or not:
//! for trying a store out between two brokers.
//!
//! `cargo run --example takeover -p kerolox-store -- STORE TOPIC COUNT [crash]`

use kerolox_protocol::{Millis, QueueOffset, TopicName, record::Draft};
use kerolox_store::{
    Dispatch, Now, Options, PlanStatus, ReadLimits, Store,
    disk::{Paths, real::RealDisk},
};
use std::sync::Arc;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [dir, topic, count, crash @ ..] = &args[..] else {
        eprintln!("usage: takeover STORE TOPIC COUNT [crash]");
        return;
    };
    let options = Options::new(Paths::under(dir));
    let (mut store, opened) = match Store::open(Arc::new(RealDisk::new()), options, Millis(0)) {
        Ok(opened) => opened,
        Err(why) => {
            eprintln!("{why}");
            return;
        }
    };
    println!("clean {} foreign {} from {} to {}", opened.clean, opened.foreign, opened.from, opened.end);
    opened.lines.iter().for_each(|line| println!("  {line}"));
    for topic in store.topics() {
        let queues = store.queues(&topic);
        let read: usize = queues.iter().map(|queue| read(&store, queue.slot, queue.bounds.min)).sum();
        let ends: Vec<_> =
            queues.iter().map(|queue| (queue.id.0, queue.bounds.min.0, queue.bounds.max.0)).collect();
        println!("{topic}: {read} messages, {ends:?}");
    }
    let found = store.query(topic, "k5", 32, Millis(0), Millis(i64::MAX));
    println!("by key k5: {:?}", found.and_then(Result::ok).map(|found| found.offsets));
    append(&mut store, topic, count.parse().unwrap_or(0));
    if !crash.is_empty() {
        std::process::abort();
    }
    store.stop();
    while !store.is_clean() {
        let mut jobs = Vec::new();
        let now = Now { wall: Millis(0), mono: Millis(0) };
        store.jobs(now, &mut jobs);
        jobs.into_iter().for_each(|job| store.done(now, job.run()));
    }
}

fn read(store: &Store, slot: kerolox_store::QueueSlot, from: QueueOffset) -> usize {
    let limits = ReadLimits { count: 32, bytes: 262_144, cold_count: 8, cold_bytes: 65_536 };
    let (mut next, mut count) = (from, 0);
    loop {
        let plan = store.plan(slot, next, limits, &mut |_| true);
        if plan.status == PlanStatus::Overflow || plan.status == PlanStatus::Empty {
            return count;
        }
        let mut bytes = Vec::new();
        if let Err(why) = plan.slices.read_into(&mut bytes) {
            println!("  at {next}: {why}");
        }
        count += kerolox_protocol::record::parse_all(&bytes).filter(Result::is_ok).count();
        next = plan.next;
    }
}

fn append(store: &mut Store, topic: &str, count: u32) {
    let Ok(name) = TopicName::new(topic) else { return };
    let host = ([127, 0, 0, 1], 20_911).into();
    let queues = store.queues(topic);
    for (n, queue) in (0..count).zip(queues.iter().cycle()) {
        let slot = store.slot(&name, queue.id);
        let properties = format!("UNIQ_KEY\u{1}U{n}\u{2}TAGS\u{1}TagA\u{2}KEYS\u{1}k5");
        let draft = Draft::plain(host, topic, queue.id, &[b'x'; 500], properties.as_bytes());
        let dispatch = Dispatch::of(topic, 0, properties.as_bytes());
        if let Err(why) = store.append(Millis(0), &draft, slot, &dispatch) {
            println!("{why}");
        }
    }
    if let Err(why) = store.commit() {
        println!("{why}");
    }
}
