//! `cargo xtask compare`: the rows of the performance page, measured against the original in one run.
//!
//! Owns the protocol of a claim: both servers with fresh directories on one file system, started anew for every
//! row; the original warmed 20 s, ours 2 s; pairs interleaved A-B-B-A; the server that is not being loaded is
//! stopped (`SIGSTOP`), so that it costs nothing; pairs that others disturbed are repeated; limits of the machine
//! are measured again between the pairs. Before a row the memory of the machine is touched and the disk is looked at;
//! servers end with this process, however it ends. Knows no product code: it starts programs and reads their reports.

mod guard;
mod limits;
mod results;
mod rows;
mod servers;
mod slow;
mod start;

use anyhow::{Context, Result, bail};
use results::{Pair, Run, Side};
use rows::{Cell, Kind, ROWS, Row};
use serde_json::{Value, json};
use servers::{Echo, Server};
use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Foreign cores beyond which a pair is repeated.
const FOREIGN_MAX: f64 = 0.05;
/// Free disk that a row of sends or pulls needs: both stores, and what the original keeps ready.
const ROW_GIB: u64 = 30;
/// Where every run is kept.
const LEDGER: &str = "docs/ledger/performance.jsonl";
const PAGE: &str = "docs/performance.md";

/// What was asked for.
pub struct Options {
    rows: Vec<String>,
    pairs: usize,
    seconds: f64,
    retries: usize,
    port: u16,
    binary: Option<PathBuf>,
    dir: Option<PathBuf>,
    original: PathBuf,
    ours_only: bool,
    /// Percent of the backlogs of slow rows; less than all is a trial and not recorded.
    backlog: u32,
    record: bool,
}

impl Options {
    /// Reads the command line.
    pub fn parse(args: &[String]) -> Result<Options> {
        let mut options = Options {
            rows: ROWS.iter().map(|row| row.name.to_owned()).collect(),
            pairs: 5,
            seconds: 5.0,
            retries: 3,
            port: 29_000,
            binary: None,
            dir: None,
            original: PathBuf::from("../shared/original/original"),
            ours_only: false,
            backlog: 100,
            record: true,
        };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().with_context(|| format!("{arg} wants a value"));
            match arg.as_str() {
                "--rows" => options.rows = value()?.split(',').map(str::to_owned).collect(),
                "--pairs" => options.pairs = value()?.parse()?,
                "--seconds" => options.seconds = value()?.parse()?,
                "--retries" => options.retries = value()?.parse()?,
                "--port" => options.port = value()?.parse()?,
                "--binary" => options.binary = Some(PathBuf::from(value()?)),
                "--dir" => options.dir = Some(PathBuf::from(value()?)),
                "--original" => options.original = PathBuf::from(value()?),
                "--ours-only" => options.ours_only = true,
                "--backlog" => options.backlog = value()?.parse()?,
                "--no-record" => options.record = false,
                other => bail!("unknown option {other}"),
            }
        }
        options.record &= options.backlog == 100;
        for row in &options.rows {
            if !ROWS.iter().any(|known| known.name == row) {
                let known: Vec<_> = ROWS.iter().map(|row| row.name).collect();
                bail!("there is no row {row}; there are {}", known.join(","));
            }
        }
        Ok(options)
    }
}

