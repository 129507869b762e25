//! Rows that take minutes, with one or few pairs: catching up from a cold backlog (P11), many queues (P13), and
//! recovery (P18).
//!
//! One server lives at a time, and its store goes before the other's is made: each has the disk and the memory to
//! itself.

use super::{
    Bench, append, date, guard, results,
    results::{Line, Run, line_of, rate},
    rows,
    servers::{Again, End, Server},
    start::{answered, send},
};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

/// Both servers alike: what is further behind than this share of memory is cold.
const COLD: &[&str] = &["accessMessageInMemoryMaxRatio=10"];
/// Messages per second that are sent while a backlog is read.
const SENT: &str = "20000";
/// Queues of the recovery row, and messages in them: 10 GB.
const RECOVER_QUEUES: u32 = 10_000;
const RECOVER_MESSAGES: u64 = 8_500_000;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Ours,
    Original,
}

impl Bench<'_> {
    fn dir_of(&self, which: Which) -> (PathBuf, u16) {
        match which {
            Which::Ours => (self.dir.join("ours"), self.options.port),
            Which::Original => (self.dir.join("original"), self.options.port + 100),
        }
    }

    /// A warm server on a fresh directory.
    fn alone(&self, which: Which, original: Option<&Path>, settings: &[&str]) -> Result<Server> {
        let (dir, port) = self.dir_of(which);
        let server = match which {
            Which::Ours => Server::ours(&self.binary, &dir, port, settings)?,
            Which::Original => {
                Server::original(original.context("the original is not here")?, &dir, port, settings)?
            }
        };
        self.load(&rows::WARM.args(), &server, if which == Which::Ours { 2.0 } else { 20.0 }, 0.0)?;
        Ok(server)
    }

    /// Measures one side after the other, and clears its directory.
    fn sides<T>(
        &self,
        original: Option<&Path>,
        measure: impl Fn(Which) -> Result<T>,
    ) -> Result<(T, Option<Result<T>>)> {
        let one = |which| {
            let found = measure(which);
            let cleared = super::servers::fresh(&self.dir_of(which).0);
            found.and_then(|found| cleared.map(|()| found))
        };
        let ours = one(Which::Ours)?;
        // What the original cannot do is a result too.
        let theirs = original.map(|_| one(Which::Original));
        if let Some(Err(why)) = &theirs {
            println!("   the original: {why:#}");
        }
        Ok((ours, theirs))
    }

    /// Of a backlog or its room, what was asked for.
    fn part(&self, all: u64) -> u64 {
        all * u64::from(self.options.backlog) / 100
    }

    fn note(&self, row: &str, found: &Value) -> Result<()> {
        if !self.options.record {
            return Ok(());
        }
        let line = json!({"row": row, "date": date(), "commit": self.commit, "found": found});
        append(Path::new(super::LEDGER), &line.to_string())
    }

    fn topic(&self, server: &Server, topic: &str, queues: u32) -> Result<()> {
        let queues = queues.to_string();
        let output = Command::new(&self.binary)
            .args(["admin", "updateTopic", "-n", &server.ns, "-b", &server.addr, "-t", topic])
            .args(["-r", &queues, "-w", &queues])
            .stdout(Stdio::null())
            .output()?;
        if !output.status.success() {
            bail!("the topic {topic} was not made: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }
}

/// What reading a cold backlog came to.
struct CaughtUp {
    pull: Run,
    alone: Run,
    with: Run,
    /// MB per second of the disk: past the page cache, through it.
    limit: (f64, f64),
}

/// P11: body bytes and messages of the backlog; both are about 8 GB.
const BACKLOGS: &[(&str, u32, u32)] = &[("P11 1 KiB", 1_024, 7_000_000), ("P11 8 KiB", 8_192, 1_000_000)];

pub fn catch_up(bench: &Bench<'_>, original: Option<&Path>) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    for &(name, size, messages) in BACKLOGS {
        guard::room(&bench.dir, name, bench.part(14))?;
        let (ours, theirs) =
            bench.sides(original, |which| caught_up(bench, which, original, name, size, messages))?;
        lines.push(catch_up_line(name, &ours, theirs.as_ref().and_then(|found| found.as_ref().ok())));
    }
    Ok(lines)
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn caught_up(
    bench: &Bench<'_>,
    which: Which,
    original: Option<&Path>,
    name: &str,
    size: u32,
    messages: u32,
) -> Result<CaughtUp> {
    let server = bench.alone(which, original, COLD)?;
    let messages = bench.part(messages.into());
    let fill = format!("send -c 8 -w 16 --size {size} --topic Cold --messages {messages}");
    bench.load(&words(&fill), &server, 400.0, 0.0)?;
    let log = server.store.join("commitlog");
    guard::drop_cached(&server.store)?;
    let file = |number: u64| log.join(format!("{:020}", number << 30));
    let limit = guard::read_limit(&file(4.min(bench.part(6))), &file(5.min(bench.part(7))))?;
    let tail = words(&format!("send -c 64 -w 4 --rate {SENT} --topic Tail"));
    let seconds = bench.options.seconds;
    let alone = Run::of(bench.load(&tail, &server, seconds, 1.0)?)?;
    guard::drop_cached(&server.store)?;
    let pull = words("pull -c 4 --count 32 --topic Cold");
    let (pull, with) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| bench.load(&pull, &server, seconds, 1.0));
        let with = bench.load(&tail, &server, seconds, 1.0);
        (reader.join(), with)
    });
    let pull = pull.ok().context("the reading load ended")??;
    let found = CaughtUp { pull: Run::of(pull)?, alone, with: Run::of(with?)?, limit };
    println!("   {name} {which:?}: pull {}", found.pull);
    println!("   {name} {which:?}: send alone {}", found.alone);
    println!("   {name} {which:?}: send meanwhile {}", found.with);
    println!("   disk {:.0} MB/s direct, {:.0} MB/s through the page cache", found.limit.0, found.limit.1);
    let (pull, alone, with) = (&found.pull.report, &found.alone.report, &found.with.report);
    bench.note(
        name,
        &json!({"side": format!("{which:?}"), "settings": COLD, "pull": pull, "send_alone": alone,
            "send_meanwhile": with, "disk_mb_per_s": {"direct": limit.0, "buffered": limit.1}}),
    )?;
    Ok(found)
}

