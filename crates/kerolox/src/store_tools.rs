//! `kerolox store`: looking at a store, and repairing it, while no broker has it.
//!
//! Owns arguments, printing, the progress bar and the lock; what is found is in [`kerolox_store::tools`].

use crate::settings;
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use kerolox_config::{File, Role};
use kerolox_protocol::{Millis, msgid, properties, record::Record};
use kerolox_store::{
    disk::{Disk, real::RealDisk},
    tools::{
        Severity, Unread,
        dump::{self, Located, Place, Searched, Select, Sought},
        repair, stat,
        verify::{self, Verified},
    },
};
use std::{
    io::{self, IsTerminal, Write},
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

/// Looks at a store directory.
#[derive(Debug, Subcommand)]
pub enum Store {
    /// Print sizes, counts, offsets and times.
    Stat(Common),
    /// Check that log, queues, index and configuration are whole and agree. Ends with 1 if not.
    Verify(Common),
    /// Print records.
    Dump(Dump),
    /// Find one record and show where and how it lies.
    Locate(Locate),
    /// Put right what `verify` finds and can be put right; without `--apply` only say what that is.
    Repair {
        #[command(flatten)]
        common: Common,
        /// Do it. What is removed is copied to `kerolox.repair-TIME` in the store first.
        #[arg(long)]
        apply: bool,
    },
}

/// What every verb takes.
#[derive(Debug, Args)]
pub struct Common {
    /// The store: `storePathRootDir`.
    dir: PathBuf,
    /// Answer as JSON.
    #[arg(long)]
    json: bool,
    /// Read although a broker has the store; what it is just writing may look damaged.
    #[arg(long)]
    force: bool,
    /// The broker's configuration file, if sizes, paths or delay levels are not the usual ones.
    #[arg(short = 'c', long)]
    config: Option<String>,
    /// Any key of `broker.conf`, as `maxIndexNum=1000`.
    settings: Vec<String>,
}

/// How bodies are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Body {
    /// As text; what is no UTF-8 is replaced.
    Utf8,
    /// In hexadecimal.
    Hex,
    /// Not at all.
    None,
}

/// Options of `dump`.
#[derive(Debug, Args)]
pub struct Dump {
    #[command(flatten)]
    common: Common,
    /// Only of this topic.
    #[arg(long)]
    topic: Option<String>,
    /// Only of this queue.
    #[arg(long)]
    queue: Option<u32>,
    /// From this queue offset on.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// To before this queue offset.
    #[arg(long, default_value_t = u64::MAX)]
    to: u64,
    /// From this position of the log on.
    #[arg(long, default_value_t = 0)]
    from_log: u64,
    /// To before this position of the log.
    #[arg(long, default_value_t = u64::MAX)]
    to_log: u64,
    /// Stored at or after this time, Unix milliseconds.
    #[arg(long, default_value_t = i64::MIN)]
    since: i64,
    /// Stored at or before this time, Unix milliseconds.
    #[arg(long, default_value_t = i64::MAX)]
    until: i64,
    /// At most so many.
    #[arg(long, default_value_t = u64::MAX)]
    limit: u64,
    /// How bodies are printed.
    #[arg(long, value_enum, default_value_t = Body::Utf8)]
    body: Body,
}

/// Options of `locate`.
#[derive(Debug, Args)]
pub struct Locate {
    #[command(flatten)]
    common: Common,
    /// The offset message id, or the position in the log.
    #[arg(long, group = "sought")]
    id: Option<String>,
    /// A key or unique key; quick with a topic, else the whole log is read.
    #[arg(long, group = "sought")]
    key: Option<String>,
    /// An offset of a queue; needs a topic and a queue.
    #[arg(long, group = "sought", requires_all = ["topic", "queue"])]
    offset: Option<u64>,
    /// A time, Unix milliseconds: the first message of a queue that is not older.
    #[arg(long, group = "sought", requires_all = ["topic", "queue"])]
    time: Option<i64>,
    /// Topic.
    #[arg(long)]
    topic: Option<String>,
    /// Queue.
    #[arg(long)]
    queue: Option<u32>,
    /// At most so many.
    #[arg(long, default_value_t = 8)]
    limit: usize,
}

