//! Requests as frames in, answers as frames out, in both codecs; one helper is the only way in.

use super::*;
use crate::disk::MemoryFiles;
use kerolox_config::{Machine, Role, Sources};
use kerolox_net::service::{Job, Part};
use kerolox_protocol::frame::{FRAME_BYTES_MAX, Split, split};
use std::{io::Write, net::IpAddr, path::Path};

const KV_FILE: &str = "/home/u/namesrv/kvConfig.json";
const SETTINGS_FILE: &str = "/home/u/namesrv/namesrv.properties";
const MASTER_BODY: &str = r#"{"filterServerList":[],"topicConfigSerializeWrapper":{"dataVersion":{"counter":1,"timestamp":7},
    "topicConfigTable":{"T":{"order":false,"perm":6,"readQueueNums":4,"topicFilterType":"SINGLE_TAG","topicName":"T","topicSysFlag":0,"writeQueueNums":4},
    "TBW102":{"perm":7,"readQueueNums":8,"writeQueueNums":8,"topicName":"TBW102"}}}}"#;

/// A server with files in memory, and a client of it.
struct Bench {
    server: Namesrv,
    files: Arc<MemoryFiles>,
    now: Now,
    codec: Codec,
    version: i32,
    ip: IpAddr,
    out: Outbox<Save>,
    closed: Vec<ConnId>,
}

fn config(words: &[&str]) -> Loaded {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let env = |name: &str| (name == "HOME").then(|| "/home/u".to_owned());
    let (role, machine) = (Role::Namesrv, Machine::default());
    kerolox_config::load(&Sources { role, file: None, namesrv_addr: None, words: &words, env: &env, machine })
        .unwrap()
}

/// An answer: to whom, header, body.
type Sent = (ConnId, Header, Vec<u8>);
type Fields<'a> = &'a [(&'a str, &'a str)];

impl Bench {
    fn new(codec: Codec) -> Bench {
        Bench::with(codec, &[], MemoryFiles::default())
    }

    fn with(codec: Codec, words: &[&str], files: MemoryFiles) -> Bench {
        let (files, now) = (Arc::new(files), Now { wall: Millis(1_700_000_000_000), mono: Millis(0) });
        let server = Namesrv::open(now, config(words), files.clone()).unwrap();
        let ip = IpAddr::from([10, 0, 0, 9]);
        Bench { server, files, now, codec, version: 409, ip, out: Outbox::default(), closed: Vec::new() }
    }

    /// Sends a request and takes it to the end of its group, without running jobs.
    fn send(&mut self, conn: u64, code: i32, fields: Fields<'_>, body: &[u8], flag: i32) {
        let ext = (!fields.is_empty()).then(|| fields.iter().copied().collect::<Ext>());
        let mut header = Header::request(code, code * 10, ext);
        (header.version, header.flag) = (self.version, flag);
        let mut bytes = Vec::new();
        header.write_frame(self.codec, body, &mut bytes);
        let Ok(Split::Whole(frame, _)) = split(&bytes, FRAME_BYTES_MAX) else { panic!("no frame") };
        let peer = Peer { conn: ConnId(conn), addr: (self.ip, 5).into(), local_port: 9876 };
        self.server.on_frame(self.now, &peer, frame, &mut self.out);
        self.server.on_batch_end(self.now, &mut self.out);
    }

    /// What becomes of a frame with such a body.
    fn judge(&mut self, code: i32, body_bytes: usize, flag: i32) -> Judgement {
        let mut header = Header::request(code, 77, None);
        header.flag = flag;
        let mut bytes = Vec::new();
        header.write_frame(self.codec, b"", &mut bytes);
        let Ok(Split::Whole(frame, _)) = split(&bytes, FRAME_BYTES_MAX) else { panic!("no frame") };
        let opening = Opening { codec: frame.codec, header: frame.header, body_bytes };
        let peer = Peer { conn: ConnId(7), addr: (self.ip, 5).into(), local_port: 9876 };
        self.server.judge(self.now, &peer, &opening)
    }

    /// Code and remark of the refusal of such a body.
    fn refusal(&mut self, code: i32, body_bytes: usize) -> (i32, String) {
        let Judgement::Refuse(bytes) = self.judge(code, body_bytes, 0) else {
            panic!("{code} is not refused")
        };
        let Ok(Split::Whole(frame, taken)) = split(&bytes, FRAME_BYTES_MAX) else { panic!("no frame") };
        let header = Header::decode(frame.codec, frame.header).unwrap();
        assert_eq!((taken, header.opaque, frame.codec), (bytes.len(), 77, self.codec));
        (header.code, header.remark.unwrap_or_default())
    }