fn catch_up_line(name: &str, ours: &CaughtUp, theirs: Option<&CaughtUp>) -> Line {
    let mb = |found: &CaughtUp| found.pull.report["received_mb_per_s"].as_f64().unwrap_or(0.0);
    // Through the page cache it came to 0.6 GB/s, and to 3.6 where something below this machine knew the bytes.
    let limit = ours.limit.0;
    let rises = |found: &CaughtUp| {
        format!(
            "{:.0} -> {:.0} ({:.1}x)",
            found.alone.p99_us,
            found.with.p99_us,
            found.with.p99_us / found.alone.p99_us
        )
    };
    let ratio = theirs.map(|theirs| ours.pull.rate / theirs.pull.rate);
    let share = mb(ours) / limit;
    let calm = ours.with.p99_us <= 2.0 * ours.alone.p99_us;
    let met = if share >= 0.8 && calm && ratio.is_some_and(|ratio| ratio >= 4.0) { "met" } else { "NOT met" };
    let show = |found: &CaughtUp| format!("{} = {:.0} MB/s", rate(found.pull.rate), mb(found));
    let or_none = |text: Option<String>| text.unwrap_or("-".into());
    line_of(vec![
        name.into(),
        format!("c4 pull of 8 GB cold while {SENT}/s are sent; {}; one pair", COLD.join(" ")),
        show(ours),
        or_none(theirs.map(show)),
        or_none(ratio.map(|ratio| format!("{ratio:.1}"))),
        format!("4.0, 0.8 of the disk, send p99 <= 2x: {met}"),
        format!("disk {limit:.0} MB/s = {:.0} %", 100.0 * share),
        format!("{:.0} / {}", ours.pull.p50_us, or_none(theirs.map(|t| format!("{:.0}", t.pull.p50_us)))),
        format!("send: {} / {}", rises(ours), or_none(theirs.map(rises))),
        format!("{:.2}", ours.pull.cpu_per_million),
        format!(
            "{:.0} / {}",
            ours.pull.rss_anon_mib,
            or_none(theirs.map(|t| format!("{:.0}", t.pull.rss_anon_mib)))
        ),
    ])
}

