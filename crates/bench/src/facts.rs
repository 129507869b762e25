//! What the machine and the processes did during a run, from `/proc`.

use serde::Serialize;
use std::fs;

/// Facts that make a figure comparable.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Processor name.
    pub cpu: String,
    /// Processors this process may use.
    pub cores: usize,
    /// Kernel release.
    pub kernel: String,
    /// Memory in MiB.
    pub memory_mib: u64,
}

impl Machine {
    /// Reads them; what cannot be read is said to be unknown.
    pub fn read() -> Machine {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let name = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Machine {
            cpu: name.map_or("unknown", |(_, name)| name.trim()).to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            memory_mib: field_kib(&meminfo, "MemTotal:").unwrap_or(0) / 1024,
        }
    }
}

/// Processor time so far, in seconds.
#[derive(Debug, Clone, Copy)]
pub struct Cpu {
    /// All processors, everything but idle.
    pub busy: f64,
    /// This process.
    pub own: f64,
    /// Threads of the kernel: writing pages back, and what interrupts leave to do.
    pub kernel: f64,
    /// The server, user and system; if its process is known.
    pub server: Option<(f64, f64)>,
}

impl Cpu {
    /// Reads the counters.
    pub fn read(server_pid: Option<u32>) -> Cpu {
        let own = process("self").map_or(0.0, |(user, system)| user + system);
        Cpu {
            busy: busy(),
            own,
            kernel: kernel_threads(),
            server: server_pid.and_then(|pid| process(&pid.to_string())),
        }
    }
}

/// Memory of a process in KiB: anonymous, file-backed.
pub fn rss_kib(pid: u32) -> Option<(u64, u64)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some((field_kib(&status, "RssAnon:")?, field_kib(&status, "RssFile:")?))
}

fn field_kib(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}

fn ticks_per_second() -> f64 {
    rustix::param::clock_ticks_per_second() as f64
}

fn busy() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks: Vec<u64> =
        stat.lines().next().unwrap_or("").split_whitespace().skip(1).filter_map(|n| n.parse().ok()).collect();
    // user nice system (idle iowait) irq softirq steal
    let idle = ticks.get(3).copied().unwrap_or(0) + ticks.get(4).copied().unwrap_or(0);
    let all: u64 = ticks.iter().take(8).sum();
    all.saturating_sub(idle) as f64 / ticks_per_second()
}

/// Processor time of all threads of the kernel. They are told by their parent, which is `kthreadd` (2).
fn kernel_threads() -> f64 {
    let Ok(entries) = fs::read_dir("/proc") else { return 0.0 };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let of_kernel = |pid: &String| {
        let (parent, user, system) = stat(pid)?;
        (parent == 2).then_some(user + system)
    };
    pids.filter(|pid| pid.bytes().all(|b| b.is_ascii_digit())).filter_map(|pid| of_kernel(&pid)).sum()
}

fn process(pid: &str) -> Option<(f64, f64)> {
    stat(pid).map(|(_, user, system)| (user, system))
}

/// Parent, user and system seconds of a process.
fn stat(pid: &str) -> Option<(u32, f64, f64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after = stat.rsplit_once(')')?.1;
    let parent = after.split_whitespace().nth(1)?.parse().ok()?;
    let mut fields = after.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<f64>().ok();
    Some((parent, next()? / ticks_per_second(), next()? / ticks_per_second()))
}
