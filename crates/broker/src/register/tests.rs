//! The registrar through its frames: a list of events, a list of what was sent.

use super::*;
use crate::topics::TopicConfig;
use kerolox_protocol::frame::{FRAME_BYTES_MAX, Frame, Split, split};

const ONE: &str = "10.0.0.1:9876";
const TWO: &str = "10.0.0.2:9876";

struct Bench {
    registrar: Registrar,
    options: Options,
    topics: Topics,
    groups: Groups,
    now: Now,
}

/// A request that was sent: to whom, code, opaque, header, body.
struct Sent {
    to: String,
    header: Header,
    body: Vec<u8>,
}

fn sent(out: &mut Out) -> Vec<Sent> {
    let (_, _, links, _) = out.take();
    let mut all = Vec::new();
    for (to, bytes) in links {
        let mut rest = bytes.as_slice();
        while let Ok(Split::Whole(frame, taken)) = split(rest, FRAME_BYTES_MAX) {
            let header = Header::decode(frame.codec, frame.header).unwrap();
            all.push(Sent { to: to.clone(), header, body: frame.body.to_vec() });
            rest = &rest[taken..];
        }
        assert!(rest.is_empty(), "half a frame");
    }
    all
}

impl Bench {
    fn new(name_servers: &str) -> Bench {
        let mut options = Options::local();
        options.broker.set("namesrvAddr", name_servers).unwrap();
        options.broker.set("brokerName", "b").unwrap();
        let topics = Topics::builtin(&options);
        let now = Now { wall: Millis(1_000_000), mono: Millis(0) };
        Bench { registrar: Registrar::default(), options, topics, groups: Groups::builtin(), now }
    }