    /// Takes out what was answered so far, and the jobs.
    fn take(&mut self) -> (Vec<Sent>, Vec<Save>) {
        let (buffer, parts, links, jobs) = self.out.take();
        assert!(links.is_empty());
        let mut answers = Vec::new();
        for (conn, part) in parts {
            match part {
                Part::Close(_) => self.closed.push(conn),
                Part::Bytes(from, to) => {
                    let mut rest = &buffer[from..to];
                    while !rest.is_empty() {
                        let Ok(Split::Whole(frame, taken)) = split(rest, FRAME_BYTES_MAX) else {
                            panic!("no frame")
                        };
                        assert_eq!(frame.codec, self.codec, "an answer in another codec than its request");
                        let header = Header::decode(frame.codec, frame.header).unwrap();
                        answers.push((conn, header, frame.body.to_vec()));
                        rest = &rest[taken..];
                    }
                }
                Part::Fill(_) => panic!("a name server has no such files"),
            }
        }
        (answers, jobs)
    }

    fn run(&mut self, jobs: Vec<Save>) {
        for job in jobs {
            let done = job.run();
            self.server.on_done(self.now, done, &mut self.out);
        }
    }

    /// Everything that is answered until all files are saved.
    fn settle(&mut self) -> Vec<Sent> {
        let mut all = Vec::new();
        loop {
            let (answers, jobs) = self.take();
            all.extend(answers);
            if jobs.is_empty() {
                return all;
            }
            self.run(jobs);
        }
    }

    /// One request, one answer.
    fn ask(&mut self, conn: u64, code: i32, fields: Fields<'_>, body: &[u8]) -> (Header, String) {
        self.send(conn, code, fields, body, 0);
        let mut answers = self.settle();
        assert_eq!(answers.len(), 1, "answers to {code}");
        let (to, header, body) = answers.remove(0);
        assert_eq!((to, header.opaque, header.flag, header.version), (ConnId(conn), code * 10, 1, 409));
        (header, String::from_utf8(body).unwrap())
    }

    /// One request that must succeed; its body.
    fn get(&mut self, conn: u64, code: i32, fields: Fields<'_>) -> String {
        let (header, body) = self.ask(conn, code, fields, b"");
        assert_eq!((header.code, header.remark), (0, None));
        body
    }

    fn refused(&mut self, code: i32, fields: Fields<'_>) -> (i32, String) {
        let (header, body) = self.ask(90, code, fields, b"");
        assert_eq!(body, "");
        (header.code, header.remark.unwrap())
    }

    fn register(&mut self, conn: u64, broker: &str, id: &str, at: &str, body: &[u8]) -> Header {
        let ha = format!("ha-{at}");
        let fields = [
            ("brokerName", broker),
            ("brokerAddr", at),
            ("clusterName", "C1"),
            ("haServerAddr", &ha),
            ("brokerId", id),
        ];
        self.ask(conn, 103, &fields, body).0
    }

    fn master(&mut self) {
        let header = self.register(1, "b-a", "0", "10.0.0.1:10911", MASTER_BODY.as_bytes());
        assert_eq!((header.code, header.remark), (0, None));
    }
}

fn both(test: impl Fn(Bench)) {
    test(Bench::new(Codec::Json));
    test(Bench::new(Codec::Binary));
}

const ROUTE: &str = concat!(
    r#"{"brokerDatas":[{"brokerAddrs":{"0":"10.0.0.1:10911","1":"10.0.0.2:10911"},"brokerName":"b-a","cluster":"C1"}],"#,
    r#""filterServerTable":{},"queueDatas":[{"brokerName":"b-a","perm":6,"readQueueNums":4,"topicSysFlag":0,"writeQueueNums":4}]}"#
);

#[test]
fn a_route_is_the_dialect_that_every_client_parses() {
    both(|mut bench| {
        bench.master();
        bench.register(2, "b-a", "1", "10.0.0.2:10911", b"");
        assert_eq!(bench.get(9, 105, &[("topic", "T")]), ROUTE);
        // Old and new requesters get the same: standard JSON, whatever they ask for.
        bench.version = 317;
        assert_eq!(bench.get(9, 105, &[("topic", "T"), ("acceptStandardJsonOnly", "false")]), ROUTE);
    });
}

#[test]
fn a_slave_is_told_its_master() {
    both(|mut bench| {
        bench.master();
        let slave = bench.register(2, "b-a", "1", "10.0.0.2:10911", b"");
        assert_eq!(slave.get("masterAddr"), Some("10.0.0.1:10911"));
        assert_eq!(slave.get("haServerAddr"), Some("ha-10.0.0.1:10911"));
    });
}

