//! Opening stores that something happened to.

use super::image::{self, Ending, Harm, Image, NOW, Sent};
use crate::{
    Dispatch, Filled, OpenError, Opened, PlanStatus, ReadLimits, Store,
    disk::memory::MemDisk,
    tools::{dump, repair, stat, verify::verify},
};
use kerolox_protocol::{
    LogOffset, Millis, QueueId, QueueOffset, TopicName,
    record::{Entry, parse, parse_all},
};
use std::sync::Arc;

const LIMITS: ReadLimits = ReadLimits { count: 32, bytes: 262_144, cold_count: 8, cold_bytes: 65_536 };
/// Plans of one queue: more than any store here has messages.
const PLANS_MAX: usize = 4_096;

/// Opens a mutated store and holds it to the promise of recovery.
pub fn recovery(bytes: &[u8]) {
    let (disk, image, harm) = image::mutated(bytes);
    let Some((mut store, opened)) = open(&disk) else { return };
    check_records(&store, &opened, image, &harm);
    check_queues(&mut store, image, &harm);
    let (first, end) = (store.first(), store.end());
    let seen = everything(&mut store);
    goes_on(&mut store);
    drop(store);
    // What was appended was not written, so a second owner finds what the first one found.
    let disk = disk.kill();
    let again = Store::open(disk.handle(), image::options(), NOW.wall);
    let (mut again, report) = again.unwrap_or_else(|why| panic!("it opened once: {why}"));
    assert_eq!((again.first(), again.end()), (first, end), "{opened:?} {report:?}");
    assert_eq!(again.damaged(), opened.damaged, "{opened:?} {report:?}");
    assert_eq!(everything(&mut again), seen, "{opened:?} {report:?}");
}

/// Looks at a mutated store from outside, mends it, and opens it.
pub fn tools(bytes: &[u8]) {
    let (disk, ..) = image::mutated(bytes);
    let (handle, options) = (disk.handle(), image::options());
    let _ = stat::stat(&*handle, &options, &mut |_, _| {});
    let sought = dump::Sought::Time { topic: "orders".into(), queue: 0, time: Millis(1_000_010) };
    let _ = dump::locate(&*handle, &options, &sought, 10, &mut |_, _| {});
    if let Ok(repaired) = repair::apply(&handle, &options, "now", NOW.wall, &mut |_, _| {}) {
        let left = repair::plan(&repaired.after).steps;
        assert!(left.is_empty(), "done, and not whole: {left:?} after {:?}", repaired.steps);
        let again = verify(&*handle, &options, &mut |_, _| {}).expect("it was read");
        assert_eq!(again.findings, repaired.after.findings);
    }
    drop(open(&disk));
}

/// Opens, or gets an error that names the place and a way out.
pub(super) fn open(disk: &MemDisk) -> Option<(Store, Opened)> {
    match Store::open(disk.handle(), image::options(), NOW.wall) {
        Ok(opened) => Some(opened),
        Err(why @ OpenError { .. }) => {
            let text = why.to_string();
            assert!(text.contains(&why.path.display().to_string()) && text.len() > 40, "{text}");
            None
        }
    }
}

/// Records that nobody touched are read from the log, or stand in a part that was reported.
fn check_records(store: &Store, opened: &Opened, image: &Image, harm: &Harm) {
    if harm.forged {
        return;
    }
    for sent in image.sent.iter().filter(|sent| !harm.touches(&sent.at)) {
        let known = opened.damaged.iter().any(|range| range.contains(&sent.at.start));
        let found = store.record(LogOffset(sent.at.start)).expect("a faultless disk");
        let found = found.as_deref().map(parse);
        match found {
            Some(Ok(Entry::Message(record))) => {
                let place = (record.topic, record.queue_id as u32, record.queue_offset as u64);
                assert_eq!(place, (sent.topic, sent.queue, sent.offset));
                assert_eq!(record.body, sent.body);
            }
            _ => assert!(known || !opened.lines.is_empty(), "lost in silence: {sent:?} {opened:?} {harm:?}"),
        }
        // Damage of the log alone leaves a way to everything else, unless the log begins or ends elsewhere.
        let within = sent.at.start >= store.first().0 && sent.at.end <= store.end().0;
        assert!(within && !known || found_or_excused(image, harm, opened), "{sent:?} {opened:?} {harm:?}");
    }
}