    fn with(&mut self, run: impl FnOnce(&mut Registrar, Now, Facts<'_>, &mut Out)) -> Vec<Sent> {
        let mut out = Out::default();
        let facts = Facts { options: &self.options, topics: &self.topics, groups: &self.groups };
        run(&mut self.registrar, self.now, facts, &mut out);
        sent(&mut out)
    }

    fn tick(&mut self) -> Vec<Sent> {
        self.with(|registrar, now, facts, out| registrar.tick(now, facts, out))
    }

    fn pass(&mut self, ms: i64) {
        self.now = Now { wall: self.now.wall + Millis(ms), mono: self.now.mono + Millis(ms) };
    }

    fn answer(&mut self, to: &Sent, code: i32, ext: &[(&str, &str)], body: &[u8]) -> Vec<Sent> {
        let mut header = Header::answer(code, to.header.opaque);
        header.ext = Some(ext.iter().copied().collect());
        let mut bytes = Vec::new();
        header.write_frame(Codec::Json, body, &mut bytes);
        let Ok(Split::Whole(frame, _)) = split(&bytes, FRAME_BYTES_MAX) else { panic!("no frame") };
        self.event(&to.to, LinkEvent::Frame(frame))
    }

    fn event(&mut self, addr: &str, event: LinkEvent<'_>) -> Vec<Sent> {
        self.with(|registrar, now, facts, out| {
            let route = registrar.on_link(now, addr, &event, facts, out);
            assert_eq!(route, None, "nobody asked for a route");
        })
    }

    fn accept_all(&mut self, requests: &[Sent]) {
        for request in requests.iter().filter(|request| request.header.code == RegisterBroker::CODE) {
            self.answer(request, code::SUCCESS, &[], b"");
        }
    }

    fn health(&self, addr: &str) -> Health {
        self.registrar.servers[addr].health.clone()
    }
}

fn codes(requests: &[Sent]) -> Vec<(&str, i32)> {
    requests.iter().map(|request| (request.to.as_str(), request.header.code)).collect()
}

fn registered(request: &Sent) -> RegisterBrokerBody {
    let fields: RegisterRequest = request.header.fields().unwrap();
    assert_eq!(fields.body_crc32, Some(record::crc(&request.body).cast_signed()));
    RegisterBrokerBody::read(&request.body, fields.compressed == Some(true)).unwrap()
}

#[test]
fn every_name_server_is_told_at_the_start_and_every_period() {
    let mut bench = Bench::new(&format!("{ONE};{TWO}"));
    assert_eq!(bench.registrar.next_timer(), Some(Millis(0)));
    let first = bench.tick();
    assert_eq!(codes(&first), [(ONE, 103), (TWO, 103)]);
    let fields: RegisterRequest = first[0].header.fields().unwrap();
    assert_eq!((&*fields.broker_name, fields.broker_id), ("b", 0));
    assert_eq!(fields.broker_addr, bench.options.store_host.to_string());
    let table = registered(&first[0]).topic_config_serialize_wrapper;
    assert_eq!(table.topic_config_table.len(), bench.topics.count());
    assert_eq!(table.topic_config_table["TBW102"].perm, 7);
    bench.accept_all(&first);
    assert!(matches!(bench.health(TWO), Health::Registered { .. }));
    assert_eq!(bench.registrar.next_timer(), Some(Millis(30_000)));
    bench.pass(29_999);
    assert_eq!(codes(&bench.tick()), []);
    bench.pass(1);
    assert_eq!(codes(&bench.tick()), [(ONE, 105), (ONE, 103), (TWO, 105), (TWO, 103)]);
}

#[test]
fn a_changed_topic_travels_alone_and_at_once() {
    let mut bench = Bench::new(ONE);
    let first = bench.tick();
    bench.accept_all(&first);
    let topic = TopicName::new("T").unwrap();
    bench.topics.put(bench.now.wall, TopicConfig::new(topic.clone(), 4, 6));
    let told = bench.with(|registrar, now, facts, out| {
        registrar.topics_changed(now, std::slice::from_ref(&topic), facts, out);
    });
    assert_eq!(codes(&told), [(ONE, 103)]);
    let table = registered(&told[0]).topic_config_serialize_wrapper;
    assert_eq!(table.topic_config_table.into_keys().collect::<Vec<_>>(), ["T"]);
    assert_eq!(table.data_version.counter, bench.topics.version().counter);
}

/// Else the name server would know the newest version with a part of the topics, and take no whole table over
/// under that version.
#[test]
fn nobody_gets_a_part_who_has_no_whole() {
    let mut bench = Bench::new(ONE);
    let first = bench.tick();
    bench.topics.put(bench.now.wall, TopicConfig::new(TopicName::new("T").unwrap(), 4, 6));
    let names = [TopicName::new("T").unwrap()];
    let told = bench.with(|registrar, now, facts, out| registrar.topics_changed(now, &names, facts, out));
    assert_eq!(codes(&told), []);
    bench.accept_all(&first);
    let again = bench.tick();
    let table = registered(again.last().unwrap()).topic_config_serialize_wrapper;
    assert_eq!(table.topic_config_table.len(), bench.topics.count());
}

#[test]
fn silence_a_refusal_and_a_lost_link_are_failures_that_are_tried_again_soon() {
    let mut bench = Bench::new(ONE);
    bench.tick();
    bench.pass(6_000);
    assert_eq!(codes(&bench.tick()), []);
    let Health::Failing { why, since } = bench.health(ONE) else { panic!("not failing") };
    assert_eq!((&*why, since), ("no answer within 6000 ms", bench.now.wall));
    let mut pauses = Vec::new();
    for _ in 0..7 {
        let due = bench.registrar.next_timer().unwrap();
        pauses.push((due - bench.now.mono).0);
        bench.pass(pauses[pauses.len() - 1]);
        let tried = bench.tick();
        assert_eq!(codes(&tried), [(ONE, 103)]);
        bench.event(ONE, LinkEvent::Down("refused"));
    }
    assert_eq!(pauses, [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
    bench.pass(30_000);
    let tried = bench.tick();
    bench.answer(&tried[0], code::SYSTEM_ERROR, &[], b"");
    let Health::Failing { why, .. } = bench.health(ONE) else { panic!("not failing") };
    assert!(why.contains("code 1"), "{why}");
    bench.pass(30_000);
    let tried = bench.tick();
    bench.accept_all(&tried);
    assert!(matches!(bench.health(ONE), Health::Registered { .. }));
    bench.event(ONE, LinkEvent::Down("gone"));
    assert_eq!(
        bench.registrar.next_timer(),
        Some(bench.now.mono + RETRY_MIN),
        "counted from the first again"
    );
}

#[test]
fn an_answer_is_matched_by_its_number() {
    let mut bench = Bench::new(ONE);
    let first = bench.tick();
    let mut stranger = first[0].header.clone();
    stranger.opaque += 77;
    let stranger = Sent { to: ONE.into(), header: stranger, body: vec![] };
    bench.answer(&stranger, code::SUCCESS, &[], b"");
    assert_eq!(bench.health(ONE), Health::New);
}

#[test]
fn the_list_of_name_servers_is_followed_while_running() {
    let mut bench = Bench::new(ONE);
    let first = bench.tick();
    bench.accept_all(&first);
    bench.options.broker.set("namesrvAddr", TWO).unwrap();
    bench.registrar.again(bench.now);
    let told = bench.tick();
    assert_eq!(codes(&told), [(ONE, 104), (TWO, 103)]);
    assert!(told[0].header.is_oneway());
    assert_eq!(bench.registrar.servers.len(), 1);
}

#[test]
fn a_broker_that_may_not_be_written_says_so_of_every_topic() {
    let mut bench = Bench::new(ONE);
    bench.options.broker.set("brokerPermission", "4").unwrap();
    let first = bench.tick();
    let table = registered(&first[0]).topic_config_serialize_wrapper;
    assert!(table.topic_config_table.values().all(|topic| topic.perm == 4));
}

#[test]
fn the_compressed_form_is_used_on_demand() {
    let mut bench = Bench::new(ONE);
    bench.options.broker.set("compressedRegister", "true").unwrap();
    let first = bench.tick();
    assert_eq!(first[0].header.get("compressed"), Some("true"));
    assert_eq!(
        registered(&first[0]).topic_config_serialize_wrapper.topic_config_table.len(),
        bench.topics.count()
    );
}

#[test]
fn without_force_only_a_difference_is_registered() {
    let mut bench = Bench::new(ONE);
    bench.options.broker.set("forceRegister", "false").unwrap();
    let first = bench.tick();
    bench.accept_all(&first);
    bench.pass(30_000);
    let asked = bench.tick();
    assert_eq!(codes(&asked), [(ONE, 105), (ONE, 322)]);
    bench.answer(&asked[0], code::TOPIC_NOT_EXIST, &[], b"");
    assert_eq!(codes(&bench.answer(&asked[1], code::SUCCESS, &[("changed", "false")], b"")), []);
    bench.pass(30_000);
    let asked = bench.tick();
    assert_eq!(codes(&bench.answer(&asked[1], code::SUCCESS, &[("changed", "true")], b"")), [(ONE, 103)]);
}

#[test]
fn another_broker_under_our_name_is_seen() {
    let mut bench = Bench::new(ONE);
    let first = bench.tick();
    bench.accept_all(&first);
    for (addr, rival) in [("10.9.9.9:10911", true), ("", false)] {
        bench.pass(30_000);
        let asked = bench.tick();
        let addr = if rival { addr.to_owned() } else { bench.options.store_host.to_string() };
        let route = format!(
            r#"{{"brokerDatas":[{{"brokerAddrs":{{"0":"{addr}"}},"brokerName":"b","cluster":"C"}}],"queueDatas":[]}}"#
        );
        bench.answer(&asked[0], code::SUCCESS, &[], route.as_bytes());
        assert_eq!(bench.registrar.rival(), rival.then_some(addr.as_str()));
        bench.accept_all(&asked);
    }
}

#[test]
fn a_stop_takes_leave_and_waits_a_moment_for_the_answer() {
    let mut bench = Bench::new(&format!("{ONE};{TWO}"));
    let first = bench.tick();
    bench.accept_all(&first[..1]);
    let leave = bench.with(|registrar, now, facts, out| registrar.stop(now, facts, out));
    assert_eq!(codes(&leave), [(ONE, 104)], "the other one knows nothing of this broker");
    assert!(!bench.registrar.is_gone());
    bench.answer(&leave[0], code::SUCCESS, &[], b"");
    assert!(bench.registrar.is_gone());

    let mut silent = Bench::new(ONE);
    let first = silent.tick();
    silent.accept_all(&first);
    silent.with(|registrar, now, facts, out| registrar.stop(now, facts, out));
    silent.pass(LEAVE_MS.0);
    assert_eq!(codes(&silent.tick()), []);
    assert!(silent.registrar.is_gone());
}

/// Whatever a name server sends, the registrar goes on.
#[test]
fn nonsense_from_a_name_server_is_a_failure_or_nothing() {
    let mut bench = Bench::new(ONE);
    bench.tick();
    let frame = Frame { codec: Codec::Json, header: b"{", body: b"" };
    bench.event(ONE, LinkEvent::Frame(frame));
    assert!(matches!(bench.health(ONE), Health::Failing { .. }));
    bench.event("1.2.3.4:5", LinkEvent::Down("unknown"));
}