#[test]
fn a_missing_route_names_cause_and_way_out() {
    both(|mut bench| {
        let first = "No topic route info in name server for the topic: Tx\n";
        let check = |bench: &mut Bench, expected: &[&str]| {
            let (code, remark) = bench.refused(105, &[("topic", "Tx")]);
            assert_eq!(code, 17);
            assert!(remark.starts_with(first), "{remark}");
            expected.iter().for_each(|part| assert!(remark.contains(part), "{remark}"));
        };
        check(&mut bench, &["No broker is registered here", "namesrvAddr"]);
        bench.master();
        check(&mut bench, &["first message of a producer creates it", "updateTopic"]);
        let orders = r#"{"topicConfigSerializeWrapper":{"topicConfigTable":{"Orders_2024":{},"Other":{}}}}"#;
        bench.register(2, "b-b", "0", "10.0.0.2:10911", orders.as_bytes());
        for near in ["orders_2024", "Orders-2024", "Order2024"] {
            let (_, remark) = bench.refused(105, &[("topic", near)]);
            assert!(remark.ends_with("A similar topic exists: Orders_2024."), "{remark}");
        }
        bench.get(9, 327, &[("brokerName", "b-a")]);
        check(&mut bench, &["TBW102 is switched off", "updateTopic", "-t 'Tx'"]);
        bench.get(9, 216, &[("topic", "TBW102")]);
        check(&mut bench, &["autoCreateTopicEnable=false", "updateTopic", "-t 'Tx'"]);
        assert!(
            bench.refused(105, &[("topic", "TBW102")]).1.contains("autoCreateTopicEnable=false everywhere")
        );
        assert_eq!(bench.refused(105, &[("topic", "a\nb\u{1b}")]).1.matches(char::is_control).count(), 1);
        // What is no name stands in no command.
        let (_, remark) = bench.refused(105, &[("topic", "a'; rm -rf /; '")]);
        assert!(remark.contains("no legal topic name") && !remark.contains("mqadmin"), "{remark}");
        let (_, remark) = bench.refused(105, &[("topic", &"x".repeat(60_000))]);
        assert!(remark.len() < 1000, "a remark does not repeat what is endless");
    });
}

#[test]
fn missing_and_malformed_fields_are_named() {
    both(|mut bench| {
        assert_eq!(bench.refused(105, &[]), (1, "the request header lacks the field 'topic'".into()));
        let (code, remark) = bench.refused(
            103,
            &[("brokerName", "b"), ("brokerAddr", "h:1"), ("clusterName", "C"), ("brokerId", "zero")],
        );
        assert_eq!(code, 1);
        assert!(remark.contains("'brokerId' is 'zero'"), "{remark}");
        for (field, value) in
            [("brokerName", "a\"b"), ("brokerAddr", "h"), ("clusterName", "a b"), ("haServerAddr", "x")]
        {
            let mut fields = [
                ("brokerName", "b"),
                ("brokerAddr", "h:1"),
                ("clusterName", "C"),
                ("haServerAddr", "h:2"),
                ("brokerId", "0"),
            ];
            fields.iter_mut().find(|(known, _)| *known == field).unwrap().1 = value;
            let (code, remark) = bench.refused(103, &fields);
            assert_eq!(code, 1);
            assert!(remark.contains(&format!("'{field}'")), "{remark}");
        }
        assert!(!bench.server.routes().has_brokers());
    });
}

#[test]
fn unknown_codes_and_codes_of_others_are_not_supported() {
    both(|mut bench| {
        for code in [10, 901, 904, 31_000] {
            assert_eq!(bench.refused(code, &[]), (3, format!(" request type {code} not supported")));
        }
    });
}

#[test]
fn every_row_of_the_name_server_has_a_handler_or_is_known_to_have_none() {
    let later = [901, 904];
    for row in rpc::table().filter(|row| row.server == Server::Namesrv && !later.contains(&row.code)) {
        let mut bench = Bench::new(Codec::Json);
        let (header, _) = bench.ask(9, row.code, &[], b"");
        assert_ne!(header.code, code::REQUEST_CODE_NOT_SUPPORTED, "{} {}", row.code, row.name);
    }
}

