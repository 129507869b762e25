//! What reading and answering a hot header costs: `cargo bench -p kerolox-protocol --bench scan`.
//!
//! Plain loops on one core; the best of many short rounds, so that a busy machine shows the code and not its load.
#![allow(clippy::disallowed_methods)] // A benchmark reads the clock.

use kerolox_protocol::{
    Millis,
    frame::{Codec, FRAME_BYTES_MAX, Split, split},
    header::{Fields, Header},
    properties,
    rpc::{
        consume::PullReply,
        produce::{SendRequest, SendRequestV2},
    },
    scan::{self, Hot, Scratch, answer},
};
use std::{hint::black_box, time::Instant};

fn measure(name: &str, mut work: impl FnMut()) {
    // Short rounds and many of them: the best one ran without anyone in between.
    const ROUNDS: u32 = 1_000;
    let mut best = f64::MAX;
    for _ in 0..1_000 {
        let start = Instant::now();
        for _ in 0..ROUNDS {
            work();
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS));
    }
    println!("{name:<40} {best:>8.1} ns");
}

fn header_bytes(codec: Codec, header: &Header) -> Vec<u8> {
    let mut out = Vec::new();
    header.write_frame(codec, b"", &mut out);
    match split(&out, FRAME_BYTES_MAX) {
        Ok(Split::Whole(frame, _)) => frame.header.to_vec(),
        other => panic!("{other:?}"),
    }
}

fn main() {
    let properties =
        "KEYS\u{1}key1\u{2}UNIQ_KEY\u{1}7F000001000000000000BEEF00000000\u{2}WAIT\u{1}true\u{2}TAGS\u{1}TagA";
    let born = Millis(1_700_000_000_000);
    let plain = SendRequestV2::plain("producer_group", "BenchmarkTest", 3, born, properties.into());
    let request = SendRequestV2 { broker_name: Some("broker-a".into()), ..plain };
    let header = Header::request(310, 123_456, Some(request.to_ext()));
    let mut scratch = Scratch::default();
    for (name, codec) in [("JSON", Codec::Json), ("binary", Codec::Binary)] {
        let bytes = header_bytes(codec, &header);
        println!("310, {name} header of {} bytes", bytes.len());
        measure("  general path", || {
            let header = Header::decode(codec, black_box(&bytes)).unwrap();
            black_box(SendRequest::from(header.fields::<SendRequestV2>().unwrap()));
        });
        measure("  scan", || {
            let Ok(scanned) = scan::scan(codec, black_box(&bytes), &mut scratch) else { panic!("unusual") };
            let Ok(Hot::Send(send)) = scanned.hot() else { panic!("unusual") };
            black_box(send);
        });
        measure("  peek", || {
            let _ = black_box(scan::peek(codec, black_box(&bytes)));
        });
        let sent = answer::Sent {
            msg_id: "7F00000100005D670000000000001FE4",
            queue_id: 3,
            queue_offset: 123_456_789,
            region: "DefaultRegion",
            trace_on: true,
        };
        let mut out = Vec::with_capacity(1024);
        measure("  answer to a send", || {
            out.clear();
            answer::write_sent(codec, 0, 123_456, black_box(&sent), &mut out);
        });
        let reply = PullReply {
            suggest_which_broker_id: 0,
            next_begin_offset: 123_456_789,
            min_offset: 0,
            max_offset: 123_456_799,
        };
        measure("  answer to a pull", || {
            out.clear();
            answer::write_pulled(codec, 0, 123_456, black_box(&reply), 36_000, &mut out);
        });
    }
    measure("properties: one scan", || {
        black_box(properties::Scan::new(black_box(properties.as_bytes())));
    });
}
