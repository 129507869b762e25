//! A bounded run of what fuzzing does, the same every time; and what fuzzing has found.

use super::*;

fn smoke(name: &str, cases: u32) {
    let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).expect("a target");
    let seeds = seeds(name);
    assert!(seeds.len() > 2, "{name}");
    kerolox_smoke::on_mutations(name, target, &seeds, cases);
}

#[test]
fn recovery_keeps_its_promise_on_mutated_stores() {
    smoke("store_recovery", 600);
}

#[test]
fn tools_end_on_mutated_stores() {
    smoke("store_tools", 150);
}

#[test]
fn any_file_may_hold_anything() {
    for (name, _) in TARGETS.iter().skip(2) {
        smoke(name, 100);
    }
}

#[test]
fn a_size_in_a_queue_entry_takes_no_memory() {
    let (disk, image) = image::clean();
    let mut file = image::file("orders/0/00000000000000000000");
    // Of the first entry: position 8, size 4, code 8.
    file[8..12].copy_from_slice(&0x7fff_ffffu32.to_be_bytes());
    image::set(&disk, "consumequeue/orders/0/00000000000000000000", &file);
    let (store, _) = recovery::open(&disk).expect("queues are not looked at");
    let slot = store.find_slot("orders", kerolox_protocol::QueueId(0)).expect("it has messages");
    let limits = crate::ReadLimits { count: 32, bytes: 262_144, cold_count: 8, cold_bytes: 65_536 };
    let plan = store.plan(slot, kerolox_protocol::QueueOffset(0), limits, &mut |_| true);
    assert!(plan.slices.total_len() < 1 << 20, "{plan:?}");
    let others = image.sent.iter().filter(|sent| (sent.topic, sent.queue) == ("orders", 0)).count() - 1;
    assert_eq!(plan.count, others, "the others are read");
}

#[test]
fn what_was_found_damaged_is_the_same_at_the_next_start() {
    let (disk, image) = image::clean();
    let sent = image.sent.get(3).expect("more were sent");
    let mut file = image::file("commitlog/00000000000000000000");
    assert!(sent.at.end <= image::SEGMENT);
    // The record's queue offset, which no checksum covers.
    file[sent.at.start as usize + 21] = 0x77;
    image::set(&disk, "commitlog/00000000000000000000", &file);
    image::set(&disk, "kerolox.queues", b"");
    // Read from the start of the log again, as after a crash of the original.
    image::set(&disk, "abort", b"");
    image::set(&disk, "checkpoint", b"");
    let (store, first) = recovery::open(&disk).expect("a damaged record keeps nobody out");
    assert_eq!(first.damaged, std::slice::from_ref(&sent.at));
    drop(store);
    let (_, again) = recovery::open(&disk.kill()).expect("as before");
    assert_eq!(again.damaged, first.damaged);
}

#[test]
fn a_file_of_the_index_from_before_1970_hides_no_keys() {
    let mut bytes = vec![0, 0x80];
    bytes.resize(34, 0);
    // One slot in use, two entries.
    bytes.extend([0, 0, 0, 1, 0, 0, 0, 3]);
    index_file(&bytes);
}

#[test]
fn a_record_that_one_start_believed_is_believed_by_the_next() {
    // Its properties end in zeros: two sectors were exchanged, after a clean stop.
    recovery(&[0, 5, 0x12, 3, 0x8d, 5, 9, 6, 8, 5, 5, 3, 2, 9, 0x44, 9, 0x30, 3]);
}