/// Measures the rows, prints the table, and adds it to the page.
pub fn run(options: &Options) -> Result<()> {
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => {
            crate::run::cargo(&["build", "--release", "--locked", "--package", "kerolox"])?;
            crate::run::target_dir().join("release/kerolox")
        }
    };
    let binary = binary.canonicalize().with_context(|| format!("find {}", binary.display()))?;
    let dir = options.dir.clone().unwrap_or_else(|| crate::run::target_dir().join("compare"));
    std::fs::create_dir_all(&dir)?;
    let bench = Bench { binary, dir: dir.canonicalize()?, options, commit: crate::campaign::commit()? };
    let original = bench.original();
    if original.is_none() {
        println!("the original is not here: only ours and the limits are measured");
    }
    let mut lines = Vec::new();
    for row in ROWS.iter().filter(|row| options.rows.iter().any(|name| name == row.name)) {
        println!("\n== {} {}", row.name, row.what);
        // One row that fails must not cost the others.
        match bench.row(row, original.as_deref()) {
            Ok(found) => lines.extend(found),
            Err(why) => println!("{}: {why:#}", row.name),
        }
        // The next row has the disk to itself.
        for name in ["ours", "original", "start", "start-original"] {
            servers::fresh(&bench.dir.join(name))?;
        }
    }
    let table = results::table(&lines, &bench.facts());
    println!("\n{table}");
    if options.record && !lines.is_empty() {
        results::append_to_page(Path::new(PAGE), &table)?;
        println!("added to {PAGE}; every run is in {LEDGER}");
    }
    Ok(())
}

/// What all rows share.
struct Bench<'a> {
    binary: PathBuf,
    dir: PathBuf,
    options: &'a Options,
    commit: String,
}