/// Runs a verb. The answer is whether the process ends well.
pub fn run(verb: Store) -> Result<bool> {
    match verb {
        Store::Stat(common) => {
            let place = Opened::new(&common)?;
            let mut bar = Bar::new();
            let stat = stat::stat(&*place.disk, &place.options, &mut |done, total| bar.show(done, total));
            bar.clear();
            let stat = stat.with_context(|| reading(&common))?;
            print(&common, &stat, |out| write_stat(out, &stat)).map(|()| stat.unread.is_empty())
        }
        Store::Verify(common) => {
            let place = Opened::new(&common)?;
            let mut bar = Bar::new();
            let found =
                verify::verify(&*place.disk, &place.options, &mut |done, total| bar.show(done, total));
            bar.clear();
            let found = found.with_context(|| reading(&common))?;
            print(&common, &found, |out| write_verified(out, &found))?;
            Ok(!found.is_damaged())
        }
        Store::Repair { common, apply } => run_repair(&common, apply),
        Store::Dump(dump) => run_dump(&dump),
        Store::Locate(locate) => run_locate(&locate),
    }
}

fn reading(common: &Common) -> String {
    format!("read the store {}", common.dir.display())
}

/// A store that nobody else has, or that is read nevertheless.
struct Opened {
    disk: Arc<dyn Disk>,
    options: kerolox_store::Options,
    _lock: Option<Box<dyn Send + Sync>>,
}

impl Opened {
    fn new(common: &Common) -> Result<Opened> {
        let options = options(common)?;
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::new());
        disk.list(&common.dir).with_context(|| {
            format!("{} cannot be read; name the broker's storePathRootDir", common.dir.display())
        })?;
        let lock = lock(&*disk, common)?;
        Ok(Opened { disk, options, _lock: lock })
    }
}

/// Takes the store's lock without making the file: where there is none, no broker is running.
fn lock(disk: &dyn Disk, common: &Common) -> Result<Option<Box<dyn Send + Sync>>> {
    let path = common.dir.join("lock");
    if std::fs::metadata(&path).map_or(0, |file| file.len()) == 0 {
        return Ok(None);
    }
    match disk.lock(&path) {
        Ok(lock) => Ok(Some(lock)),
        Err(why) if why.kind() == io::ErrorKind::WouldBlock && common.force => Ok(None),
        Err(why) if why.kind() == io::ErrorKind::WouldBlock => bail!(
            "the store {} is in use by {}; stop that broker, or read it as it is with --force",
            common.dir.display(),
            holder(&path)
        ),
        // Who may read may look. And on a file system that cannot be written no broker is running.
        Err(why)
            if matches!(why.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) =>
        {
            Ok(None)
        }
        Err(why) => Err(why).context("lock the store"),
    }
}

/// Who holds the lock of a file, as far as the system says.
fn holder(path: &Path) -> String {
    use rustix::process::{Flock, FlockType, fcntl_getlk};
    let found = std::fs::File::open(path).ok().and_then(|file| {
        fcntl_getlk(&file, &Flock::from(FlockType::ReadLock)).ok().flatten().and_then(|lock| lock.pid)
    });
    let Some(pid) = found else { return "another process".into() };
    let pid = pid.as_raw_nonzero();
    match std::fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(name) => format!("process {pid} ({})", name.trim()),
        Err(_) => format!("process {pid}"),
    }
}

fn options(common: &Common) -> Result<kerolox_store::Options> {
    let text = match &common.config {
        Some(name) => Some(
            std::fs::read_to_string(name).with_context(|| format!("read the configuration file {name}"))?,
        ),
        None => None,
    };
    let file = common.config.as_deref().zip(text.as_deref()).map(|(name, text)| File { name, text });
    let mut words = vec![format!("storePathRootDir={}", common.dir.display())];
    words.extend(common.settings.iter().cloned());
    let loaded = settings::load(Role::Broker, file, None, &words)?;
    let host = std::net::Ipv4Addr::LOCALHOST.into();
    let options = kerolox_broker::Options::new(loaded.broker, loaded.store, loaded.server, host);
    Ok(options.for_store())
}

