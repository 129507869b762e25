//! Prints what the store's hot paths cost on this machine, in a directory given as the argument.
//!
//! `cargo run --profile bench-quick --example speed -p kerolox-store -- /tmp/speed`

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "measures real time on a real disk")]

use kerolox_protocol::{Millis, QueueId, QueueOffset, TopicName, record::Draft};
use kerolox_store::{
    Dispatch, Flush, Now, Options, ReadLimits, Store,
    disk::{Paths, real::RealDisk},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

fn main() {
    let mut args = std::env::args().skip(1);
    let Some(dir) = args.next() else {
        eprintln!("usage: speed DIRECTORY [QUEUES [TOPICS]] (it must not exist; it is left behind)");
        return;
    };
    let mut number = |default: u32| args.next().and_then(|word| word.parse().ok()).unwrap_or(default);
    let (queues, topics) = (number(0), number(1000));
    if queues > 0 {
        many_queues(Options::new(Paths::under(format!("{dir}/many"))), queues, topics);
        return;
    }
    for flush in [Flush::Async, Flush::Sync] {
        let mut options = Options::new(Paths::under(format!("{dir}/{flush:?}")));
        options.flush = flush;
        append_and_read(options);
    }
    many_queues(Options::new(Paths::under(format!("{dir}/many"))), 50_000, 1000);
}

fn open(options: &Options) -> Store {
    let start = Instant::now();
    let (store, opened) = Store::open(Arc::new(RealDisk::new()), options.clone(), Millis(0)).expect("opens");
    println!("open: {:?}, {} records read again, clean {}", start.elapsed(), opened.records, opened.clean);
    store
}

fn run(store: &mut Store, mono: i64) {
    let now = Now { wall: Millis(mono), mono: Millis(mono) };
    let mut jobs = Vec::new();
    store.jobs(now, &mut jobs);
    for job in jobs {
        let done = job.run();
        store.done(now, done);
    }
}

fn draft<'a>(topic: &'a str, queue: u32, body: &'a [u8], properties: &'a [u8]) -> Draft<'a> {
    Draft::plain(([127, 0, 0, 1], 10911).into(), topic, QueueId(queue), body, properties)
}

fn append_and_read(options: Options) {
    println!("--- {:?}", options.flush);
    let mut store = open(&options);
    let topic = TopicName::new("Speed").expect("a name");
    let slots: Vec<_> = (0..4).map(|queue| store.slot(&topic, QueueId(queue))).collect();
    let body = [7; 1024];
    let properties = b"UNIQ_KEY\x017F0000010A5818B4AAC2543456780001\x02WAIT\x01true\x02TAGS\x01TagA";
    let (rounds, per_round) = (8_000, 64);
    let (mut appending, mut committing, mut working) = (0, 0, 0);
    for round in 0..rounds {
        let start = Instant::now();
        for n in 0..per_round {
            let draft = draft("Speed", n % 4, &body, properties);
            let dispatch = Dispatch::of("Speed", 0, properties);
            let slot = slots[(n % 4) as usize];
            store.append(Millis(i64::from(round)), &draft, slot, &dispatch).expect("appends");
        }
        let appended = start.elapsed();
        store.commit().expect("commits");
        let committed = start.elapsed();
        run(&mut store, i64::from(round));
        let mut arrivals = Vec::new();
        store.take_arrivals(&mut arrivals);
        working += (start.elapsed() - committed).as_nanos();
        committing += (committed - appended).as_nanos();
        appending += appended.as_nanos();
    }
    let n = u128::from(rounds as u32 * per_round);
    println!(
        "per 1 KiB message: append {} ns, commit of 64 {} ns, jobs {} ns",
        appending / n,
        committing / n,
        working / n
    );
    let limits = ReadLimits { count: 32, bytes: 262_144, cold_count: 32, cold_bytes: 262_144 };
    let (mut next, mut plans, mut out) = (QueueOffset(0), 0u128, Vec::new());
    let start = Instant::now();
    let (mut planning, mut reading) = (0, 0);
    while plans < 4_000 {
        let begin = Instant::now();
        let plan = store.plan(slots[0], next, limits, &mut |_| true);
        planning += begin.elapsed().as_nanos();
        out.clear();
        plan.slices.read_into(&mut out).expect("reads");
        next = plan.next;
        reading += begin.elapsed().as_nanos();
        plans += 1;
    }
    println!(
        "plan of 32: {} ns, with read {} ns ({:?} in all)",
        planning / plans,
        reading / plans,
        start.elapsed()
    );
    drop(store);
    let mut store = open(&options);
    stop(&mut store);
    drop(store);
    open(&options);
}

fn stop(store: &mut Store) {
    store.stop();
    let start = Instant::now();
    while !store.is_clean() {
        run(store, 0);
    }
    println!("stop: {:?}", start.elapsed());
}

/// Makes queues with one message each, and tells what they cost in memory, in the background, at the next start
/// after a kill, and at a stop.
fn many_queues(options: Options, queues: u32, topics: u32) {
    println!("--- {queues} queues in {topics} topics");
    let mut store = open(&options);
    let before = anonymous_kib();
    let start = Instant::now();
    for n in 0..queues {
        let topic = TopicName::new(&format!("T{}", n % topics)).expect("a name");
        let slot = store.slot(&topic, QueueId(n / topics));
        let draft = draft(&topic, n / topics, b"x", b"");
        store.append(Millis(1), &draft, slot, &Dispatch::of(&topic, 0, b"")).expect("appends");
        if n % 64 == 63 {
            store.commit().expect("commits");
        }
    }
    store.commit().expect("commits");
    println!("first messages: {:?}; {} KiB of memory", start.elapsed(), anonymous_kib() - before);
    // As after a kill: nothing of the queues is in files.
    drop(store);
    let mut store = open(&options);
    let mut jobs = Longest::default();
    for second in 1..=5 {
        jobs.run(&mut store, second * 1_000);
    }
    println!("write-behind: {jobs}; {} KiB of memory", anonymous_kib() - before);
    drop(store);
    let mut store = open(&options);
    stop(&mut store);
    drop(store);
    let mut store = open(&options);
    println!("all idle: {} KiB of memory", anonymous_kib() - before);
    stop(&mut store);
}

/// What jobs took.
#[derive(Default)]
struct Longest {
    jobs: u32,
    all: Duration,
    longest: Duration,
}

impl Longest {
    fn run(&mut self, store: &mut Store, mono: i64) {
        let now = Now { wall: Millis(mono), mono: Millis(mono) };
        let mut jobs = Vec::new();
        store.jobs(now, &mut jobs);
        while let Some(job) = jobs.pop() {
            let start = Instant::now();
            let done = job.run();
            let took = start.elapsed();
            self.jobs += 1;
            self.all += took;
            self.longest = self.longest.max(took);
            store.done(now, done);
            store.jobs(now, &mut jobs);
        }
    }
}

impl std::fmt::Display for Longest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} jobs, {:?} in all, the longest {:?}", self.jobs, self.all, self.longest)
    }
}

fn anonymous_kib() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