/// A log that was touched in one place only keeps everything else.
fn found_or_excused(image: &Image, harm: &Harm, opened: &Opened) -> bool {
    let several = harm.log.len() > 1 || harm.beside;
    (several || image.ending != Ending::Clean) && !opened.lines.is_empty()
}

/// Through queues and index nothing is read that was not sent; and all of it, if only the log was touched.
fn check_queues(store: &mut Store, image: &Image, harm: &Harm) {
    let of_topic = |topic: &Arc<str>| {
        store.queues(topic).into_iter().map(|queue| (topic.to_string(), queue.id.0)).collect::<Vec<_>>()
    };
    let all: Vec<_> = store.topics().iter().flat_map(of_topic).collect();
    for (topic, queue) in all {
        let found = read_all(store, &topic, queue);
        if harm.forged {
            continue;
        }
        for (offset, body) in found {
            let is_sent = |sent: &&Sent| (sent.topic, sent.queue, sent.offset) == (&topic, queue, offset);
            let sent = image.sent.iter().find(is_sent);
            let same = sent.is_some_and(|sent| sent.body == body || harm.touches(&sent.at));
            let changed = (harm.beside || sent.is_none()) && !harm.log.is_empty();
            assert!(same || changed, "{topic} {queue} {offset}: {harm:?}");
        }
    }
    if harm.beside || harm.forged || harm.log.len() > 1 {
        return;
    }
    // What a power cut may have taken is cut off from a hole on, since nobody can tell the two apart.
    let end = store.end().0;
    let is_there = |sent: &&Sent| !harm.touches(&sent.at) && sent.at.end <= end;
    for sent in image.sent.iter().filter(is_there) {
        let found = read_all(store, sent.topic, sent.queue);
        assert!(found.contains(&(sent.offset, sent.body.clone())), "{sent:?} {harm:?}");
        let found = store.query(sent.topic, &sent.key, 9, Millis(0), Millis(i64::MAX));
        let found = found.expect("an index").expect("a faultless disk");
        assert_eq!(found.offsets, [LogOffset(sent.at.start)], "{sent:?} {harm:?}");
    }
}

/// What a queue gives, the way a consumer gets it who goes where the answers send it.
fn read_all(store: &mut Store, topic: &str, queue: u32) -> Vec<(u64, Vec<u8>)> {
    let Some(slot) = store.find_slot(topic, QueueId(queue)) else { return Vec::new() };
    let mut next = store.bounds(slot).min;
    let (mut found, mut tries) = (Vec::new(), 0);
    for _ in 0..PLANS_MAX {
        let plan = store.plan(slot, next, LIMITS, &mut |_| true);
        if matches!(plan.status, PlanStatus::Overflow | PlanStatus::Empty) {
            return found;
        }
        let mut bytes = Vec::new();
        let to = match plan.slices.fill(&mut bytes).expect("a faultless disk") {
            Filled::Until(rotten) if rotten.is_lost => rotten.offset + 1,
            Filled::Until(rotten) => rotten.offset,
            Filled::All | Filled::NotCached => plan.next,
        };
        for record in parse_all(&bytes) {
            let record = record.expect("what is given out was looked at");
            found.push((record.queue_offset as u64, record.body.to_vec()));
        }
        tries = if to > next { 0 } else { tries + 1 };
        assert!(tries < 4, "a reader gets on: {:?} at {next}", plan.status);
        if tries > 0 {
            store.mend_now();
        }
        next = to;
    }
    panic!("a reader comes to an end: {next}");
}

/// Bounds of all queues, and what can be read of them.
pub(super) fn everything(store: &mut Store) -> Vec<(String, u32, QueueOffset, QueueOffset, usize)> {
    let mut all = Vec::new();
    for topic in store.topics() {
        for queue in store.queues(&topic) {
            let n = read_all(store, &topic, queue.id.0).len();
            all.push((topic.to_string(), queue.id.0, queue.bounds.min, queue.bounds.max, n));
        }
    }
    all.sort();
    all
}

/// What is sent to an opened store gets a place, unless the store says why not.
fn goes_on(store: &mut Store) {
    let name = TopicName::new("after").expect("a name");
    let slot = store.slot(&name, QueueId(0));
    let dispatch = Dispatch::of("after", 0, b"");
    let appended = store.append(NOW.wall, &image::draft("after", 0, b"later", ""), slot, &dispatch);
    appended.unwrap_or_else(|why| panic!("an opened store refuses: {why:?}"));
}