/// P13: queues of the topics that are compared with one of four.
const MANY: &[u32] = &[4, 10_000, 50_000];

/// What one side did: per number of queues, the first touch and the runs after it.
type Touched = Vec<(u32, Result<(Run, Vec<Run>)>)>;

pub fn many(bench: &Bench<'_>, original: Option<&Path>) -> Result<Vec<Line>> {
    guard::room(&bench.dir, "P13", bench.part(12))?;
    let pairs = bench.options.pairs.min(2);
    let (ours, theirs) = bench.sides(original, |which| touched(bench, which, original, pairs))?;
    let theirs = theirs.and_then(Result::ok);
    let mut lines = Vec::new();
    for (n, (queues, found)) in ours.iter().enumerate() {
        let of = |side: &Touched| {
            let base = side.first().and_then(|(_, found)| median(&found.as_ref().ok()?.1));
            let (first, runs) = match side.get(n).map(|(_, found)| found) {
                Some(Ok(found)) => (&found.0, &found.1),
                Some(Err(why)) => return (format!("{why:#}"), None, None),
                None => return ("-".into(), None, None),
            };
            let rate_now = median(runs);
            let share = rate_now.zip(base).map(|(now, base)| now / base);
            let text = format!(
                "{}{}; first touch {}",
                rate(rate_now.unwrap_or(0.0)),
                share.map_or(String::new(), |share| format!(" = {:.0} % of 4 queues", 100.0 * share)),
                rate(first.rate)
            );
            (text, rate_now, share)
        };
        let (text, rate_now, share) = of(&ours);
        let (their_text, their_rate, _) = theirs.as_ref().map_or(("-".into(), None, None), of);
        let floor = if *queues >= 50_000 { 0.90 } else { 0.95 };
        let memory = found.as_ref().ok().and_then(|found| found.1.last()).map_or(0.0, |run| run.rss_anon_mib);
        let met =
            if share.is_some_and(|share| share >= floor) && memory <= 300.0 { "met" } else { "NOT met" };
        let ratio = rate_now.zip(their_rate).map(|(ours, theirs)| format!("{:.1}", ours / theirs));
        let last = |pick: fn(&Run) -> f64| found.as_ref().ok().and_then(|f| f.1.last()).map_or(0.0, pick);
        lines.push(line_of(vec![
            format!("P13 {queues} queues"),
            format!("c64 w1 json, all queues in turn; {pairs} runs, sides one after the other"),
            text,
            their_text,
            ratio.unwrap_or("-".into()),
            format!("{floor} of 4 queues, 300 MiB: {met}"),
            "none".into(),
            format!("{:.0}", last(|run| run.p50_us)),
            format!("{:.0}", last(|run| run.p99_us)),
            format!("{:.2}", last(|run| run.cpu_per_million)),
            format!("{memory:.0}"),
        ]));
    }
    Ok(lines)
}

fn median(runs: &[Run]) -> Option<f64> {
    results::spread(runs.iter().map(|run| run.rate)).map(|spread| spread.median)
}

fn touched(bench: &Bench<'_>, which: Which, original: Option<&Path>, pairs: usize) -> Result<Touched> {
    let server = bench.alone(which, original, &[])?;
    let run = |queues: u32, seconds: f64, warmup: f64| -> Result<Run> {
        let args = words(&format!("send -c 64 --topic Many{queues} --queues {queues}"));
        let run = Run::of(bench.load(&args, &server, seconds, warmup)?)?;
        println!("   P13 {queues:>6} queues {which:?}: {run}, {:.0} MiB", run.rss_anon_mib);
        bench.note(
            "P13",
            &json!({"side": format!("{which:?}"), "queues": queues, "warmup": warmup, "report": run.report}),
        )?;
        Ok(run)
    };
    let mut found: Touched = Vec::new();
    for &queues in MANY {
        let first =
            bench.topic(&server, &format!("Many{queues}"), queues).and_then(|()| run(queues, 5.0, 0.0));
        found.push((queues, first.map(|first| (first, Vec::new()))));
    }
    for _ in 0..pairs {
        for (queues, found) in &mut found {
            let Ok((_, runs)) = found else { continue };
            match run(*queues, bench.options.seconds, 2.0) {
                Ok(run) => runs.push(run),
                Err(why) => *found = Err(why),
            }
        }
    }
    Ok(found)
}

