//! Many messages through one group of two consumers, once in peace and once with the broker killed in the middle.
//!
//! Owns the processes and the judgement over their files: no acknowledged message lost, every queue in order, copies
//! counted. Does not talk to the broker itself.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::server::{Server, Target};
use crate::suites::Place;

const QUEUES: usize = 8;
const CONSUMERS: usize = 2;
/// How long the consumers may take after the last acknowledgement.
const CATCH_UP: Duration = Duration::from_secs(240);
/// How long the producer may take per million messages, above a minute to recover in.
const PRODUCE: Duration = Duration::from_secs(900);
const LOOK: Duration = Duration::from_millis(200);

/// What a run showed.
pub struct Report {
    /// One line of figures.
    pub note: String,
}

/// Sends `count` messages; with `kill`, the broker is killed when half of them are acknowledged, and started again.
pub fn run(place: &Place, target: &Target, dir: &Path, count: usize, kill: bool) -> Result<Report> {
    let server = &mut Server::start(target, dir)?;
    let topic = if kill { "BulkKill" } else { "BulkSteady" };
    let bulk = |args: &[&str], log: &str| -> Result<Command> {
        let mut command = place.java(&place.work.join("java/lib"), "bulk")?;
        command.arg("Bulk").args(args);
        command
            .stdout(File::create(place.log(log)?)?)
            .stderr(File::create(place.log(&format!("{log}-err"))?)?);
        Ok(command)
    };
    let namesrv = server.namesrv();
    let queues = QUEUES.to_string();
    let made = bulk(&["make", &namesrv, topic, &queues], "bulk-make")?.stdin(Stdio::null()).status()?;
    if !made.success() {
        bail!("making the topic ended with {made}");
    }
    let start = Instant::now();
    let mut consumers = Vec::new();
    for n in 0..CONSUMERS {
        let file = dir.join(format!("delivered-{n}"));
        let args = ["consume", &namesrv, topic, "bulk_group", text(&file)?];
        let child = Running(bulk(&args, &format!("bulk-consumer-{n}"))?.stdin(Stdio::piped()).spawn()?);
        consumers.push((child, Deliveries::of(file)));
    }
    let acknowledged = dir.join("acknowledged");
    let number = count.to_string();
    let args = ["produce", &namesrv, topic, &number, text(&acknowledged)?];
    let mut producer = Running(bulk(&args, "bulk-producer")?.stdin(Stdio::null()).spawn()?);
    let mut down = Duration::ZERO;
    if kill {
        await_lines(&acknowledged, count / 2, &mut producer)?;
        let killed = Instant::now();
        server.kill()?;
        server.restart()?;
        down = killed.elapsed();
    }
    producer.end_within(PRODUCE.mul_f64((count as f64 / 1e6).max(0.2)))?;
    let sent = start.elapsed();
    let mut book = Book::new(&acknowledged, count)?;
    let limit = Instant::now() + CATCH_UP;
    loop {
        for (n, (consumer, deliveries)) in consumers.iter_mut().enumerate() {
            deliveries.read(|delivery| book.delivered(n, delivery))?;
            if let Some(status) = consumer.0.try_wait()? {
                bail!("consumer {n} ended with {status}");
            }
        }
        if book.missing() == 0 || Instant::now() > limit {
            break;
        }
        thread::sleep(LOOK);
    }
    let took = start.elapsed();
    drop(consumers);
    book.judge()?;
    let shares: Vec<String> = book.per_consumer.iter().map(usize::to_string).collect();
    let outage = if kill { format!(", broker away for {down:.1?}") } else { String::new() };
    Ok(Report {
        note: format!(
            "{count} acknowledged in {sent:.1?}, all delivered in {took:.1?} to consumers as {}, {} copies{outage}",
            shares.join(" + "),
            book.copies,
        ),
    })
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no text")
}

/// A process of ours that ends with its owner.
struct Running(Child);

