//! What a server costs that nobody uses: time to its first answer, memory, processor time.
//!
//! Owns the measurement; starts the release binary in each of its roles, on ports that nobody else uses.

use crate::run;
use anyhow::{Context, Result, bail};
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Starts per role; the middle one counts.
const STARTS: usize = 15;
/// Before the idle time begins: registration and the first exports are over.
const SETTLE: Duration = Duration::from_secs(8);
const IDLE: Duration = Duration::from_secs(30);

/// A way to run the binary.
struct Role {
    name: &'static str,
    words: Vec<String>,
    port: u16,
    /// A request without fields that this role answers.
    code: u32,
}

/// Kills its process when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Already ended is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Measures all roles with stores below `dir`.
pub fn measure(dir: &str) -> Result<()> {
    run::cargo(&["build", "--release", "--locked", "--package", "kerolox"])?;
    let binary = run::target_dir().join("release/kerolox");
    let dir = Path::new(dir).join(format!("kerolox-footprint-{}", std::process::id()));
    println!("| role | first answer, ms: median (min-max) of {STARTS} | idle: cores | anonymous MiB |");
    println!("|---|---|---|---|");
    for role in roles(&dir) {
        let mut times = Vec::new();
        for _ in 0..STARTS {
            let (running, took) = start(&binary, &role)?;
            times.push(took.as_secs_f64() * 1000.0);
            stop(running)?;
        }
        times.sort_by(f64::total_cmp);
        let (running, _) = start(&binary, &role)?;
        thread::sleep(SETTLE);
        let before = cpu(running.0.id())?;
        thread::sleep(IDLE);
        let cores = (cpu(running.0.id())? - before).as_secs_f64() / IDLE.as_secs_f64();
        let (first, middle, last) = (times[0], times[STARTS / 2], times[STARTS - 1]);
        let anonymous = anonymous_kib(running.0.id())? as f64 / 1024.0;
        println!("| {} | {middle:.1} ({first:.1}-{last:.1}) | {cores:.6} | {anonymous:.1} |", role.name);
    }
    fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))
}

fn roles(dir: &Path) -> [Role; 3] {
    let words = |words: &[String]| words.to_vec();
    let store = |name: &str| dir.join(name).display().to_string();
    let namesrv =
        ["mqnamesrv".into(), "listenPort=29876".into(), format!("kvConfigPath={}", store("kv.json"))];
    let broker = [
        "mqbroker".into(),
        "listenPort=20911".into(),
        "brokerIP1=127.0.0.1".into(),
        format!("storePathRootDir={}", store("broker")),
    ];
    let dev = ["dev", "--namesrv-port", "39876", "--broker-port", "30911", "--store"];
    let dev: Vec<String> = dev.iter().map(|word| (*word).to_owned()).chain([store("dev")]).collect();
    [
        Role { name: "name server", words: words(&namesrv), port: 29_876, code: 206 },
        Role { name: "broker", words: words(&broker), port: 20_911, code: 28 },
        Role { name: "dev", words: dev, port: 30_911, code: 28 },
    ]
}

/// Starts a role; the time until its first answer.
fn start(binary: &Path, role: &Role) -> Result<(Running, Duration)> {
    let began = Instant::now();
    let mut command = Command::new(binary);
    command.args(&role.words).stdout(Stdio::null()).stderr(Stdio::null());
    let mut running = Running(command.spawn().with_context(|| format!("start {}", binary.display()))?);
    while began.elapsed() < Duration::from_secs(30) {
        match TcpStream::connect(("127.0.0.1", role.port)) {
            Ok(mut socket) => {
                ask(&mut socket, role.code)?;
                return Ok((running, began.elapsed()));
            }
            Err(_) => thread::sleep(Duration::from_micros(200)),
        }
        if let Some(status) = running.0.try_wait()? {
            bail!("the {} ended with {status}", role.name);
        }
    }
    bail!("the {} does not answer", role.name)
}

fn ask(socket: &mut TcpStream, code: u32) -> Result<()> {
    let header = format!(
        "{{\"code\":{code},\"flag\":0,\"opaque\":1,\"language\":\"OTHER\",\"version\":0,\"extFields\":{{}}}}"
    );
    let mut frame = (4 + header.len() as u32).to_be_bytes().to_vec();
    frame.extend_from_slice(&(header.len() as u32).to_be_bytes());
    frame.extend_from_slice(header.as_bytes());
    socket.write_all(&frame)?;
    socket.read_exact(&mut [0; 8]).context("read the first answer")
}

fn stop(mut running: Running) -> Result<()> {
    let status = Command::new("kill").arg(running.0.id().to_string()).status().context("run kill")?;
    if !status.success() {
        bail!("cannot stop the server");
    }
    running.0.wait().context("wait for the server").map(drop)
}

/// Time on a processor of all its threads, to the nanosecond.
fn cpu(pid: u32) -> Result<Duration> {
    let mut nanos = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).context("list the threads")? {
        let stat = fs::read_to_string(task?.path().join("schedstat"))?;
        nanos +=
            stat.split(' ').next().and_then(|text| text.parse::<u64>().ok()).context("read schedstat")?;
    }
    Ok(Duration::from_nanos(nanos))
}

fn anonymous_kib(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("find RssAnon")?;
    line.trim().trim_end_matches(" kB").parse().context("read RssAnon")
}
