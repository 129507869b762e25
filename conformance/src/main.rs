//! Unmodified foreign clients against a broker: one command, a result line per case, one closing count.
//!
//! ```text
//! cargo run -p conformance -- [--target kerolox|original] [--bin PATH] [--only PATTERN] [--quick]
//!                             [--jobs N] [--bulk COUNT] [--no-bulk]
//! ```
//! Owns the order of things and the report. See the folder's README for what runs and what is promised.

mod bulk;
mod handover;
mod server;
mod suites;
mod verdict;

use std::collections::{BTreeSet, VecDeque};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ExitCode, Stdio};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use server::{Server, Target};
use suites::{Place, Suite};
use verdict::{AllowList, Outcome, Tally, Transcript};

/// A suite that has not ended by then is killed; its cases without a result fail.
const SUITE_LIMIT: Duration = Duration::from_secs(240);
const BULK: &str = "bulk";
const HANDOVER: &str = "store-handover";

fn main() -> ExitCode {
    let run = Args::parse(std::env::args().skip(1)).and_then(|args| Run::new(args)?.all());
    match run {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(cause) => {
            eprintln!("conformance: {cause:#}");
            ExitCode::FAILURE
        }
    }
}

struct Args {
    original: bool,
    binary: Option<PathBuf>,
    only: Option<String>,
    jobs: usize,
    /// Messages of a bulk case; 0 for none.
    bulk: usize,
}

impl Args {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Args> {
        let mut parsed = Args { original: false, binary: None, only: None, jobs: 3, bulk: 1_000_000 };
        while let Some(flag) = args.next() {
            let mut value = || args.next().with_context(|| format!("{flag} needs a value"));
            match flag.as_str() {
                "--target" => {
                    parsed.original = match value()?.as_str() {
                        "original" => true,
                        "kerolox" => false,
                        other => bail!("--target is kerolox or original, not {other}"),
                    }
                }
                "--bin" => parsed.binary = Some(PathBuf::from(value()?)),
                "--only" => parsed.only = Some(value()?),
                "--jobs" => parsed.jobs = value()?.parse().context("--jobs")?,
                "--bulk" => parsed.bulk = value()?.parse().context("--bulk")?,
                "--quick" | "--no-bulk" => parsed.bulk = 0,
                _ => bail!("unknown flag {flag}; see conformance/README.md"),
            }
        }
        Ok(parsed)
    }
}

struct Run {
    args: Args,
    place: Place,
    target: Option<Target>,
    allow: AllowList,
    in_ci: bool,
    report: Mutex<Report>,
}

#[derive(Default)]
struct Report {
    tally: Tally,
    seen: BTreeSet<String>,
    ran: Vec<&'static str>,
    open: usize,
}

impl Run {
    fn new(args: Args) -> Result<Run> {
        let home = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let work = home.join("work");
        fs::create_dir_all(&work)?;
        let allow = AllowList::parse(&fs::read_to_string(home.join("allow.txt"))?);
        let target = target(&args, &home)?;
        let in_ci = std::env::var("CI").is_ok_and(|value| value == "true");
        Ok(Run { args, place: Place { home, work }, target, allow, in_ci, report: Mutex::default() })
    }