impl Running {
    fn end_within(&mut self, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        loop {
            match self.0.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("the producer ended with {status}"),
                None if Instant::now() > end => bail!("the producer was not done after {limit:?}"),
                None => thread::sleep(LOOK),
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn await_lines(path: &Path, count: usize, producer: &mut Running) -> Result<()> {
    let mut seen = Deliveries::of(path.to_owned());
    let mut lines = 0;
    while lines < count {
        seen.read(|_| lines += 1)?;
        if let Some(status) = producer.0.try_wait()? {
            bail!("the producer ended with {status} before the kill");
        }
        thread::sleep(LOOK);
    }
    Ok(())
}

/// One line of either file: a message's number and where it lay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Delivery {
    number: usize,
    queue: usize,
    offset: i64,
}

impl Delivery {
    fn parse(line: &str) -> Option<Delivery> {
        let mut parts = line.split(' ');
        Some(Delivery {
            number: parts.next()?.parse().ok()?,
            queue: parts.next()?.parse().ok()?,
            offset: parts.next()?.parse().ok()?,
        })
    }
}

/// A growing file of lines, read as far as it is written.
struct Deliveries {
    path: PathBuf,
    read: u64,
}

impl Deliveries {
    fn of(path: PathBuf) -> Deliveries {
        Deliveries { path, read: 0 }
    }

    /// Hands over every whole line that was added since the last call.
    fn read(&mut self, mut each: impl FnMut(Delivery)) -> Result<()> {
        let Ok(mut file) = File::open(&self.path) else { return Ok(()) };
        file.seek(SeekFrom::Start(self.read))?;
        let mut reader = BufReader::new(file.take(256 << 20));
        let mut line = String::new();
        loop {
            line.clear();
            let length = reader.read_line(&mut line)?;
            if length == 0 || !line.ends_with('\n') {
                return Ok(());
            }
            self.read += length as u64;
            each(Delivery::parse(line.trim_end()).with_context(|| format!("a line '{}'", line.trim_end()))?);
        }
    }
}

/// What was acknowledged and what has come.
struct Book {
    acknowledged: Vec<bool>,
    came: Vec<bool>,
    missing: usize,
    copies: usize,
    per_consumer: Vec<usize>,
    /// Newest offset of first deliveries, per consumer and queue.
    newest: HashMap<(usize, usize), i64>,
    disorder: Option<String>,
    lost_queue: Option<String>,
}

impl Book {
    fn new(path: &Path, count: usize) -> Result<Book> {
        let mut acknowledged = vec![false; count];
        let mut last = HashMap::new();
        let mut lost_queue = None;
        let mut stray = None;
        Deliveries::of(path.to_owned()).read(|line| {
            match acknowledged.get_mut(line.number) {
                Some(slot) => *slot = true,
                None => stray = Some(line.number),
            }
            // Two acknowledged messages in one place of one queue: one has overwritten the other.
            if let Some(other) = last.insert((line.queue, line.offset), line.number)
                && other != line.number
            {
                lost_queue = Some(format!(
                    "{} and {other} have both offset {} of queue {}",
                    line.number, line.offset, line.queue
                ));
            }
        })?;
        if let Some(number) = stray {
            bail!("message {number} was acknowledged but never sent");
        }
        let missing = acknowledged.iter().filter(|yes| **yes).count();
        if missing != count {
            bail!("{missing} of {count} acknowledged");
        }
        Ok(Book {
            acknowledged,
            came: vec![false; count],
            missing,
            copies: 0,
            per_consumer: vec![0; CONSUMERS],
            newest: HashMap::new(),
            disorder: None,
            lost_queue,
        })
    }

    fn delivered(&mut self, consumer: usize, delivery: Delivery) {
        let Some(came) = self.came.get_mut(delivery.number) else {
            self.disorder = Some(format!("{delivery:?} was never sent"));
            return;
        };
        if *came {
            self.copies += 1;
            return;
        }
        *came = true;
        if let Some(share) = self.per_consumer.get_mut(consumer) {
            *share += 1;
        }
        if self.acknowledged.get(delivery.number) == Some(&true) {
            self.missing -= 1;
        }
        let newest = self.newest.entry((consumer, delivery.queue)).or_insert(-1);
        if delivery.offset <= *newest {
            self.disorder = Some(format!("{delivery:?} came after offset {newest} of its queue"));
        }
        *newest = delivery.offset.max(*newest);
    }

    fn missing(&self) -> usize {
        self.missing
    }

    fn judge(&self) -> Result<()> {
        if self.missing > 0 {
            let example = self.came.iter().zip(&self.acknowledged).position(|(came, yes)| !came && *yes);
            bail!("{} acknowledged messages were never delivered, such as number {example:?}", self.missing);
        }
        if let Some(disorder) = &self.disorder {
            bail!("{disorder}");
        }
        if let Some(lost) = &self.lost_queue {
            bail!("{lost}");
        }
        if self.per_consumer.contains(&0) {
            bail!("one consumer got nothing: {:?}", self.per_consumer);
        }
        Ok(())
    }
}

/// Removes the files of a run; they are some hundred megabytes.
pub fn clean(dir: &Path) {
    let _ = fs::remove_dir_all(dir);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(name: &str, lines: &str, count: usize) -> Result<Book> {
        let path = std::env::temp_dir().join(format!("kerolox-bulk-{name}-{}", std::process::id()));
        fs::write(&path, lines)?;
        let book = Book::new(&path, count);
        fs::remove_file(&path)?;
        book
    }

    fn delivery(number: usize, queue: usize, offset: i64) -> Delivery {
        Delivery { number, queue, offset }
    }

    #[test]
    fn a_message_that_never_came_is_lost() -> Result<()> {
        let mut book = book("lost", "0 0 0 a\n1 0 1 b\n", 2)?;
        book.delivered(0, delivery(0, 0, 0));
        assert_eq!(book.missing(), 1);
        assert!(book.judge().is_err_and(|cause| cause.to_string().contains("Some(1)")));
        Ok(())
    }

    #[test]
    fn copies_are_counted_and_may_go_back() -> Result<()> {
        let mut book = book("copies", "0 0 0 a\n1 0 1 b\n2 1 0 c\n", 3)?;
        for each in [delivery(0, 0, 0), delivery(1, 0, 1), delivery(0, 0, 0)] {
            book.delivered(0, each);
        }
        book.delivered(1, delivery(2, 1, 0));
        assert_eq!(book.copies, 1);
        book.judge()
    }

    #[test]
    fn a_first_delivery_out_of_order_is_seen() -> Result<()> {
        let mut book = book("order", "0 0 0 a\n1 0 1 b\n2 1 0 c\n", 3)?;
        book.delivered(0, delivery(1, 0, 1));
        book.delivered(0, delivery(0, 0, 0));
        book.delivered(1, delivery(2, 1, 0));
        assert!(book.judge().is_err_and(|cause| cause.to_string().contains("came after offset 1")));
        Ok(())
    }

    #[test]
    fn an_offset_given_twice_is_seen() -> Result<()> {
        let mut book = book("twice", "0 0 5 a\n1 0 5 b\n", 2)?;
        book.delivered(0, delivery(0, 0, 5));
        book.delivered(1, delivery(1, 0, 5));
        assert!(book.judge().is_err_and(|cause| cause.to_string().contains("both offset 5")));
        Ok(())
    }

    #[test]
    fn an_unacknowledged_message_fails_the_run() {
        assert!(book("few", "0 0 0 a\n", 2).is_err_and(|cause| cause.to_string().contains("1 of 2")));
    }
}