impl Bench<'_> {
    fn original(&self) -> Option<PathBuf> {
        (!self.options.ours_only).then(|| self.options.original.canonicalize().ok()).flatten()
    }

    fn facts(&self) -> String {
        let Options { pairs, seconds, .. } = self.options;
        format!(
            "{}, commit {}; runs of {seconds} s, {pairs} pairs A-B-B-A unless the row says otherwise; the original: 4.9.7, heap 2 GiB, JDK defaults \
             of the script, its os.sh not applied",
            date(),
            self.commit
        )
    }

    fn row(&self, row: &Row, original: Option<&Path>) -> Result<Vec<results::Line>> {
        let _filled = guard::Filled::new(&self.dir)?;
        match row.kind {
            Kind::Start => return start::row(&self.binary, original, &self.dir, self.options.port, self),
            Kind::CatchUp => return slow::catch_up(self, original),
            Kind::Many => return slow::many(self, original),
            Kind::Recovery => return slow::recovery(self, original),
            Kind::Send | Kind::Pull => guard::room(&self.dir, row.name, ROW_GIB)?,
        }
        let ours = Server::ours(&self.binary, &self.dir.join("ours"), self.options.port, row.settings)?;
        let theirs = match original {
            Some(script) => {
                let port = self.options.port + 100;
                Some(Server::original(script, &self.dir.join("original"), port, row.settings)?)
            }
            None => None,
        };
        let warm = rows::WARM;
        self.load(&warm.args(), &ours, 2.0, 0.0)?;
        ours.pause()?;
        if let Some(theirs) = &theirs {
            println!("   warming the original for 20 s");
            self.load(&warm.args(), theirs, 20.0, 0.0)?;
            theirs.pause()?;
        }
        let mut lines = Vec::new();
        for cell in row.cells {
            if cell.kind == Kind::Pull {
                self.fill(&ours, &cell.topic())?;
                theirs.iter().try_for_each(|theirs| self.fill(theirs, &cell.topic()))?;
            }
            lines.push(self.cell(row, cell, &ours, theirs.as_ref())?);
        }
        Ok(lines)
    }

    /// One line of the table.
    fn cell(&self, row: &Row, cell: &Cell, ours: &Server, theirs: Option<&Server>) -> Result<results::Line> {
        let mut echoes = vec![self.echo(cell)?];
        let mut syncs = Vec::new();
        if row.settings.contains(&"flushDiskType=SYNC_FLUSH") {
            syncs.push(limits::fdatasync(&self.dir)?);
        }
        let mut pairs = Vec::new();
        for n in 0..self.options.pairs {
            let ours_first = n % 2 == 0;
            let mut best: Option<Pair> = None;
            for _ in 0..=self.options.retries {
                let pair = self.pair(row, cell, ours, theirs, ours_first, n)?;
                let calmer = best.as_ref().is_none_or(|best| pair.foreign() < best.foreign());
                if calmer {
                    best = Some(pair);
                }
                if best.as_ref().is_some_and(|best| best.foreign() <= FOREIGN_MAX) {
                    break;
                }
            }
            pairs.extend(best);
        }
        echoes.push(self.echo(cell)?);
        if !syncs.is_empty() {
            syncs.push(limits::fdatasync(&self.dir)?);
        }
        Ok(results::Line::new(row, cell, pairs, echoes, &syncs))
    }

    fn pair(
        &self,
        row: &Row,
        cell: &Cell,
        ours: &Server,
        theirs: Option<&Server>,
        ours_first: bool,
        n: usize,
    ) -> Result<Pair> {
        let run = |side: Side, server: &Server| -> Result<Run> {
            server.resume()?;
            let report = self.load(&cell.args(), server, self.options.seconds, 1.0);
            server.pause()?;
            let run = Run::of(report?)?;
            self.keep(row, cell, side, n, &run.report)?;
            println!("   {:<22} {side:<9} {run}", cell.name);
            Ok(run)
        };
        let Some(theirs) = theirs else {
            return Ok(Pair { ours: run(Side::Ours, ours)?, theirs: None });
        };
        if ours_first {
            let ours = run(Side::Ours, ours)?;
            Ok(Pair { ours, theirs: Some(run(Side::Original, theirs)?) })
        } else {
            let theirs = run(Side::Original, theirs)?;
            Ok(Pair { ours: run(Side::Ours, ours)?, theirs: Some(theirs) })
        }
    }

    /// The echo's rate for the cell's shape; there is none for pulls.
    fn echo(&self, cell: &Cell) -> Result<Option<f64>> {
        if cell.kind != Kind::Send {
            return Ok(None);
        }
        let echo = Echo::start(&self.binary)?;
        let report = self.bench(&cell.args(), &echo.addr, echo.pid(), self.options.seconds, 1.0)?;
        Ok(Some(Run::of(report)?.rate))
    }

    /// Fills a topic's four queues, both servers' alike, with messages sent one by one in turn: in the log the
    /// queues lie among each other, as they do when many producers send.
    fn fill(&self, server: &Server, topic: &str) -> Result<()> {
        server.resume()?;
        let args = ["send", "-c", "8", "-w", "64", "--topic", topic, "--messages", "400000"];
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        self.load(&args, server, 60.0, 0.0)?;
        server.pause()
    }

    fn load(&self, args: &[String], server: &Server, seconds: f64, warmup: f64) -> Result<Value> {
        server.resume()?;
        self.bench(args, &server.addr, server.pid, seconds, warmup)
    }

    fn bench(&self, args: &[String], addr: &str, pid: u32, seconds: f64, warmup: f64) -> Result<Value> {
        let (seconds, warmup, pid) = (seconds.to_string(), warmup.to_string(), pid.to_string());
        let common =
            ["--addr", addr, "--seconds", &seconds, "--warmup", &warmup, "--server-pid", &pid, "--json"];
        let output = Command::new(&self.binary)
            .arg("bench")
            .args(args)
            .args(common)
            .stderr(Stdio::inherit())
            .output()
            .context("start the loader")?;
        if !output.status.success() {
            bail!("the loader failed: {}", args.join(" "));
        }
        serde_json::from_slice(&output.stdout).context("read the loader's report")
    }

    /// Adds one run to the ledger.
    fn keep(&self, row: &Row, cell: &Cell, side: Side, pair: usize, report: &Value) -> Result<()> {
        if !self.options.record {
            return Ok(());
        }
        let line = json!({
            "row": row.name, "cell": cell.name, "side": side.to_string(), "pair": pair, "date": date(),
            "commit": self.commit, "settings": row.settings, "report": report,
        });
        append(Path::new(LEDGER), &line.to_string())
    }
}

fn append(path: &Path, line: &str) -> Result<()> {
    path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
    writeln!(file, "{line}").with_context(|| format!("write {}", path.display()))
}

fn output(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
}

fn date() -> String {
    output("date", &["-u", "+%F %H:%M UTC"])
}
