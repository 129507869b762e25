//! Interleaved rounds of all models over all shapes, with the processor time of everybody.

use crate::load::{self, Run};
use std::{
    fs,
    io::{self, BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// Shapes: name, connections, in flight per connection.
const SHAPES: [(&str, usize, u64); 3] = [("P1 c1 w1", 1, 1), ("P2 c64 w1", 64, 1), ("P3 c8 w64", 8, 64)];
/// Cores that others may use while a round counts.
const FOREIGN_MAX: f64 = 0.05;
/// Repeats of a round that others disturbed, before the least disturbed one is taken.
const REPEATS_MAX: usize = 4;
/// Clock ticks of `/proc` per second: fixed on Linux.
const TICKS: f64 = 100.0;

/// One model under one shape in one round.
#[derive(Debug, Clone, Copy)]
struct Cell {
    run: Run,
    server_seconds_per_million: f64,
    server_cores: f64,
    foreign_cores: f64,
}

/// Runs everything and prints the table, growing from round to round.
pub fn run(rounds: u64, time: Duration, models: &[&str]) -> io::Result<()> {
    let mut cells: Vec<Vec<Vec<Cell>>> = vec![vec![Vec::new(); models.len()]; SHAPES.len()];
    for round in 0..rounds {
        for (shape, row) in SHAPES.iter().zip(&mut cells) {
            // There and back, so that no model always comes first.
            let order: Vec<usize> = match round % 2 {
                0 => (0..models.len()).collect(),
                _ => (0..models.len()).rev().collect(),
            };
            for at in order {
                let cell = calmest(models[at], shape.1, shape.2, time)?;
                eprintln!("round {round} {} {}: {cell:.2?}", shape.0, models[at]);
                row[at].push(cell);
            }
        }
        // After every round, so that a run that is ended early has told what it knows.
        print(&cells, models);
    }
    Ok(())
}

fn print(cells: &[Vec<Vec<Cell>>], models: &[&str]) {
    println!(
        "| shape | model | answers/s, median (min-max) | to `{}`, same round | p50 us | p99 us | server cpu-s/M | server cores | foreign cores, max |",
        models[0]
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for (shape, row) in SHAPES.iter().zip(cells) {
        for (model, cells) in models.iter().zip(row) {
            let of = |value: fn(&Cell) -> f64| median(cells, value);
            let mut ratios: Vec<f64> =
                cells.iter().zip(&row[0]).map(|(cell, first)| cell.run.rate / first.run.rate).collect();
            ratios.sort_by(f64::total_cmp);
            let rates = || cells.iter().map(|cell| cell.run.rate / 1000.0);
            println!(
                "| {} | {model} | {:.1} k ({:.1}-{:.1}) | {:.2} ({:.2}-{:.2}) | {:.0} | {:.0} | {:.2} | {:.2} | {:.2} |",
                shape.0,
                of(|cell| cell.run.rate) / 1000.0,
                rates().fold(f64::INFINITY, f64::min),
                rates().fold(0.0, f64::max),
                middle(&ratios),
                ratios.first().unwrap_or(&f64::NAN),
                ratios.last().unwrap_or(&f64::NAN),
                of(|cell| cell.run.p50_us as f64),
                of(|cell| cell.run.p99_us as f64),
                of(|cell| cell.server_seconds_per_million),
                of(|cell| cell.server_cores),
                cells.iter().map(|cell| cell.foreign_cores).fold(0.0, f64::max),
            );
        }
    }
}

fn median(cells: &[Cell], value: fn(&Cell) -> f64) -> f64 {
    let mut values: Vec<f64> = cells.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    middle(&values)
}

/// The median of sorted values.
fn middle(sorted: &[f64]) -> f64 {
    let at = |place: usize| sorted.get(place).copied().unwrap_or(f64::NAN);
    match sorted.len() {
        0 => f64::NAN,
        n => (at((n - 1) / 2) + at(n / 2)) / 2.0,
    }
}

/// Repeats a disturbed round a few times; the least disturbed one counts.
fn calmest(model: &str, connections: usize, in_flight: u64, time: Duration) -> io::Result<Cell> {
    let mut best: Option<Cell> = None;
    for _ in 0..=REPEATS_MAX {
        wait_for_calm()?;
        let cell = measure(model, connections, in_flight, time)?;
        if best.is_none_or(|best| cell.foreign_cores < best.foreign_cores) {
            best = Some(cell);
        }
        if cell.foreign_cores <= FOREIGN_MAX {
            break;
        }
    }
    best.ok_or_else(|| io::Error::other("nothing was measured"))
}

/// Waits until the machine is idle, but not for ever.
fn wait_for_calm() -> io::Result<()> {
    for _ in 0..40 {
        let before = busy_seconds()?;
        sleep(Duration::from_millis(250));
        if busy_seconds()? - before < 0.03 {
            break;
        }
    }
    Ok(())
}

fn measure(model: &str, connections: usize, in_flight: u64, time: Duration) -> io::Result<Cell> {
    let (mut server, addr) = start(model)?;
    let (pid, own) = (server.id(), std::process::id());
    // A first short run, so that the server's start and page faults are not counted.
    load::run(addr, connections, in_flight, Duration::from_millis(100))?;
    let before = (busy_seconds()?, process_seconds(pid)?, process_seconds(own)?, Instant::now());
    let run = load::run(addr, connections, in_flight, time)?;
    let wall = before.3.elapsed().as_secs_f64();
    let (busy, server_used, own_used) =
        (busy_seconds()? - before.0, process_seconds(pid)? - before.1, process_seconds(own)? - before.2);
    // Its standard input ends and with it the server.
    drop(server.stdin.take());
    server.wait()?;
    Ok(Cell {
        run,
        server_seconds_per_million: server_used / wall / run.rate * 1e6,
        server_cores: server_used / wall,
        foreign_cores: ((busy - server_used - own_used) / wall).max(0.0),
    })
}

fn start(model: &str) -> io::Result<(Child, SocketAddr)> {
    let mut server = Command::new(std::env::current_exe()?)
        .args(["server", model])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = server.stdout.take().ok_or_else(|| io::Error::other("no standard output"))?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    let addr = line.trim().parse().map_err(|_| io::Error::other(format!("{model} did not start")))?;
    Ok((server, addr))
}

/// Seconds that all cores were busy since boot.
fn busy_seconds() -> io::Result<f64> {
    let stat = fs::read_to_string("/proc/stat")?;
    let fields: Vec<f64> =
        stat.lines().next().unwrap_or("").split_whitespace().skip(1).filter_map(|n| n.parse().ok()).collect();
    // user nice system idle iowait irq softirq
    let busy: f64 = [0, 1, 2, 5, 6].iter().filter_map(|at| fields.get(*at)).sum();
    Ok(busy / TICKS)
}

/// Seconds of processor time a process has used.
fn process_seconds(pid: u32) -> io::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks: f64 = [11, 12].iter().filter_map(|at| fields.get(*at)?.parse::<f64>().ok()).sum();
    Ok(ticks / TICKS)
}