#[test]
fn oneway_requests_are_run_and_never_answered() {
    both(|mut bench| {
        bench.master();
        bench.send(9, 205, &[("brokerName", "b-a")], b"", 2);
        bench.send(9, 100, &[("namespace", "n"), ("key", "k"), ("value", "v")], b"", 2);
        bench.send(9, 105, &[], b"", 2);
        bench.send(9, 31_000, &[], b"", 2);
        assert_eq!(bench.settle().len(), 0);
        assert!(bench.get(9, 105, &[("topic", "T")]).contains(r#""perm":4"#));
        assert_eq!(bench.ask(9, 101, &[("namespace", "n"), ("key", "k")], b"").0.get("value"), Some("v"));
    });
}

#[test]
fn answers_and_broken_headers_get_no_answer() {
    let mut bench = Bench::new(Codec::Json);
    bench.send(9, 105, &[("topic", "T")], b"", 1);
    assert_eq!(bench.settle().len(), 0);
    let peer = Peer { conn: ConnId(4), addr: (bench.ip, 5).into(), local_port: 9876 };
    let frame = Frame { codec: Codec::Json, header: b"{\"code\":", body: b"" };
    bench.server.on_frame(bench.now, &peer, frame, &mut bench.out);
    assert_eq!((bench.settle().len(), bench.closed), (0, vec![ConnId(4)]));
}

#[test]
fn cluster_information_is_sorted_and_standard() {
    both(|mut bench| {
        bench.register(3, "b-b", "0", "10.0.0.3:10911", b"");
        bench.master();
        let expected = concat!(
            r#"{"brokerAddrTable":{"b-a":{"brokerAddrs":{"0":"10.0.0.1:10911"},"brokerName":"b-a","cluster":"C1"},"#,
            r#""b-b":{"brokerAddrs":{"0":"10.0.0.3:10911"},"brokerName":"b-b","cluster":"C1"}},"#,
            r#""clusterAddrTable":{"C1":["b-a","b-b"]}}"#
        );
        assert_eq!(bench.get(9, 106, &[]), expected);
    });
}

#[test]
fn lists_of_topics() {
    both(|mut bench| {
        assert_eq!(bench.get(9, 304, &[]), r#"{"topicList":[]}"#);
        bench.master();
        let unit = r#"{"topicConfigSerializeWrapper":{"dataVersion":{"counter":2},"topicConfigTable":{
            "U":{"topicSysFlag":1},"S":{"topicSysFlag":2},"B":{"topicSysFlag":3}}}}"#;
        bench.register(3, "b-b", "0", "10.0.0.3:10911", unit.as_bytes());
        assert_eq!(bench.get(9, 206, &[]), r#"{"topicList":["B","S","T","TBW102","U"]}"#);
        assert_eq!(bench.get(9, 224, &[("cluster", "C1")]), r#"{"topicList":["B","S","T","TBW102","U"]}"#);
        assert_eq!(bench.get(9, 224, &[("cluster", "none")]), r#"{"topicList":[]}"#);
        let system = r#"{"brokerAddr":"10.0.0.1:10911","topicList":["C1","b-a","b-b"]}"#;
        assert_eq!(bench.get(9, 304, &[]), system);
        assert_eq!(bench.get(9, 311, &[]), r#"{"topicList":["B","U"]}"#);
        assert_eq!(bench.get(9, 312, &[]), r#"{"topicList":["B","S"]}"#);
        assert_eq!(bench.get(9, 313, &[]), r#"{"topicList":["S"]}"#);
        bench.get(9, 216, &[("topic", "U"), ("clusterName", "other")]);
        bench.get(9, 216, &[("topic", "S")]);
        bench.get(9, 216, &[("topic", "absent")]);
        assert_eq!(bench.get(9, 206, &[]), r#"{"topicList":["B","T","TBW102","U"]}"#);
    });
}

#[test]
fn write_permission_is_counted() {
    both(|mut bench| {
        bench.master();
        assert_eq!(bench.ask(9, 205, &[("brokerName", "b-a")], b"").0.get("wipeTopicCount"), Some("2"));
        assert!(bench.get(9, 105, &[("topic", "TBW102")]).contains(r#""perm":5"#));
        assert_eq!(bench.ask(9, 327, &[("brokerName", "b-a")], b"").0.get("addTopicCount"), Some("2"));
        assert!(bench.get(9, 105, &[("topic", "TBW102")]).contains(r#""perm":6"#));
        assert_eq!(bench.ask(9, 205, &[("brokerName", "none")], b"").0.get("wipeTopicCount"), Some("0"));
    });
}

/// The compressed form of a registration, written from its description.
fn compressed(topics: &[&str], count: i32) -> Vec<u8> {
    let mut plain = Vec::new();
    let piece = |plain: &mut Vec<u8>, text: &str| {
        plain.extend_from_slice(&(text.len() as i32).to_be_bytes());
        plain.extend_from_slice(text.as_bytes());
    };
    piece(&mut plain, r#"{"counter":3,"timestamp":9}"#);
    plain.extend_from_slice(&count.to_be_bytes());
    topics.iter().for_each(|topic| piece(&mut plain, topic));
    piece(&mut plain, "[]");
    let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    packer.write_all(&plain).unwrap();
    packer.finish().unwrap()
}

fn register_compressed(bench: &mut Bench, body: &[u8], crc: Option<u32>) -> Header {
    let crc = crc.unwrap_or(0).to_string();
    let fields = [
        ("brokerName", "b-a"),
        ("brokerAddr", "h:1"),
        ("clusterName", "C1"),
        ("haServerAddr", "h:2"),
        ("brokerId", "0"),
        ("compressed", "true"),
        ("bodyCrc32", &crc),
    ];
    bench.ask(1, 103, &fields, body).0
}

#[test]
fn a_compressed_registration_is_checked_and_read() {
    both(|mut bench| {
        let body = compressed(
            &["T 4 5 6 SINGLE_TAG", "bad\"name 1 1 6 SINGLE_TAG", "N 1 1 6 SINGLE_TAG +attributes"],
            3,
        );
        let crc = crc32fast::hash(&body) & 0x7fff_ffff;
        let wrong = register_compressed(&mut bench, &body, Some(crc ^ 1));
        assert_eq!((wrong.code, wrong.remark.as_deref()), (1, Some("crc32 not match")));
        let header = register_compressed(&mut bench, &body, Some(crc));
        assert_eq!(header.code, 0);
        assert!(header.remark.unwrap().starts_with("1 topics"), "what is left out is told");
        assert_eq!(bench.get(9, 206, &[]), r#"{"topicList":["N","T"]}"#);
        assert!(
            bench
                .get(9, 105, &[("topic", "T")])
                .contains(r#""perm":6,"readQueueNums":4,"topicSysFlag":0,"writeQueueNums":5"#)
        );
    });
}

#[test]
fn hostile_registrations_are_refused_without_effect() {
    let mut bench = Bench::new(Codec::Json);
    let bomb = {
        let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
        packer.write_all(&vec![0; 8 << 20]).unwrap();
        packer.finish().unwrap()
    };
    let cases: [(&[u8], &str); 4] = [
        (b"not zlib", "not zlib"),
        (&compressed(&["T 1 1 6 X"], i32::MAX), "a topic's line"),
        (&compressed(&[], -1), "negative"),
        (&bomb, "limit of inflated bytes"),
    ];
    for (body, expected) in cases {
        let header = register_compressed(&mut bench, body, None);
        assert_eq!(header.code, 1);
        assert!(header.remark.as_deref().unwrap().contains(expected), "{:?}", header.remark);
    }
    let header = bench.register(1, "b", "0", "h:1", br#"{"topicConfigSerializeWrapper":[7"#);
    assert_eq!(header.code, 1);
    assert!(!bench.server.routes().has_brokers());
    let numbers = r#"{"topicConfigSerializeWrapper":{"topicConfigTable":{"N":{"readQueueNums":-1},"P":{"perm":99},
        "Q":{"writeQueueNums":2147483647},"G":{"unknown":[1,{}]}}}}"#;
    assert_eq!(bench.register(1, "b", "0", "h:1", numbers.as_bytes()).code, 0);
    assert_eq!(bench.get(9, 206, &[]), r#"{"topicList":["G"]}"#);
}

#[test]
fn brokers_before_the_framed_body_send_their_table_alone() {
    let mut bench = Bench::new(Codec::Json);
    bench.version = 36;
    let body =
        r#"{"dataVersion":{"counter":1,"timestamp":7},"topicConfigTable":{"Old":{"topicName":"Old"}}}"#;
    assert_eq!(bench.register(1, "b", "0", "h:1", body.as_bytes()).code, 0);
    assert_eq!(bench.get(9, 206, &[]), r#"{"topicList":["Old"]}"#);
}

#[test]
fn versions_are_compared_and_returned() {
    both(|mut bench| {
        let fields = [
            ("brokerName", "b-a"),
            ("brokerAddr", "10.0.0.1:10911"),
            ("clusterName", "C1"),
            ("brokerId", "0"),
        ];
        let (header, body) = bench.ask(1, 322, &fields, br#"{"counter":1,"timestamp":7}"#);
        assert_eq!((header.code, header.get("changed"), body.as_str()), (0, Some("true"), ""));
        bench.master();
        let (header, body) = bench.ask(1, 322, &fields, br#"{"counter":1,"timestamp":7}"#);
        assert_eq!((header.get("changed"), body.as_str()), (Some("false"), r#"{"counter":1,"timestamp":7}"#));
        let (header, _) = bench.ask(1, 322, &fields, br#"{"counter":2,"timestamp":7}"#);
        assert_eq!(header.get("changed"), Some("true"));
    });
}

#[test]
fn silent_brokers_are_dropped_by_the_scan_and_their_connection_closed() {
    let mut bench = Bench::new(Codec::Json);
    bench.master();
    assert_eq!(bench.server.next_timer(), Some(Millis(5_000)));
    let mut dropped_at = None;
    while dropped_at.is_none() && bench.now.mono < Millis(1_000_000) {
        bench.now.mono = bench.server.next_timer().unwrap();
        bench.server.on_timer(bench.now, &mut bench.out);
        bench.settle();
        dropped_at = (!bench.server.routes().has_brokers()).then_some(bench.now.mono);
    }
    // Scans at 5 s, 15 s, …: the first one later than 120 s.
    assert_eq!((dropped_at, bench.closed.clone()), (Some(Millis(125_000)), vec![ConnId(1)]));
    assert_eq!(bench.refused(105, &[("topic", "T")]).0, 17);
}

#[test]
fn a_closed_connection_ends_its_routes_at_once_and_an_old_goodbye_none() {
    both(|mut bench| {
        bench.master();
        bench.register(2, "b-a", "0", "10.0.0.1:10911", MASTER_BODY.as_bytes());
        let fields = [
            ("brokerName", "b-a"),
            ("brokerAddr", "10.0.0.1:10911"),
            ("clusterName", "C1"),
            ("brokerId", "0"),
        ];
        assert_eq!(bench.ask(1, 104, &fields, b"").0.code, 0);
        bench.server.on_closed(bench.now, ConnId(1), &mut bench.out);
        assert_eq!(bench.get(9, 206, &[]), r#"{"topicList":["T","TBW102"]}"#);
        bench.server.on_closed(bench.now, ConnId(2), &mut bench.out);
        assert_eq!(bench.get(9, 206, &[]), r#"{"topicList":[]}"#);
    });
}

#[test]
fn twins_get_a_remark_and_old_epochs_a_refusal() {
    both(|mut bench| {
        bench.master();
        let twin = bench.register(2, "b-a", "0", "10.0.0.7:10911", MASTER_BODY.as_bytes());
        assert_eq!(twin.code, 0);
        let remark = twin.remark.unwrap();
        assert!(remark.contains("10.0.0.1:10911 and 10.0.0.7:10911"), "{remark}");
        let fields = |epoch| {
            [
                ("brokerName", "e"),
                ("brokerAddr", "h:1"),
                ("clusterName", "C"),
                ("brokerId", "0"),
                ("epoch", epoch),
            ]
        };
        assert_eq!(bench.ask(3, 103, &fields("5"), b"").0.code, 0);
        let (code, remark) = bench.refused(103, &fields("4"));
        assert_eq!(code, 1);
        assert!(remark.contains("epoch 4 is over"), "{remark}");
        assert_eq!(bench.refused(103, &fields("-1")).0, 1);
    });
}

#[test]
fn values_are_kept_saved_and_read_again() {
    both(|mut bench| {
        assert_eq!(bench.refused(100, &[("key", "k")]), (1, "namespace or key is null".into()));
        bench.get(9, 100, &[("namespace", "n"), ("key", "k"), ("value", "v w")]);
        let at = [("namespace", "n"), ("key", "k")];
        assert_eq!(bench.ask(9, 101, &at, b"").0.get("value"), Some("v w"));
        assert_eq!(bench.get(9, 219, &[("namespace", "n")]), r#"{"table":{"k":"v w"}}"#);
        let saved = bench.files.read(Path::new(KV_FILE)).unwrap().unwrap();
        assert_eq!(saved, r#"{"configTable":{"n":{"k":"v w"}}}"#);
        // Another start with the same files has them.
        let again = Namesrv::open(bench.now, config(&[]), bench.files.clone()).unwrap();
        assert_eq!(again.kv.get("n", "k"), Some("v w"));
        bench.get(9, 102, &at);
        bench.get(9, 102, &at);
        assert_eq!(bench.refused(101, &at), (22, "No config item, Namespace: n Key: k".into()));
        assert_eq!(bench.refused(219, &[("namespace", "m")]), (22, "No config item, Namespace: m".into()));
    });
}

#[test]
fn changes_during_a_write_share_the_next_one_and_wait_for_it() {
    let mut bench = Bench::new(Codec::Json);
    let put = |bench: &mut Bench, conn, key| {
        bench.send(conn, 100, &[("namespace", "n"), ("key", key), ("value", "v")], b"", 0);
        bench.take()
    };
    let (answers, first) = put(&mut bench, 1, "a");
    assert_eq!((answers.len(), first.len()), (0, 1), "nobody is answered before the file is saved");
    for (conn, key) in [(2, "b"), (3, "c"), (4, "d")] {
        let (answers, jobs) = put(&mut bench, conn, key);
        assert_eq!((answers.len(), jobs.len()), (0, 0), "one write at a time");
    }
    bench.server.on_closed(bench.now, ConnId(3), &mut bench.out);
    bench.run(first);
    let (answers, second) = bench.take();
    assert_eq!(answers.iter().map(|(conn, ..)| conn.0).collect::<Vec<_>>(), [1]);
    assert_eq!(second.len(), 1);
    bench.run(second);
    let (answers, jobs) = bench.take();
    assert_eq!(answers.iter().map(|(conn, ..)| conn.0).collect::<Vec<_>>(), [2, 4]);
    assert!(jobs.is_empty());
    let saved = bench.files.read(Path::new(KV_FILE)).unwrap().unwrap();
    assert_eq!(saved, r#"{"configTable":{"n":{"a":"v","b":"v","c":"v","d":"v"}}}"#);
}

#[test]
fn a_failed_write_is_told_to_who_asked_for_it() {
    both(|mut bench| {
        bench.files.set_failing(true);
        let at = [("namespace", "n"), ("key", "k"), ("value", "v")];
        let (code, remark) = bench.refused(100, &at);
        assert_eq!(code, 1);
        assert!(remark.contains("saving failed") && remark.contains(KV_FILE), "{remark}");
        bench.files.set_failing(false);
        bench.get(9, 100, &at);
    });
}

#[test]
fn waiting_changes_are_bounded() {
    let mut bench = Bench::new(Codec::Json);
    bench.send(1, 100, &[("namespace", "n"), ("key", "k"), ("value", "v")], b"", 0);
    let (_, first) = bench.take();
    let (mut answers, mut sent) = (Vec::new(), 0);
    while answers.is_empty() {
        sent += 1;
        assert!(sent < 5_000, "there is no limit");
        bench.send(1, 102, &[("namespace", "n"), ("key", "k")], b"", 0);
        bench.send(1, 100, &[("namespace", "n"), ("key", "k"), ("value", "v")], b"", 0);
        answers = bench.take().0;
    }
    assert!(answers.iter().all(|(_, header, _)| header.code == code::SYSTEM_BUSY));
    bench.run(first);
    assert!(bench.settle().len() > 1_000, "all that were taken are answered");
}

#[test]
fn a_damaged_file_is_a_clear_error_at_start() {
    let files = MemoryFiles::default();
    files.replace(Path::new(KV_FILE), r#"{"configTable":{"n":"#).unwrap();
    let now = Now { wall: Millis(0), mono: Millis(0) };
    let why = Namesrv::open(now, config(&[]), Arc::new(files)).unwrap_err().to_string();
    assert!(why.contains(KV_FILE) && why.contains("damaged") && why.contains("move it away"), "{why}");
}

#[test]
fn order_topics_reach_brokers_and_with_the_switch_clients() {
    both(|mut bench| {
        bench.master();
        bench.get(9, 105, &[("topic", "T")]);
        bench.get(9, 100, &[("namespace", "ORDER_TOPIC_CONFIG"), ("key", "T"), ("value", "b-a:4")]);
        assert!(!bench.get(9, 105, &[("topic", "T")]).contains("orderTopicConf"));
        let fields = [
            ("brokerName", "b-a"),
            ("brokerAddr", "10.0.0.1:10911"),
            ("clusterName", "C1"),
            ("brokerId", "0"),
        ];
        assert_eq!(bench.ask(1, 103, &fields, MASTER_BODY.as_bytes()).1, r#"{"table":{"T":"b-a:4"}}"#);
        let (header, _) = bench.ask(9, 318, &[], b"orderMessageEnable=true\n");
        assert_eq!((header.code, header.remark), (0, None));
        let ordered = r#""filterServerTable":{},"orderTopicConf":"b-a:4","queueDatas""#;
        assert!(bench.get(9, 105, &[("topic", "T")]).contains(ordered));
        bench.get(9, 102, &[("namespace", "ORDER_TOPIC_CONFIG"), ("key", "T")]);
        assert!(!bench.get(9, 105, &[("topic", "T")]).contains("orderTopicConf"));
    });
}

#[test]
fn settings_are_listed_changed_saved_and_protected() {
    both(|mut bench| {
        let listed = bench.get(9, 319, &[]);
        for line in
            ["listenPort=9876", "orderMessageEnable=false", "kvConfigPath=/home/u/namesrv/kvConfig.json"]
        {
            assert!(listed.lines().any(|known| known == line), "{line} in {listed}");
        }
        for key in ["configBlackList", "configStorePath", "kvConfigPath", "rocketmqHome", "adminNetworks"] {
            let body = format!("orderMessageEnable=true\n{key}=/tmp/x\n");
            let (header, _) = bench.ask(9, 318, &[], body.as_bytes());
            assert_eq!(
                (header.code, header.remark.as_deref()),
                (16, Some("Can not update config in black list."))
            );
        }
        for (body, expected) in [
            (&b"orderMesageEnable=true"[..], "orderMessageEnable"),
            (b"orderMessageEnable=perhaps", "true or false"),
            (b"listenPort=1", "read at start only"),
            (b"\xff\xfe=1", "UTF-8"),
        ] {
            let (header, _) = bench.ask(9, 318, &[], body);
            assert_eq!(header.code, 1);
            assert!(header.remark.as_deref().unwrap().contains(expected), "{:?}", header.remark);
        }
        assert_eq!(bench.get(9, 319, &[]), listed, "nothing of a refused change is in effect");
        assert_eq!(bench.files.read(Path::new(SETTINGS_FILE)).unwrap(), None);
        assert_eq!(bench.ask(9, 318, &[], b"orderMessageEnable=true").0.code, 0);
        let saved = bench.files.read(Path::new(SETTINGS_FILE)).unwrap().unwrap();
        assert!(saved.contains("orderMessageEnable=true"));
        assert_eq!(bench.get(9, 319, &[]), saved);
    });
}

#[test]
fn strangers_may_read_but_neither_register_nor_administer() {
    both(|mut bench| {
        bench.master();
        bench.ip = IpAddr::from([203, 0, 113, 5]);
        for row in rpc::table().filter(|row| row.server == Server::Namesrv) {
            let (header, _) = bench.ask(9, row.code, &[], b"");
            let guarded = matches!(row.need, Need::Admin | Need::Cluster);
            assert_eq!(header.code == code::NO_PERMISSION, guarded, "{}", row.name);
            let remark = header.remark.unwrap_or_default();
            assert_eq!(
                remark.contains("adminNetworks") && remark.contains("203.0.113.5"),
                guarded,
                "{remark}"
            );
        }
        bench.get(9, 105, &[("topic", "T")]);
        assert_eq!(bench.get(9, 319 - 113, &[]), r#"{"topicList":["T","TBW102"]}"#);
    });
    let mut open = Bench::with(Codec::Json, &["adminNetworks=203.0.113.0/24"], MemoryFiles::default());
    open.ip = IpAddr::from([203, 0, 113, 5]);
    open.master();
    open.ip = IpAddr::from([127, 0, 0, 1]);
    assert_eq!(open.ask(9, 319, &[], b"").0.code, 16);
}

#[test]
fn a_topic_may_be_registered_for_living_brokers() {
    let mut bench = Bench::new(Codec::Json);
    bench.master();
    let body = r#"{"brokerDatas":[],"queueDatas":[{"brokerName":"b-a","perm":6,"readQueueNums":2,"writeQueueNums":2},{"brokerName":"gone","perm":6}]}"#;
    assert_eq!(bench.ask(9, 217, &[("topic", "New")], body.as_bytes()).0.code, 0);
    let route = bench.get(9, 105, &[("topic", "New")]);
    assert!(route.contains(r#""readQueueNums":2"#) && !route.contains("gone"), "{route}");
}

#[test]
fn stopping_waits_for_the_files_and_takes_no_more_changes() {
    let mut bench = Bench::new(Codec::Json);
    let fields = [("namespace", "n"), ("key", "k"), ("value", "v")];
    bench.send(1, 100, &fields, b"", 0);
    let (_, jobs) = bench.take();
    bench.server.on_stop(bench.now, &mut bench.out);
    assert!(!bench.server.is_stopped());
    assert_eq!(bench.server.next_timer(), None);
    bench.send(2, 100, &fields, b"", 0);
    let (answers, _) = bench.take();
    assert_eq!(answers[0].1.code, code::SYSTEM_BUSY);
    bench.run(jobs);
    assert!(bench.server.is_stopped());
    assert_eq!(bench.settle().len(), 1);
}

#[test]
fn two_name_servers_are_independent_and_a_restarted_one_has_its_routes_with_the_next_registration() {
    let (mut one, mut two) = (Bench::new(Codec::Json), Bench::new(Codec::Json));
    one.master();
    two.master();
    assert_eq!(one.get(9, 105, &[("topic", "T")]), two.get(9, 105, &[("topic", "T")]));
    one.get(9, 100, &[("namespace", "n"), ("key", "k"), ("value", "v")]);
    assert_eq!(two.refused(101, &[("namespace", "n"), ("key", "k")]).0, 22, "they do not talk to each other");
    // A restart keeps values and loses routes, until the broker registers anew with the version it had.
    one.server = Namesrv::open(one.now, config(&[]), one.files.clone()).unwrap();
    assert_eq!(one.refused(105, &[("topic", "T")]).0, 17);
    assert_eq!(one.ask(9, 101, &[("namespace", "n"), ("key", "k")], b"").0.get("value"), Some("v"));
    one.master();
    assert_eq!(one.get(9, 105, &[("topic", "T")]), two.get(9, 105, &[("topic", "T")]));
}

#[test]
fn an_empty_value_is_kept_whichever_way_it_is_written() {
    // The binary form cannot tell an empty value from an absent one.
    both(|mut bench| {
        bench.get(9, 100, &[("namespace", "n"), ("key", "k"), ("value", "")]);
        assert_eq!(bench.get(9, 219, &[("namespace", "n")]), r#"{"table":{"k":""}}"#);
    });
}

#[test]
fn a_large_body_is_judged_by_its_header() {
    for codec in [Codec::Json, Codec::Binary] {
        let mut bench = Bench::with(codec, &["adminNetworks=10.0.0.0/8"], MemoryFiles::default());
        // What the header says; what becomes of the body.
        let taken = Judgement::Take;
        assert_eq!(bench.judge(103, 8 << 20, 0), taken, "a registration may fill a frame");
        assert_eq!(bench.judge(105, 64 << 10, 0), taken);
        assert_eq!(bench.refusal(105, (64 << 10) + 1).0, code::MESSAGE_ILLEGAL);
        let (code, remark) = bench.refusal(9_999, 4 << 20);
        assert_eq!((code, remark.as_str()), (3, " request type 9999 not supported"));
        assert_eq!(bench.refusal(310, 4 << 20).0, 3, "a broker's request");
        bench.ip = IpAddr::from([203, 0, 113, 5]);
        assert_eq!(bench.refusal(103, 1 << 20).0, code::NO_PERMISSION);
        let silent = Judgement::Refuse(Vec::new());
        assert_eq!(bench.judge(103, 1 << 20, 2), silent, "a one-way request is not answered");
        assert_eq!(bench.judge(0, 1 << 20, 1), silent, "nobody asked, so nobody answers");
        let opening = Opening { codec, header: b"\x00", body_bytes: 1 << 20 };
        let peer = Peer { conn: ConnId(1), addr: (bench.ip, 5).into(), local_port: 9876 };
        assert_eq!(bench.server.judge(bench.now, &peer, &opening), Judgement::Close(UNREADABLE));
        // Judging has answered nothing by itself, and changed nothing.
        assert!(bench.out.is_empty());
    }
}
