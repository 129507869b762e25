//! What a run found, for people and for machines.

use crate::facts::{Cpu, Machine};
use anyhow::Result;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::time::Duration;

/// The result of one run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What was run.
    pub load: String,
    /// Messages per second.
    pub rate: f64,
    /// Requests per second.
    pub requests: f64,
    /// Megabytes per second that the loader sent, whole frames.
    pub sent_mb_per_s: f64,
    /// Megabytes per second that it received.
    pub received_mb_per_s: f64,
    /// Latency of a request in microseconds.
    pub latency_us: Latency,
    /// Answers with another code than success, by code.
    pub refused: std::collections::BTreeMap<i32, u64>,
    /// Server processor seconds per million messages: user, system.
    pub server_cpu_per_million: Option<(f64, f64)>,
    /// Cores the loader used.
    pub loader_cores: f64,
    /// Cores that threads of the kernel used, mostly to write pages back: the load's own cost, but nobody's
    /// process.
    pub kernel_cores: f64,
    /// Cores that neither loader, server nor kernel threads used; meaningful when the server's process is known.
    pub foreign_cores: Option<f64>,
    /// Server memory after the run in KiB: anonymous, file-backed.
    pub server_rss_kib: Option<(u64, u64)>,
    /// Rate of the same load against the echo server.
    pub echo_rate: Option<f64>,
    /// The machine.
    pub machine: Machine,
}

/// Percentiles in microseconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Latency {
    /// Median.
    pub p50: f64,
    /// 90th.
    pub p90: f64,
    /// 99th.
    pub p99: f64,
    /// 99.9th.
    pub p999: f64,
    /// 99.99th.
    pub p9999: f64,
    /// Largest.
    pub max: f64,
}

/// Counters of the counted part of a run.
#[derive(Debug)]
pub struct Tally {
    /// Messages acknowledged or received.
    pub messages: u64,
    /// Requests answered.
    pub requests: u64,
    /// Bytes sent.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
    /// Latencies in nanoseconds.
    pub latency: Histogram<u64>,
    /// Answers with another code than success.
    pub refused: std::collections::BTreeMap<i32, u64>,
}

impl Tally {
    /// Nothing yet.
    pub fn new() -> Result<Tally> {
        let latency = Histogram::new_with_bounds(100, 120_000_000_000, 3)?;
        Ok(Tally { messages: 0, requests: 0, sent: 0, received: 0, latency, refused: Default::default() })
    }

    /// Forgets the warm-up.
    pub fn reset(&mut self) {
        (self.messages, self.requests, self.sent, self.received) = (0, 0, 0, 0);
        self.latency.reset();
        self.refused.clear();
    }
}

impl Report {
    /// Puts counters and facts together.
    pub fn new(
        load: String,
        tally: &Tally,
        took: Duration,
        before: Cpu,
        after: Cpu,
        server_pid: Option<u32>,
    ) -> Report {
        let seconds = took.as_secs_f64();
        let per_million = |s: f64| if tally.messages == 0 { 0.0 } else { s * 1e6 / tally.messages as f64 };
        let server = after.server.zip(before.server).map(|(a, b)| (a.0 - b.0, a.1 - b.1));
        let own = after.own - before.own;
        let kernel = (after.kernel - before.kernel).max(0.0);
        let us = |q: f64| tally.latency.value_at_quantile(q) as f64 / 1000.0;
        Report {
            load,
            rate: tally.messages as f64 / seconds,
            requests: tally.requests as f64 / seconds,
            sent_mb_per_s: tally.sent as f64 / seconds / 1e6,
            received_mb_per_s: tally.received as f64 / seconds / 1e6,
            latency_us: Latency {
                p50: us(0.5),
                p90: us(0.9),
                p99: us(0.99),
                p999: us(0.999),
                p9999: us(0.9999),
                max: tally.latency.max() as f64 / 1000.0,
            },
            refused: tally.refused.clone(),
            server_cpu_per_million: server.map(|(user, system)| (per_million(user), per_million(system))),
            loader_cores: own / seconds,
            kernel_cores: kernel / seconds,
            foreign_cores: server.map(|(user, system)| {
                ((after.busy - before.busy - own - kernel - user - system) / seconds).max(0.0)
            }),
            server_rss_kib: server_pid.and_then(crate::facts::rss_kib),
            echo_rate: None,
            machine: Machine::read(),
        }
    }

    /// Notes the limit measured in the same run.
    pub fn limit_of(&mut self, echo: Option<Report>) {
        self.echo_rate = echo.map(|echo| echo.rate);
    }

    /// Prints the report; `json` prints nothing else.
    pub fn print(&self, json: bool) -> Result<()> {
        if json {
            println!("{}", serde_json::to_string(self)?);
            return Ok(());
        }
        let l = &self.latency_us;
        println!("{}", self.load);
        println!(
            "  rate       {:>12.0} msg/s   {:.0} requests/s   {:.1} MB/s sent, {:.1} received",
            self.rate, self.requests, self.sent_mb_per_s, self.received_mb_per_s
        );
        println!(
            "  latency us p50 {:.0}   p90 {:.0}   p99 {:.0}   p99.9 {:.0}   p99.99 {:.0}   max {:.0}",
            l.p50, l.p90, l.p99, l.p999, l.p9999, l.max
        );
        if let Some((user, system)) = self.server_cpu_per_million {
            println!(
                "  server CPU {:.2} s per million messages (user {user:.2}, system {system:.2})",
                user + system
            );
        }
        if let Some((anon, file)) = self.server_rss_kib {
            println!("  server RSS {} MiB anonymous, {} MiB file", anon / 1024, file / 1024);
        }
        if let Some(echo) = self.echo_rate {
            println!("  echo limit {echo:.0} msg/s: {:.0} % of it reached", 100.0 * self.rate / echo);
        }
        for (code, times) in &self.refused {
            println!("  REFUSED    {times} answers with code {code}");
        }
        let foreign = self.foreign_cores.map_or(String::new(), |cores| format!(", foreign {cores:.2}"));
        let m = &self.machine;
        println!(
            "  cores used loader {:.2}{foreign}   on {} x {}, Linux {}",
            self.loader_cores, m.cores, m.cpu, m.kernel
        );
        Ok(())
    }
}