/// Times of starts and of a stop, in seconds.
#[derive(Debug, Default)]
struct Recovered {
    killed_hot: Vec<f64>,
    killed_cold: Option<f64>,
    stop: f64,
    stopped: f64,
}

pub fn recovery(bench: &Bench<'_>, original: Option<&Path>) -> Result<Vec<Line>> {
    guard::room(&bench.dir, "P18", bench.part(16))?;
    let (ours, theirs) = bench.sides(original, |which| recovered(bench, which, original))?;
    let theirs = theirs.and_then(Result::ok);
    let line = |name: &str, what: &str, floor: f64, pick: &dyn Fn(&Recovered) -> Option<f64>| {
        let (found, peer) = (pick(&ours), theirs.as_ref().and_then(pick));
        let show =
            |found: Option<f64>| found.map_or("-".into(), |seconds| format!("{:.0} ms", seconds * 1e3));
        let met = if found.is_some_and(|found| found <= floor) { "met" } else { "NOT met" };
        let ratio = found.zip(peer).map_or("-".into(), |(ours, theirs)| format!("{:.0}", theirs / ours));
        let floor = format!("{:.0} ms: {met}", floor * 1e3);
        line_of(vec![name.into(), what.into(), show(found), show(peer), ratio, floor])
    };
    let worst = |found: &Recovered| found.killed_hot.iter().copied().reduce(f64::max);
    Ok(vec![
        line(
            "P18 killed, hot",
            "kill -9 with 10 GB and 10,000 queues to the first answer; worst of 3",
            1.0,
            &worst,
        ),
        line("P18 killed, cold", "the same, nothing of the store in memory; once", 3.0, &|found| {
            found.killed_cold
        }),
        line("P18 stopped", "start after a clean stop to the first answer; once", 0.3, &|found| {
            Some(found.stopped)
        }),
        line("P18 stop", "the clean stop itself; once, no floor", f64::INFINITY, &|found| Some(found.stop)),
    ])
}

fn recovered(bench: &Bench<'_>, which: Which, original: Option<&Path>) -> Result<Recovered> {
    let mut server = bench.alone(which, original, &[])?;
    bench.topic(&server, "Recover", RECOVER_QUEUES)?;
    let messages = bench.part(RECOVER_MESSAGES);
    let fill = format!("send -c 8 -w 16 --topic Recover --queues {RECOVER_QUEUES} --messages {messages}");
    bench.load(&words(&fill), &server, 400.0, 0.0)?;
    let (dir, port) = bench.dir_of(which);
    let mut found = Recovered::default();
    let more = words(&format!("send -c 64 --topic Recover --queues {RECOVER_QUEUES}"));
    let again = |server: &mut Server, how: End, between: &dyn Fn() -> Result<()>| -> Result<(f64, f64)> {
        // Something new each time, so that a kill leaves work.
        bench.load(&more, server, 3.0, 0.0)?;
        let again = Again { binary: &bench.binary, dir: &dir, port, between };
        let (end, began) = server.end_and_start(how, &again)?;
        let ms = answered(&server.addr, &send(), began)?;
        server.settle(Duration::from_secs(60))?;
        println!("   P18 {which:?} {how:?}: end {:.1} s, first answer after {ms:.0} ms", end.as_secs_f64());
        Ok((end.as_secs_f64(), ms / 1e3))
    };
    for _ in 0..3 {
        found.killed_hot.push(again(&mut server, End::Kill, &|| Ok(()))?.1);
    }
    let store = server.store.clone();
    found.killed_cold = Some(again(&mut server, End::Kill, &|| guard::drop_cached(&store))?.1);
    (found.stop, found.stopped) = again(&mut server, End::Stop, &|| Ok(()))?;
    bench.note(
        "P18",
        &json!({"side": format!("{which:?}"), "killed_hot_s": found.killed_hot, "killed_cold_s": found.killed_cold,
            "stop_s": found.stop, "stopped_s": found.stopped}),
    )?;
    Ok(found)
}