/// Prints as JSON or as text. A reader that goes away ends the program quietly.
fn print<T: serde::Serialize>(
    common: &Common,
    value: &T,
    text: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<()> {
    let mut out = io::stdout().lock();
    let written = match common.json {
        true => serde_json::to_writer_pretty(&mut out, value)
            .map_err(io::Error::from)
            .and_then(|()| writeln!(out)),
        false => text(&mut out),
    };
    quiet(written)
}

fn quiet(written: io::Result<()>) -> Result<()> {
    match written {
        Err(why) if why.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("print"),
    }
}

fn write_stat(out: &mut dyn Write, stat: &stat::Stat) -> io::Result<()> {
    let state = match (stat.is_clean, stat.is_ours) {
        (true, true) => "stopped cleanly by Kerolox",
        (true, false) => "stopped cleanly, last by another broker",
        (false, _) => "not stopped: in use, or left by a crash",
    };
    writeln!(out, "store    {} ({state})", stat.root)?;
    let log = &stat.log;
    let bytes = log.end - log.first;
    writeln!(
        out,
        "log      {} to {}, {bytes} bytes in {} files of {}",
        log.first, log.end, log.files, log.file_bytes
    )?;
    writeln!(out, "times    {} to {}", time(log.first_ms), time(log.last_ms))?;
    if let Some(checkpoint) = &stat.checkpoint {
        let [a, b, c] =
            [checkpoint.log_ms, checkpoint.queues_ms, checkpoint.index_ms].map(|ms| time(Some(ms)));
        writeln!(out, "flushed  log {a}, queues {b}, index {c}")?;
    }
    if let Some(own) = &stat.own {
        writeln!(out, "covered  log up to {}, durable up to {}", own.covers, own.durable)?;
        for (from, to) in &own.damaged {
            writeln!(out, "damaged  log from {from} to {to}")?;
        }
    }
    for part in &stat.unread {
        writeln!(out, "unread   {part}")?;
    }
    for file in &stat.index {
        let (first, last) = (time(Some(file.first_ms)), time(Some(file.last_ms)));
        writeln!(out, "index    {} with {} keys, {first} to {last}", file.name, file.keys)?;
    }
    for file in &stat.config {
        let state = if file.parses { "" } else { ", does not parse" };
        writeln!(out, "config   {}, {} bytes{state}", file.name, file.bytes)?;
    }
    for topic in &stat.topics {
        writeln!(out, "topic    {}, {} messages", topic.name, topic.messages)?;
        for queue in &topic.queues {
            let (first, last) = (time(queue.first_ms), time(queue.last_ms));
            writeln!(out, "  queue {:<4} {} to {}, {first} to {last}", queue.id, queue.min, queue.max)?;
        }
    }
    Ok(())
}

fn time(ms: Option<i64>) -> String {
    ms.filter(|ms| *ms > 0).map_or_else(|| "-".into(), |ms| ms.to_string())
}

fn write_verified(out: &mut dyn Write, found: &Verified) -> io::Result<()> {
    for finding in &found.findings {
        let severity = match finding.severity {
            Severity::Damage => "damage",
            Severity::Leftover => "leftover",
            Severity::Note => "note",
        };
        let at = finding.at.map(|at| format!(" at {at}")).unwrap_or_default();
        let cure = if finding.remedy.is_some() { " [repairable]" } else { "" };
        writeln!(out, "{severity}: {}: {}{at}: {}{cure}", finding.kind, finding.path, finding.text)?;
    }
    if found.more > 0 {
        writeln!(out, "and {} findings more", found.more)?;
    }
    let verdict = if found.is_damaged() { "damaged" } else { "whole" };
    let Verified { records, entries, keys, first, end, .. } = found;
    writeln!(out, "{verdict}: {records} records from {first} to {end}, {entries} queue entries, {keys} keys")
}

fn run_repair(common: &Common, apply: bool) -> Result<bool> {
    if common.force {
        bail!("--force is for looking only: stop the broker before a repair");
    }
    let place = Opened::new(common)?;
    let mut bar = Bar::new();
    if !apply {
        let found = verify::verify(&*place.disk, &place.options, &mut |done, total| bar.show(done, total));
        bar.clear();
        let plan = repair::plan(&found.with_context(|| reading(common))?);
        print(common, &plan, |out| write_plan(out, &plan))?;
        return Ok(plan.beyond.is_empty());
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = Millis(i64::try_from(now.as_millis()).unwrap_or(0));
    let stamp = now.0.to_string();
    let watch = &mut |done, total| bar.show(done, total);
    let done = repair::apply(&place.disk, &place.options, &stamp, now, watch);
    bar.clear();
    let done = done.with_context(|| format!("repair the store {}", common.dir.display()))?;
    print(common, &done, |out| {
        for step in &done.steps {
            writeln!(out, "done: {}", words(step))?;
        }
        if let Some(saved) = &done.saved {
            writeln!(out, "copies of what was removed are in {saved}")?;
        }
        write_verified(out, &done.after)
    })?;
    Ok(!done.after.is_damaged())
}

fn write_plan(out: &mut dyn Write, plan: &repair::Plan) -> io::Result<()> {
    for step in &plan.steps {
        writeln!(out, "would: {}", words(step))?;
    }
    for finding in &plan.beyond {
        writeln!(out, "cannot: {}: {}: {}", finding.kind, finding.path, finding.text)?;
    }
    match plan.steps.is_empty() {
        true => writeln!(out, "there is nothing to repair"),
        false => writeln!(out, "nothing was changed; do it with --apply"),
    }
}

fn words(step: &kerolox_store::tools::Remedy) -> String {
    use kerolox_store::tools::Remedy;
    match step {
        Remedy::CutLog { from } => format!("clear what stands behind the log's end at {from}"),
        Remedy::CopyLog { path } => {
            format!("copy {path}, with a mark where the disk cannot read it, and keep the file itself aside")
        }
        Remedy::LengthenLog { path } => format!("give {path} its length"),
        Remedy::RebuildQueue { topic, queue } => format!("make queue {queue} of {topic} anew from the log"),
        Remedy::RebuildIndex => "make the index anew from the log".into(),
        Remedy::RestoreBackup { path } => format!("restore {path} from its backup"),
        Remedy::Remove { path } => format!("remove {path}"),
        Remedy::ResetCheckpoint => "reset the checkpoint, so that the next start looks for itself".into(),
    }
}

fn run_dump(dump: &Dump) -> Result<bool> {
    let place = Opened::new(&dump.common)?;
    let select = Select {
        topic: dump.topic.clone(),
        queue: dump.queue,
        offsets: dump.from..dump.to,
        log: dump.from_log..dump.to_log,
        times: (Millis(dump.since), Millis(dump.until)),
        limit: dump.limit,
    };
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut written = Ok(());
    let mut bar = Bar::beside_output();
    let watch = &mut |done, total| bar.show(done, total);
    let dumped = dump::dump(&*place.disk, &place.options, &select, watch, &mut |record, place| {
        written = match dump.common.json {
            true => writeln!(out, "{}", as_json(record, place, dump.body)),
            false => writeln!(out, "{}", as_line(record, dump.body)),
        };
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    bar.clear();
    let dumped = dumped.with_context(|| reading(&dump.common))?;
    quiet(written.and_then(|()| out.flush()))?;
    say_unread(&dumped.unread);
    Ok(dumped.unread.is_empty())
}

/// Beside the output: what is missing in it.
fn say_unread(unread: &[Unread]) {
    unread.iter().for_each(crate::say);
}

fn body_text(record: &Record<'_>, body: Body) -> Option<String> {
    match body {
        Body::Utf8 => Some(String::from_utf8_lossy(record.body).into_owned()),
        Body::Hex => Some(hex(record.body)),
        Body::None => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn as_json(record: &Record<'_>, place: &Place, body: Body) -> serde_json::Value {
    let pairs = properties::iter(record.properties).map(|pair| {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(pair.name), serde_json::Value::String(text(pair.value)))
    });
    serde_json::json!({
        "at": place.at,
        "file": place.file,
        "fileAt": place.file_at,
        "size": record.size,
        "topic": record.topic,
        "queueId": record.queue_id,
        "queueOffset": record.queue_offset,
        "storeTimestamp": record.store_ms.0,
        "bornTimestamp": record.born_ms.0,
        "bornHost": record.born_host.to_string(),
        "storeHost": record.store_host.to_string(),
        "sysFlag": record.sys_flag,
        "flag": record.flag,
        "reconsumeTimes": record.reconsume_times,
        "preparedTransactionOffset": record.prepared_offset,
        "bodyLength": record.body.len(),
        "body": body_text(record, body),
        "properties": pairs.collect::<serde_json::Map<_, _>>(),
    })
}

fn as_line(record: &Record<'_>, body: Body) -> String {
    let mut line = format!(
        "{} {} {}/{} {} {}",
        record.physical_offset,
        record.store_ms,
        record.topic,
        record.queue_id,
        record.queue_offset,
        record.size
    );
    for pair in properties::iter(record.properties) {
        let (name, value) = (String::from_utf8_lossy(pair.name), String::from_utf8_lossy(pair.value));
        line.push_str(&format!(" {}={:?}", name.escape_debug(), value));
    }
    if let Some(body) = body_text(record, body) {
        line.push_str(&format!(" body={body:?}"));
    }
    line
}

fn run_locate(locate: &Locate) -> Result<bool> {
    let place = Opened::new(&locate.common)?;
    let sought = sought(locate)?;
    let mut bar = Bar::new();
    let watch = &mut |done, total| bar.show(done, total);
    let found = dump::locate(&*place.disk, &place.options, &sought, locate.limit, watch);
    bar.clear();
    let Searched { located: found, unread } = found.with_context(|| reading(&locate.common))?;
    say_unread(&unread);
    let mut out = io::BufWriter::new(io::stdout().lock());
    if let (Sought::At(at), true) = (&sought, found.is_empty()) {
        let place =
            dump::place_at(&*place.disk, &place.options, *at).with_context(|| reading(&locate.common))?;
        quiet(write_no_record(&mut out, *at, place.as_ref(), locate.common.json).and_then(|()| out.flush()))?;
        return Ok(false);
    }
    let written = found.iter().try_for_each(|located| write_located(&mut out, located, locate.common.json));
    quiet(written.and_then(|()| out.flush()))?;
    if found.is_empty() {
        crate::say("no such record");
    }
    Ok(!found.is_empty())
}

fn sought(locate: &Locate) -> Result<Sought> {
    let topic = locate.topic.clone();
    if let Some(id) = &locate.id {
        let at = match id.parse() {
            // 32 digits could be an id; no position has that many.
            Ok(at) => at,
            Err(_) => msgid::parse(id).with_context(|| format!("{id} is no offset message id"))?.1.0,
        };
        return Ok(Sought::At(at));
    }
    if let Some(key) = &locate.key {
        return Ok(Sought::Key { topic, key: key.clone() });
    }
    let (Some(topic), Some(queue)) = (topic, locate.queue) else {
        bail!("say what to look for: --id, --key, or --offset or --time with --topic and --queue");
    };
    match (locate.offset, locate.time) {
        (Some(offset), _) => Ok(Sought::Offset { topic, queue, offset }),
        (None, Some(time)) => Ok(Sought::Time { topic, queue, time: Millis(time) }),
        (None, None) => bail!("say what to look for: --id, --key, --offset or --time"),
    }
}

/// A position at which no record begins: where it lies all the same.
fn write_no_record(out: &mut dyn Write, at: u64, place: Option<&Place>, json: bool) -> io::Result<()> {
    match (place, json) {
        (Some(Place { file, file_at, .. }), true) => {
            writeln!(
                out,
                "{}",
                serde_json::json!({"at": at, "file": file, "fileAt": file_at, "record": false})
            )
        }
        (None, true) => writeln!(out, "{}", serde_json::json!({"at": at, "record": false})),
        (Some(Place { file, file_at, .. }), false) => {
            writeln!(out, "at {at}: {file}, byte {file_at}, where no record begins")
        }
        (None, false) => writeln!(out, "at {at}: outside the files of the log"),
    }
}

fn write_located(out: &mut dyn Write, located: &Located, json: bool) -> io::Result<()> {
    use kerolox_protocol::record::{Entry, parse};
    let Ok(Entry::Message(record)) = parse(&located.bytes) else { return Ok(()) };
    if json {
        let mut value = as_json(&record, &located.place, Body::Utf8);
        if let Some(map) = value.as_object_mut() {
            map.insert("hex".into(), hex(&located.bytes).into());
        }
        return writeln!(out, "{value}");
    }
    let Place { at, file, file_at } = &located.place;
    writeln!(out, "at {at}: {file}, byte {file_at}, {} bytes", located.bytes.len())?;
    writeln!(out, "{}", as_line(&record, Body::Utf8))?;
    for (n, row) in located.bytes.chunks(16).enumerate() {
        let text: String =
            row.iter().map(|b| if (32..127).contains(b) { char::from(*b) } else { '.' }).collect();
        let bytes: Vec<String> = row.iter().map(|b| format!("{b:02x}")).collect();
        writeln!(out, "{:012x}  {:<47}  {text}", file_at + 16 * n as u64, bytes.join(" "))?;
    }
    Ok(())
}

/// A bar on the terminal; nothing where there is none.
struct Bar {
    is_shown: bool,
    percent: Option<u64>,
}

impl Bar {
    fn new() -> Bar {
        Bar { is_shown: io::stderr().is_terminal(), percent: None }
    }

    /// Where the answer comes while the work goes on: only if that goes elsewhere.
    fn beside_output() -> Bar {
        Bar { is_shown: io::stderr().is_terminal() && !io::stdout().is_terminal(), percent: None }
    }

    fn show(&mut self, done: u64, total: u64) {
        let percent = (done.saturating_mul(100)).checked_div(total).unwrap_or(100).min(100);
        if self.is_shown && self.percent != Some(percent) {
            self.percent = Some(percent);
            let full = (percent / 4) as usize;
            eprint!("\r[{:<25}] {percent:3} %", "#".repeat(full));
        }
    }

    fn clear(&mut self) {
        if self.percent.take().is_some() {
            eprint!("\r{:34}\r", "");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(subcommand)]
        verb: Store,
    }

    fn read(words: &[&str]) -> Result<Store, clap::Error> {
        Cli::try_parse_from([&["store"][..], words].concat()).map(|cli| cli.verb)
    }

    fn locate(words: &[&str]) -> Result<Sought> {
        match read(words)? {
            Store::Locate(locate) => sought(&locate),
            other => bail!("{other:?}"),
        }
    }

    #[test]
    fn what_to_look_for_is_read_from_the_words() {
        assert_eq!(locate(&["locate", "DIR", "--id", "77"]).unwrap(), Sought::At(77));
        let id = "7F000001000078D70000000000002069";
        assert_eq!(locate(&["locate", "DIR", "--id", id]).unwrap(), Sought::At(0x2069));
        let topic = "T".to_owned();
        assert_eq!(
            locate(&["locate", "DIR", "--topic", "T", "--queue", "2", "--offset", "9"]).unwrap(),
            Sought::Offset { topic, queue: 2, offset: 9 }
        );
        assert!(locate(&["locate", "DIR", "--offset", "9"]).is_err(), "of which queue?");
        assert!(locate(&["locate", "DIR", "--id", "1", "--key", "k"]).is_err(), "one at a time");
        assert!(locate(&["locate", "DIR"]).is_err());
    }

    #[test]
    fn a_position_is_told_also_where_no_record_begins() {
        let said = |place: Option<&Place>, json| {
            let mut out = Vec::new();
            write_no_record(&mut out, 1_073_742_827, place, json).unwrap();
            String::from_utf8(out).unwrap()
        };
        let place =
            Place { at: 1_073_742_827, file: "commitlog/00000000001073741824".into(), file_at: 1_003 };
        let told = said(Some(&place), false);
        assert_eq!(
            told,
            "at 1073742827: commitlog/00000000001073741824, byte 1003, where no record begins\n"
        );
        assert!(said(Some(&place), true).contains("\"fileAt\":1003"));
        assert_eq!(said(None, false), "at 1073742827: outside the files of the log\n");
    }

    #[test]
    fn a_repair_is_dry_unless_asked_for() {
        assert!(matches!(read(&["repair", "DIR"]).unwrap(), Store::Repair { apply: false, .. }));
        assert!(matches!(read(&["repair", "DIR", "--apply"]).unwrap(), Store::Repair { apply: true, .. }));
    }
}
