//! Hundreds of hostile frames against a running server, on both its ports.
//!
//! After each one the connection was answered with an error or closed, and the next good request is answered.
//! At the end memory has stayed within bounds, and everything that was acknowledged is there after a kill.

mod frames;
mod headers;
mod mutate;
mod requests;

use crate::{
    dev::send_v2,
    harness::{Answer, Dev, Dir, GOOD, Wire, request},
};
use kerolox_protocol::{code, header::Header, record};
use std::{collections::BTreeMap, net::SocketAddr};

/// Number of requests that are not as they should be.
pub const BAD: i32 = 660_066;
/// Topic that every good request is about.
pub const TOPIC: &str = "Good";
/// Anonymous memory that all the frames together may cost, in bytes.
const GROWTH_MAX: u64 = 64 << 20;

/// Whom a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    Namesrv,
    Broker,
}

/// What must come of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// An error code, or the end of the connection.
    Error,
    /// The end of the connection: where the next frame begins is not known.
    Closed,
    /// The end of the connection when no more bytes come, and no answer.
    Unfinished,
    /// An error code before the rest of a frame came that is too large, and the end when no more bytes come.
    Refused,
    /// No answer, and the connection goes on: nobody waits for one.
    Silence,
    /// Success: it looks odd, and clients do send it.
    Fine,
    /// Either is right: what matters is what comes after.
    Either,
}

/// One hostile input.
pub struct Case {
    pub name: String,
    pub to: To,
    /// Sent piece by piece.
    pub pieces: Vec<Vec<u8>>,
    pub wanted: Wanted,
}

impl Case {
    pub fn new(to: To, name: impl Into<String>, bytes: impl Into<Vec<u8>>, wanted: Wanted) -> Case {
        Case { name: name.into(), to, pieces: vec![bytes.into()], wanted }
    }
}

pub fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for to in [To::Namesrv, To::Broker] {
        cases.extend(frames::cases(to));
        cases.extend(headers::json(to));
        cases.extend(headers::binary(to));
    }
    cases.extend(requests::fields());
    cases.extend(requests::bodies());
    cases.extend(requests::sends());
    cases.extend(requests::batches());
    cases.extend(requests::reads());
    cases.extend(requests::routes());
    cases
}

/// A message that was acknowledged: topic, queue, offset.
type Place = (String, i32, i64);

/// The server under attack, and what it has promised.
struct Target {
    dev: Dev,
    acknowledged: Vec<Place>,
}

impl Target {
    fn start(dir: &Dir) -> Target {
        let dev = Dev::start(dir.path());
        let mut wire = Wire::connect(dev.broker);
        for _ in 0..8 {
            assert_eq!(wire.ask(310, &send_v2(TOPIC, 0), b"good").header.code, code::SUCCESS);
        }
        Target { dev, acknowledged: Vec::new() }
    }

    fn addr(&self, to: To) -> SocketAddr {
        match to {
            To::Namesrv => self.dev.namesrv,
            To::Broker => self.dev.broker,
        }
    }

    /// Sends one case; a text says what is wrong about the outcome.
    fn attack(&mut self, case: &Case) -> Result<(), String> {
        let mut wire = Wire::connect(self.addr(case.to));
        for piece in &case.pieces {
            wire.send(piece);
        }
        if matches!(case.wanted, Wanted::Unfinished | Wanted::Refused) {
            wire.finish();
        } else {
            wire.send(&good(case.to));
        }
        let (bad, closed) = self.collect(&mut wire, case.wanted);
        if let Some(answer) = bad.as_ref().filter(|answer| answer.header.code == code::SUCCESS) {
            self.acknowledged.extend(place(&case.pieces.concat(), &answer.header));
        }
        let outcome = match (&bad, closed) {
            (Some(answer), _) if answer.header.code == code::SUCCESS => "success".to_owned(),
            (Some(answer), _) => format!("error {}", answer.header.code),
            (None, true) => "closed".to_owned(),
            (None, false) => "silence".to_owned(),
        };
        let is_error = bad.as_ref().is_some_and(|answer| answer.header.code != code::SUCCESS);
        let fits = match case.wanted {
            Wanted::Error => is_error || closed,
            Wanted::Closed | Wanted::Unfinished => bad.is_none() && closed,
            Wanted::Refused => is_error && closed,
            Wanted::Silence => bad.is_none() && !closed,
            Wanted::Fine => bad.is_some() && !is_error,
            Wanted::Either => bad.is_some() || closed,
        };
        if fits {
            return Ok(());
        }
        let remark = bad.and_then(|answer| answer.header.remark);
        Err(format!("{:?} {}: wanted {:?}, got {outcome} {remark:?}", case.to, case.name, case.wanted))
    }

    /// The answer to the bad request, if any, and whether the connection ended before the good one was answered.
    fn collect(&self, wire: &mut Wire, wanted: Wanted) -> (Option<Answer>, bool) {
        let waits = matches!(wanted, Wanted::Error | Wanted::Fine | Wanted::Either);
        let (mut bad, mut good) = (None, false);
        // A header that cannot be read ends the connection, yet what came whole with it is still answered.
        let ends = matches!(wanted, Wanted::Closed | Wanted::Unfinished | Wanted::Refused);
        while !good || (waits && bad.is_none()) || ends {
            match wire.next() {
                None => return (bad, true),
                Some(answer) if answer.header.opaque == GOOD && answer.header.is_response() => good = true,
                Some(answer) => bad = Some(answer),
            }
        }
        (bad, false)
    }

