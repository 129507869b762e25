//! Reports, pairs, lines of the table, and the page they are added to.

use super::rows::{Cell, Row};
use anyhow::{Context, Result};
use serde_json::Value;
use std::{fmt, path::Path};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Ours,
    Original,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Side::Ours => "ours",
            Side::Original => "original",
        })
    }
}

/// One run of the loader.
pub struct Run {
    pub rate: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub cpu_per_million: f64,
    user_per_million: f64,
    pub rss_anon_mib: f64,
    foreign: f64,
    refused: u64,
    pub report: Value,
}

impl Run {
    pub fn of(report: Value) -> Result<Run> {
        let number = |path: &str| report.pointer(path).and_then(Value::as_f64);
        let refused = report.get("refused").and_then(Value::as_object);
        let user = number("/server_cpu_per_million/0").unwrap_or(0.0);
        Ok(Run {
            rate: number("/rate").context("a report without a rate")?,
            p50_us: number("/latency_us/p50").context("a report without latencies")?,
            p99_us: number("/latency_us/p99").context("a report without latencies")?,
            cpu_per_million: user + number("/server_cpu_per_million/1").unwrap_or(0.0),
            user_per_million: user,
            rss_anon_mib: number("/server_rss_kib/0").unwrap_or(0.0) / 1024.0,
            foreign: number("/foreign_cores").unwrap_or(f64::INFINITY),
            refused: refused.map_or(0, |codes| codes.values().filter_map(Value::as_u64).sum()),
            report,
        })
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>10.0} msg/s  p50 {:>6.0} p99 {:>6.0} us  {:>6.2} cpu-s/M ({:.2} user)  foreign {:.2}",
            self.rate, self.p50_us, self.p99_us, self.cpu_per_million, self.user_per_million, self.foreign
        )?;
        if self.refused > 0 { write!(f, "  REFUSED {}", self.refused) } else { Ok(()) }
    }
}

/// Ours and the original, one after the other.
pub struct Pair {
    pub ours: Run,
    pub theirs: Option<Run>,
}

impl Pair {
    /// The worse of both disturbances.
    pub fn foreign(&self) -> f64 {
        self.theirs.as_ref().map_or(self.ours.foreign, |theirs| theirs.foreign.max(self.ours.foreign))
    }

    fn ratio(&self) -> Option<f64> {
        self.theirs.as_ref().map(|theirs| self.ours.rate / theirs.rate.max(f64::MIN_POSITIVE))
    }
}

/// One line of the table, as its columns.
pub struct Line(pub Vec<String>);

impl Line {
    pub fn new(row: &Row, cell: &Cell, pairs: Vec<Pair>, echoes: Vec<Option<f64>>, syncs: &[f64]) -> Line {
        let of_ours = |pick: fn(&Run) -> f64| spread(pairs.iter().map(|pair| pick(&pair.ours)));
        let of_theirs =
            |pick: fn(&Run) -> f64| spread(pairs.iter().filter_map(|pair| pair.theirs.as_ref().map(pick)));
        let shape = format!(
            "c{} {} {}{}",
            cell.connections,
            if cell.kind == super::Kind::Pull { "pull".into() } else { format!("w{}", cell.window) },
            cell.header,
            if row.settings.is_empty() { String::new() } else { format!(", {}", row.settings.join(" ")) },
        );
        let (ours, theirs) = (of_ours(|run| run.rate), of_theirs(|run| run.rate));
        let ratios = spread(pairs.iter().filter_map(Pair::ratio));
        let echo = spread(echoes.into_iter().flatten());
        let mut limit = match (&ours, &echo) {
            (Some(ours), Some(echo)) => {
                format!("{} = {:.0} %", rate(echo.max), 100.0 * ours.median / echo.max)
            }
            _ => "none".into(),
        };
        if let Some(syncs) = spread(syncs.iter().copied()) {
            limit += &format!("; {} fdatasync/s", rate(syncs.max));
        }
        let met = match &ratios {
            Some(ratios) if ratios.min >= cell.floor => "met",
            Some(_) => "NOT met",
            None => "no peer",
        };
        let noisy = pairs.iter().filter(|pair| pair.foreign() > super::FOREIGN_MAX).count();
        let refused: u64 =
            pairs.iter().map(|pair| pair.ours.refused + pair.theirs.as_ref().map_or(0, |t| t.refused)).sum();
        let both = |pick: fn(&Run) -> f64, digits: usize| {
            let text = |found: Option<Spread>| {
                found.map_or("-".into(), |spread| format!("{:.digits$}", spread.median))
            };
            format!("{} / {}", text(of_ours(pick)), text(of_theirs(pick)))
        };
        let foreign = spread(pairs.iter().map(Pair::foreign)).map_or(0.0, |spread| spread.max);
        Line(vec![
            cell.name.into(),
            shape,
            show_rates(&ours),
            show_rates(&theirs),
            ratios.as_ref().map_or("-".into(), |r| format!("{:.1} (worst {:.1})", r.median, r.min)),
            format!("{:.1}: {met}", cell.floor),
            limit,
            both(|run| run.p50_us, 0),
            both(|run| run.p99_us, 0),
            both(|run| run.cpu_per_million, 2),
            both(|run| run.rss_anon_mib, 0),
            format!("{foreign:.2}, {noisy} of {} over {}", pairs.len(), super::FOREIGN_MAX),
            refused.to_string(),
        ])
    }
}

