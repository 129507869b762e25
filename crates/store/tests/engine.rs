//! The store through its facade, on a real directory.

use kerolox_protocol::{LogOffset, Millis, QueueId, QueueOffset, TopicName, record::Draft};
use kerolox_store::{
    Dispatch, Flush, Now, Options, PlanStatus, ReadLimits, Store,
    disk::{Paths, real::RealDisk},
};
use std::sync::Arc;

const LIMITS: ReadLimits = ReadLimits { count: 32, bytes: 262_144, cold_count: 8, cold_bytes: 65_536 };

fn draft<'a>(topic: &'a str, body: &'a [u8], properties: &'a [u8]) -> Draft<'a> {
    Draft {
        topic,
        queue_id: QueueId(0),
        flag: 0,
        sys_flag: 0,
        born_ms: Millis(1),
        born_host: ([127, 0, 0, 1], 4000).into(),
        store_host: ([127, 0, 0, 1], 10911).into(),
        reconsume_times: 0,
        prepared_offset: 0,
        body,
        properties,
    }
}

fn run_jobs(store: &mut Store, now: Now) {
    loop {
        let mut jobs = Vec::new();
        store.jobs(now, &mut jobs);
        if jobs.is_empty() {
            return;
        }
        for job in jobs {
            let done = job.run();
            store.done(now, done);
        }
    }
}

#[test]
fn what_was_appended_is_read_back_also_after_a_restart() {
    let dir = std::env::temp_dir().join(format!("kerolox-store-engine-{}", std::process::id()));
    let mut options = Options::new(Paths::under(&dir));
    options.segment_bytes = 64 << 10;
    options.flush = Flush::Sync;
    let topic = TopicName::new("T").unwrap();
    let now = Now { wall: Millis(1_000), mono: Millis(0) };
    {
        let (mut store, _) = Store::open(Arc::new(RealDisk::new()), options.clone(), now.wall).unwrap();
        let slot = store.slot(&topic, QueueId(0));
        for n in 0..500u64 {
            let body = vec![n as u8; 300];
            let draft = draft("T", &body, b"TAGS\x01TagA");
            let dispatch = Dispatch::of("T", 0, draft.properties);
            let appended = store.append(now.wall, &draft, slot, &dispatch).unwrap();
            assert_eq!(appended.queue_offset, QueueOffset(n));
        }
        assert_eq!(store.bounds(slot).max, QueueOffset(0));
        store.commit().unwrap();
        assert_eq!(store.bounds(slot).max, QueueOffset(0), "not flushed, not visible");
        run_jobs(&mut store, now);
        assert_eq!(store.bounds(slot).max, QueueOffset(500));
        assert_eq!(store.flushed(), store.end());
    }
    let (store, opened) = Store::open(Arc::new(RealDisk::new()), options, now.wall).unwrap();
    assert!(opened.end > LogOffset(2 * (64 << 10)));
    let slot = store.find_slot("T", QueueId(0)).unwrap();
    let mut next = QueueOffset(0);
    let mut seen = 0u64;
    loop {
        let plan = store.plan(slot, next, LIMITS, &mut |_| true);
        if plan.status == PlanStatus::Overflow {
            break;
        }
        assert_eq!(plan.status, PlanStatus::Found);
        let mut bytes = Vec::new();
        plan.slices.read_into(&mut bytes).unwrap();
        for record in kerolox_protocol::record::parse_all(&bytes) {
            let record = record.unwrap();
            assert_eq!((record.queue_offset, record.body[0]), (seen as i64, seen as u8));
            seen += 1;
        }
        next = plan.next;
    }
    assert_eq!(seen, 500);
    std::fs::remove_dir_all(&dir).unwrap();
}