    /// A new connection is served as if nothing had happened.
    fn is_well(&mut self, to: To) -> Result<(), String> {
        if !self.dev.server.is_running() {
            return Err(format!("the server is gone: {:#?}", self.dev.server.log()));
        }
        let Some(mut wire) = Wire::try_connect(self.addr(to)) else {
            return Err(format!("nobody listens: {:#?}", self.dev.server.log()));
        };
        wire.send(&good(to));
        match wire.next() {
            Some(answer) if answer.header.code == code::SUCCESS => Ok(()),
            other => Err(format!("the good request got {other:?}")),
        }
    }

    /// Every acknowledged message is where its answer said, whole.
    fn check_acknowledged(&self) {
        let mut wire = Wire::connect(self.dev.broker);
        for (topic, queue, offset) in &self.acknowledged {
            let (queue, offset) = (queue.to_string(), offset.to_string());
            let answer = wire.ask(11, &pull(topic, &queue, &offset), b"");
            let place = format!("{topic} {queue} {offset}");
            assert_eq!(answer.header.code, code::SUCCESS, "{place}: {:?}", answer.header.remark);
            let record = record::parse_all(&answer.body).next().expect("a record").expect("a whole record");
            assert_eq!(record.queue_offset.to_string(), offset, "{place}");
            assert!(record.crc_matches(), "{place}");
        }
    }
}

pub fn pull<'a>(topic: &'a str, queue: &'a str, offset: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("consumerGroup", "g"),
        ("topic", topic),
        ("queueId", queue),
        ("queueOffset", offset),
        ("maxMsgNums", "1"),
        ("sysFlag", "4"),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", "0"),
        ("subscription", "*"),
        ("subVersion", "0"),
        ("expressionType", "TAG"),
    ]
}

fn good(to: To) -> Vec<u8> {
    match to {
        To::Namesrv => request(105, GOOD, &[("topic", TOPIC)], b""),
        To::Broker => request(30, GOOD, &[("topic", TOPIC), ("queueId", "0")], b""),
    }
}

/// Where an acknowledged send says that its message is; a batch's first. Of other requests nothing. A message
/// that waits for its time or its transaction lies elsewhere than its answer says, as with the original.
fn place(sent: &[u8], answer: &Header) -> Option<Place> {
    let Ok(kerolox_protocol::frame::Split::Whole(frame, _)) =
        kerolox_protocol::frame::split(sent, sent.len())
    else {
        return None;
    };
    let header = Header::decode(frame.codec, frame.header).ok()?;
    let (topic, properties) = match header.code {
        310 | 320 => (header.get("b")?, header.get("i")),
        10 => (header.get("topic")?, header.get("properties")),
        _ => return None,
    };
    if properties.is_some_and(|text| text.contains("DELAY") || text.contains("TRAN_MSG")) {
        return None;
    }
    let number = |name| answer.get(name)?.parse::<i64>().ok();
    Some((topic.to_owned(), number("queueId")? as i32, number("queueOffset")?))
}

#[test]
fn no_malformed_frame_does_any_harm() {
    let dir = Dir::new();
    let mut target = Target::start(&dir);
    let cases = all();
    assert!(cases.len() >= 300, "only {} frames", cases.len());
    let names: BTreeMap<_, usize> = cases.iter().fold(BTreeMap::new(), |mut names, case| {
        *names.entry((case.to == To::Broker, case.name.as_str())).or_default() += 1;
        names
    });
    let twice: Vec<_> = names.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "a name is used twice: {twice:?}");

    let before = target.dev.server.anonymous_bytes();
    let mut wrong = Vec::new();
    for case in &cases {
        wrong.extend(target.attack(case).err());
        for to in [To::Namesrv, To::Broker] {
            if let Err(why) = target.is_well(to) {
                panic!("after {:?} {}: {why}", case.to, case.name);
            }
        }
    }
    let grown = target.dev.server.anonymous_bytes().saturating_sub(before);
    println!("{} frames, {} of {} MiB more memory", cases.len(), grown >> 20, GROWTH_MAX >> 20);
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    assert!(grown < GROWTH_MAX, "memory grew by {grown} bytes");
    assert!(target.acknowledged.len() > 20, "the odd sends were not tried");
    target.check_acknowledged();
    target.dev.send("Through", "commands");
    assert_eq!(target.dev.bodies("Through"), ["commands"]);
    restart_and_check(target, &dir);
}

/// A kill and a clean stop both keep what was acknowledged, find no damage, and sends go on.
fn restart_and_check(mut target: Target, dir: &Dir) {
    target.dev.server.kill();
    for round in 0..2 {
        target.dev = Dev::start(dir.path());
        target.check_acknowledged();
        let mut wire = Wire::connect(target.dev.broker);
        // Made anew, because the frames may have changed the template of topics.
        let topic = [
            ("topic", "After"),
            ("defaultTopic", "TBW102"),
            ("readQueueNums", "4"),
            ("writeQueueNums", "4"),
            ("perm", "6"),
            ("topicFilterType", "SINGLE_TAG"),
            ("topicSysFlag", "0"),
            ("order", "false"),
        ];
        assert_eq!(wire.ask(17, &topic, b"").header.code, code::SUCCESS);
        assert_eq!(wire.ask(310, &send_v2("After", round), b"all that").header.code, code::SUCCESS);
        target.acknowledged.push(("After".into(), round as i32, 0));
        target.check_acknowledged();
        let ended = target.dev.server.stop();
        assert_eq!(ended.status.code(), Some(0));
        for line in ended.err {
            assert!(!line.contains("damage") && !line.contains("torn"), "{line}");
        }
    }
}