/// A line of its own columns; what is missing does not apply.
pub fn line_of(mut columns: Vec<String>) -> Line {
    columns.resize(COLUMNS.len(), "-".into());
    Line(columns)
}

/// Smallest, middle and largest of a few figures.
pub struct Spread {
    pub min: f64,
    pub median: f64,
    pub max: f64,
}

pub fn spread(figures: impl Iterator<Item = f64>) -> Option<Spread> {
    let mut all: Vec<f64> = figures.collect();
    all.sort_by(f64::total_cmp);
    let middle = all.len() / 2;
    let upper = *all.get(middle)?;
    let median = if all.len().is_multiple_of(2) { (all[middle - 1] + upper) / 2.0 } else { upper };
    Some(Spread { min: *all.first()?, median, max: *all.last()? })
}

fn show_rates(found: &Option<Spread>) -> String {
    found.as_ref().map_or("-".into(), |s| format!("{} / {} / {}", rate(s.min), rate(s.median), rate(s.max)))
}

pub fn rate(figure: f64) -> String {
    match figure {
        big if big >= 1e6 => format!("{:.2} M", big / 1e6),
        some if some >= 1e4 => format!("{:.1} k", some / 1e3),
        few => format!("{few:.0}"),
    }
}

const COLUMNS: &[&str] = &[
    "row",
    "load",
    "ours, msg/s, min / median / max",
    "original",
    "ratio",
    "floor",
    "echo, share reached",
    "p50 us, ours / original",
    "p99 us",
    "server cpu-s per million",
    "RSS anonymous MiB",
    "foreign cores, worst",
    "refused",
];

/// The lines as a markdown table under the facts of the run.
pub fn table(lines: &[Line], facts: &str) -> String {
    let mut out = format!("### {facts}\n\n{}\n\n", machine());
    out += &format!("| {} |\n|{}\n", COLUMNS.join(" | "), "---|".repeat(COLUMNS.len()));
    for Line(columns) in lines {
        out += &format!("| {} |\n", columns.join(" | "));
    }
    out
}

fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let name = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let meminfo = read("/proc/meminfo");
    let kib = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next());
    let gib = kib.and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) >> 20;
    format!(
        "Machine: {} x {}, {gib} GiB, Linux {}; client and servers on it, loopback.",
        std::thread::available_parallelism().map_or(1, usize::from),
        name.map_or("unknown", |(_, name)| name.trim()),
        read("/proc/sys/kernel/osrelease").trim(),
    )
}

const HEADING: &str = "## Rows\n";

/// Puts a table at the top of the page's section, so that the newest comes first.
pub fn append_to_page(page: &Path, table: &str) -> Result<()> {
    let text = std::fs::read_to_string(page).with_context(|| format!("read {}", page.display()))?;
    std::fs::write(page, with_table(&text, table)).with_context(|| format!("write {}", page.display()))
}

fn with_table(text: &str, table: &str) -> String {
    match text.find("\n### ").filter(|at| text.find(HEADING).is_some_and(|heading| heading < *at)) {
        Some(at) => format!("{}\n{table}{}", &text[..at], &text[at..]),
        None if text.contains(HEADING) => format!("{}\n\n{table}", text.trim_end()),
        None => format!("{}\n\n{HEADING}\n{table}", text.trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_an_even_number_lies_between_two() {
        let found = spread([4.0, 1.0, 3.0, 2.0].into_iter()).unwrap();
        assert_eq!((found.min, found.median, found.max), (1.0, 2.5, 4.0));
        assert!(spread(std::iter::empty()).is_none());
    }

    #[test]
    fn the_newest_table_comes_first_and_the_older_stay() {
        let first = with_table("# Page\n\ntext\n", "### one\n");
        assert_eq!(first, "# Page\n\ntext\n\n## Rows\n\n### one\n");
        let second = with_table(&first, "### two\n");
        assert_eq!(second, "# Page\n\ntext\n\n## Rows\n\n### two\n\n### one\n");
    }

    #[test]
    fn a_report_is_read_and_refusals_are_counted() {
        let report = serde_json::json!({
            "rate": 10.0, "latency_us": {"p50": 1.0, "p99": 2.0}, "server_cpu_per_million": [1.5, 2.5],
            "server_rss_kib": [2048, 0], "foreign_cores": 0.25, "refused": {"2": 3, "14": 4},
        });
        let run = Run::of(report).unwrap();
        assert_eq!((run.cpu_per_million, run.rss_anon_mib, run.refused), (4.0, 2.0, 7));
        assert!(Run::of(serde_json::json!({})).is_err());
    }
}