    /// Runs everything asked for; false when something that must pass did not.
    fn all(&self) -> Result<bool> {
        let Some(target) = &self.target else {
            println!("SKIP all: the original's starter is not at ../shared/original/original");
            println!("{}", Tally { passed: 0, failed: 0, skipped: 1 });
            return Ok(true);
        };
        let dir = self.place.work.join(format!("run-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        let (alone, together): (Vec<_>, Vec<_>) = suites::ALL
            .iter()
            .filter(|suite| self.pattern_of(suite.name).is_some())
            .partition(|suite| suite.alone);
        if !alone.is_empty() || !together.is_empty() {
            match Server::start(target, &dir.join("server")) {
                Ok(server) => self.suites(server, together, alone),
                Err(cause) => self.case("server", "start", Outcome::Fail(format!("{cause:#}"))),
            }
        }
        self.bulk(target, &dir);
        self.handover(target, &dir);
        let good = self.close()?;
        if good {
            // After a failure the servers' logs are wanted.
            let _ = fs::remove_dir_all(&dir);
        }
        Ok(good)
    }

    fn suites(&self, server: Server, together: Vec<&'static Suite>, alone: Vec<&'static Suite>) {
        self.side_by_side(&server, together);
        for suite in alone {
            self.suite(&server, suite);
        }
        if !server.answers() {
            self.case("server", "alive", Outcome::Fail("the broker died while clients used it".to_owned()));
        }
    }

    /// The case pattern for this suite, or `None` when `--only` leaves the suite out.
    fn pattern_of(&self, suite: &str) -> Option<&str> {
        let Some(only) = &self.args.only else { return Some("") };
        if let Some((of_suite, case)) = only.split_once('/') {
            return (of_suite == suite).then_some(case);
        }
        let names_a_suite =
            suites::ALL.iter().any(|each| each.name == only) || [BULK, HANDOVER].contains(&only.as_str());
        if names_a_suite { (only == suite).then_some("") } else { Some(only) }
    }

    fn side_by_side(&self, server: &Server, suites: Vec<&'static Suite>) {
        let queue = Mutex::new(VecDeque::from(suites));
        thread::scope(|scope| {
            for _ in 0..self.args.jobs.max(1) {
                scope.spawn(|| {
                    while let Some(suite) = queue.lock().ok().and_then(|mut queue| queue.pop_front()) {
                        self.suite(server, suite);
                    }
                });
            }
        });
    }

    fn suite(&self, server: &Server, suite: &'static Suite) {
        if let Some(tool) = suite.missing_tool() {
            self.skip(suite.name, &format!("{tool} is not on the PATH"));
            return;
        }
        let start = Instant::now();
        let pattern = self.pattern_of(suite.name).unwrap_or_default();
        match self.run_suite(server, suite, pattern) {
            Ok((transcript, how_ended)) => {
                self.notes(suite.name, &transcript.notes);
                let cases = transcript.cases(&how_ended);
                if cases.is_empty() && self.args.only.is_none() {
                    self.case(
                        suite.name,
                        "start",
                        Outcome::Fail(format!("no case at all; its program {how_ended}")),
                    );
                }
                let count = cases.len();
                for (case, outcome) in cases {
                    let outcome = self.once_more(server, suite, &case, outcome);
                    self.case(suite.name, &case, outcome);
                }
                if count > 0 {
                    println!("NOTE {}: {count} cases in {:.1?}", suite.name, start.elapsed());
                }
                if self.args.only.is_none() {
                    self.with(|report| report.ran.push(suite.name));
                }
            }
            Err(cause) => self.case(suite.name, "build", Outcome::Fail(format!("{cause:#}"))),
        }
    }

    /// A promised case that failed is tried once more: these are real clients with clocks of their own, on a machine
    /// that may be busy. The first reason is printed either way, so that a case that needs this often is seen.
    fn once_more(&self, server: &Server, suite: &Suite, case: &str, first: Outcome) -> Outcome {
        let Outcome::Fail(reason) = &first else { return first };
        if !self.allow.has(&format!("{}/{case}", suite.name)) {
            return first;
        }
        println!("NOTE {}/{case}: failed at first, tried once more: {reason}", suite.name);
        let second = self.run_suite(server, suite, case).map(|(transcript, end)| transcript.cases(&end));
        let second = second.ok().and_then(|cases| cases.into_iter().find(|(name, _)| name == case));
        second.map_or(first, |(_, outcome)| outcome)
    }

    fn run_suite(&self, server: &Server, suite: &Suite, pattern: &str) -> Result<(Transcript, String)> {
        self.build(suite)?;
        let mut command = suite.command(&self.place, &server.namesrv(), &server.broker(), pattern)?;
        let errors = File::create(self.place.log(suite.name)?)?;
        let child = command.stdout(Stdio::piped()).stderr(errors).spawn().context("start its program")?;
        watch(child)
    }

    /// One build at a time: the Java suites share their classes.
    fn build(&self, suite: &Suite) -> Result<()> {
        static BUILDING: Mutex<()> = Mutex::new(());
        let _one = BUILDING.lock();
        suite.build(&self.place)
    }

    fn bulk(&self, target: &Target, dir: &std::path::Path) {
        let Some(pattern) = self.pattern_of(BULK).filter(|_| self.args.bulk > 0) else { return };
        let wanted: Vec<_> = [("steady", false), ("kill", true)]
            .into_iter()
            .filter(|(name, _)| name.contains(pattern))
            .collect();
        if wanted.is_empty() {
            return;
        }
        if let Some(tool) =
            suites::ALL.iter().find(|suite| suite.name == "java").and_then(Suite::missing_tool)
        {
            self.skip(BULK, &format!("{tool} is not on the PATH"));
            return;
        }
        for (name, kill) in wanted {
            let dir = dir.join(format!("bulk-{name}"));
            let result = self
                .place
                .build_java()
                .and_then(|()| bulk::run(&self.place, target, &dir, self.args.bulk, kill));
            match result {
                Ok(report) => {
                    self.notes(&format!("{BULK}/{name}"), &[report.note]);
                    self.case(BULK, name, Outcome::Pass);
                    bulk::clean(&dir);
                }
                Err(cause) => self.case(BULK, name, Outcome::Fail(format!("{cause:#}"))),
            }
        }
        if self.args.only.is_none() {
            self.with(|report| report.ran.push(BULK));
        }
    }

    /// One store, two brokers in turns. Needs both, so it runs only with Kerolox as the target.
    fn handover(&self, target: &Target, dir: &std::path::Path) {
        // As long as a bulk run, so it is left out with them.
        let pattern = self.pattern_of(HANDOVER).filter(|_| self.args.bulk > 0 && !self.args.original);
        let Some(pattern) = pattern else { return };
        let wanted: Vec<_> = [("stopped", false), ("killed", true)]
            .into_iter()
            .filter(|(name, _)| name.contains(pattern))
            .collect();
        if wanted.is_empty() {
            return;
        }
        let script = original_script(&self.place.home);
        let Some(script) = script.filter(|script| script.is_file()) else {
            self.skip(HANDOVER, "the original's starter is not at ../shared/original/original");
            return;
        };
        let original = Target::Original(script);
        for (name, kill) in wanted {
            let dir = dir.join(format!("handover-{name}"));
            let result = self
                .place
                .build_java()
                .and_then(|()| handover::run(&self.place, &original, target, &dir, kill));
            match result {
                Ok(note) => {
                    self.notes(&format!("{HANDOVER}/{name}"), &[note]);
                    self.case(HANDOVER, name, Outcome::Pass);
                }
                Err(cause) => self.case(HANDOVER, name, Outcome::Fail(format!("{cause:#}"))),
            }
        }
        if self.args.only.is_none() {
            self.with(|report| report.ran.push(HANDOVER));
        }
    }

    fn with(&self, change: impl FnOnce(&mut Report)) {
        match self.report.lock() {
            Ok(mut report) => change(&mut report),
            Err(poisoned) => change(&mut poisoned.into_inner()),
        }
    }

    fn notes(&self, name: &str, notes: &[String]) {
        for note in notes {
            println!("NOTE {name}: {note}");
        }
    }

    fn skip(&self, suite: &str, reason: &str) {
        if self.in_ci {
            self.case(suite, "tools", Outcome::Fail(format!("{reason}, and CI must have it")));
            return;
        }
        println!("SKIP {suite}: {reason}");
        self.with(|report| report.tally.skipped += 1);
    }

    /// Says and counts one result. Against the original every case must pass, else the case itself is wrong.
    fn case(&self, suite: &str, case: &str, outcome: Outcome) {
        let name = format!("{suite}/{case}");
        // A program that was not built or found has no cases to look up: that fails any run.
        let is_harness = matches!(case, "build" | "start" | "tools" | "alive");
        let must_pass = is_harness || self.args.original || self.allow.has(&name);
        self.with(|report| {
            match &outcome {
                Outcome::Pass => {
                    println!("PASS {name}");
                    report.tally.passed += 1;
                    if !must_pass {
                        println!("NOTE {name}: passes and is not in allow.txt: add me");
                    }
                }
                Outcome::Fail(reason) if must_pass => {
                    println!("FAIL {name}: {reason}");
                    report.tally.failed += 1;
                }
                Outcome::Fail(reason) => {
                    println!("OPEN {name}: {reason}");
                    report.tally.skipped += 1;
                    report.open += 1;
                }
            }
            report.seen.insert(name);
        });
    }

    fn close(&self) -> Result<bool> {
        let lost: Vec<String> = {
            let report = self.report.lock().ok().context("a result was lost to a panic")?;
            self.allow.lost(&report.ran, &report.seen).map(str::to_owned).collect()
        };
        for name in lost {
            println!("FAIL {name}: in allow.txt, but no program has this case");
            self.with(|report| report.tally.failed += 1);
        }
        let report = self.report.lock().ok().context("a result was lost to a panic")?;
        if report.open > 0 {
            println!(
                "NOTE {} cases fail that allow.txt does not promise yet; they count as skipped",
                report.open
            );
        }
        println!("{}", report.tally);
        Ok(report.tally.failed == 0)
    }
}

/// The servers to run against; `None` when the original was asked for and is not here.
fn target(args: &Args, home: &std::path::Path) -> Result<Option<Target>> {
    let root = home.parent().context("the repository's root")?;
    if args.original {
        let script = original_script(home).filter(|script| script.is_file());
        return Ok(script.map(Target::Original));
    }
    if let Some(binary) = &args.binary {
        return Ok(Some(Target::Kerolox(
            fs::canonicalize(binary).with_context(|| binary.display().to_string())?,
        )));
    }
    let folder = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let found = ["release/kerolox", "debug/kerolox"]
        .map(|name| folder.join(name))
        .into_iter()
        .find(|path| path.is_file());
    let binary = found.with_context(|| {
        format!(
            "no kerolox binary below {}: run `cargo build --release` first, or name one with --bin",
            folder.display()
        )
    })?;
    Ok(Some(Target::Kerolox(binary)))
}

/// Where the original's starter is, if anywhere.
fn original_script(home: &std::path::Path) -> Option<PathBuf> {
    let usual = || home.parent().map(|root| root.join("../shared/original/original"));
    std::env::var_os("ORIGINAL_SCRIPT").map(PathBuf::from).or_else(usual)
}

/// Reads a suite's result lines until its program ends or its time is over; also says how it ended.
fn watch(mut child: Child) -> Result<(Transcript, String)> {
    let out = child.stdout.take().context("its output")?;
    let (lines, arriving) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                break;
            }
        }
    });
    let end = Instant::now() + SUITE_LIMIT;
    let mut transcript = Transcript::default();
    loop {
        match arriving.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => transcript.line(&line),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                return Ok((transcript, format!("ended with {}", child.wait()?)));
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                child.kill()?;
                child.wait()?;
                return Ok((transcript, format!("was killed after {SUITE_LIMIT:?}")));
            }
        }
    }
}
