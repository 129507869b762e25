//! The servers under test: starting them on free ports, killing them hard, starting them again on the same data.
//!
//! Knows processes and ports, and of each target only its command line. Ends what it started when dropped.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// The broker's distance from the name server, as the original's starter has it.
const BROKER_OFFSET: u16 = 1035;
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Which servers to run the clients against.
#[derive(Debug, Clone)]
pub enum Target {
    /// `BIN dev`: name server and broker in one process.
    Kerolox(PathBuf),
    /// The original's published packages, through their starter script.
    Original(PathBuf),
}

/// A running name server and broker on 127.0.0.1 with a store of their own.
pub struct Server {
    target: Target,
    dir: PathBuf,
    port: u16,
    child: Option<Child>,
    /// The store is wanted after the servers ended.
    keeps_store: bool,
}

impl Server {
    /// Starts on free ports with an empty store below `dir` and returns when both ports answer.
    pub fn start(target: &Target, dir: &Path) -> Result<Server> {
        fs::create_dir_all(dir)?;
        let port = free_port()?;
        let mut server =
            Server { target: target.clone(), dir: dir.to_owned(), port, child: None, keeps_store: false };
        match &server.target {
            Target::Kerolox(_) => server.spawn_dev()?,
            Target::Original(script) => {
                let mut start = Command::new(script);
                // On a busy machine it would refuse sends that waited 200 ms, and clients do not say those again.
                start.arg("start").arg(dir).arg(port.to_string()).arg("waitTimeMillsInSendQueue=10000");
                run_script(start, dir)?;
            }
        }
        server.await_ready()?;
        Ok(server)
    }

    /// The name server's address.
    pub fn namesrv(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The broker's address.
    pub fn broker(&self) -> String {
        format!("127.0.0.1:{}", self.broker_port())
    }

    fn broker_port(&self) -> u16 {
        self.port + BROKER_OFFSET
    }

    /// Whether the broker still accepts connections.
    pub fn answers(&self) -> bool {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.broker_port()));
        TcpStream::connect_timeout(&address, Duration::from_secs(3)).is_ok()
    }

    /// Ends the broker as a crash does: no signal it could handle, nothing flushed by it.
    pub fn kill(&mut self) -> Result<()> {
        match &self.target {
            Target::Kerolox(_) => {
                let mut child = self.child.take().context("nothing runs")?;
                child.kill()?;
                child.wait()?;
            }
            Target::Original(script) => {
                let mut kill = Command::new(script);
                kill.arg("kill").arg(&self.dir);
                run_script(kill, &self.dir)?;
            }
        }
        Ok(())
    }

    /// Ends the servers as an operator does, or what is left of them after [`Server::kill`], and keeps the store.
    pub fn stop(mut self) -> Result<()> {
        self.keeps_store = true;
        if let Some(mut child) = self.child.take() {
            let status = Command::new("kill").args(["-TERM", &child.id().to_string()]).status()?;
            if !status.success() {
                bail!("the server could not be told to stop");
            }
            let ended = child.wait()?;
            if !ended.success() {
                bail!("the server ended with {ended}; see {}", self.log());
            }
        }
        Ok(())
    }

    /// Starts again on the same ports and the same store.
    pub fn restart(&mut self) -> Result<()> {
        match &self.target {
            Target::Kerolox(_) => self.spawn_dev()?,
            Target::Original(script) => {
                let mut broker = Command::new(script);
                broker
                    .arg("broker")
                    .arg(&self.dir)
                    .arg(self.port.to_string())
                    .arg("waitTimeMillsInSendQueue=10000");
                run_script(broker, &self.dir)?;
            }
        }
        self.await_ready()
    }

    fn spawn_dev(&mut self) -> Result<()> {
        let Target::Kerolox(binary) = &self.target else { bail!("not our binary") };
        let log = File::options().create(true).append(true).open(self.dir.join("server.log"))?;
        let child = Command::new(binary)
            .arg("dev")
            .arg("--store")
            .arg(self.dir.join("store"))
            .args([
                "--namesrv-port",
                &self.port.to_string(),
                "--broker-port",
                &self.broker_port().to_string(),
            ])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", binary.display()))?;
        self.child = Some(child);
        Ok(())
    }

    fn await_ready(&mut self) -> Result<()> {
        let end = Instant::now() + READY_WITHIN;
        for port in [self.port, self.broker_port()] {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
                if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten()) {
                    bail!("the server ended with {status} before port {port} answered; see {}", self.log());
                }
                if Instant::now() > end {
                    bail!("port {port} did not answer within {READY_WITHIN:?}; see {}", self.log());
                }
                thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(())
    }

    fn log(&self) -> String {
        self.dir.join("server.log").display().to_string()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        match &self.target {
            Target::Kerolox(_) => {
                if let Some(child) = &mut self.child {
                    let _ = child.kill();
                    let _ = child.wait();
                }
            }
            Target::Original(script) => {
                let mut stop = Command::new(script);
                stop.arg("stop").arg(&self.dir);
                if let Err(cause) = run_script(stop, &self.dir) {
                    eprintln!("stopping the original: {cause:#}");
                }
            }
        }
        if self.keeps_store {
            return;
        }
        // A store of a bulk run is more than a gigabyte; the logs stay.
        for store in ["store", "home/store"] {
            let _ = fs::remove_dir_all(self.dir.join(store));
        }
    }
}

/// Runs the starter to its end. Its background children inherit the files, so they must not be pipes of ours.
fn run_script(mut command: Command, dir: &Path) -> Result<()> {
    let log = File::options().create(true).append(true).open(dir.join("server.log"))?;
    if std::env::var_os("HEAP").is_none() {
        command.env("HEAP", "1g");
    }
    let status = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).status()?;
    if !status.success() {
        bail!("the original's starter ended with {status}; see {}", dir.join("server.log").display());
    }
    Ok(())
}

/// A name server port whose broker, VIP and replication ports are free as well.
fn free_port() -> Result<u16> {
    let first = 20_000 + (std::process::id() % 2_000) as u16;
    (0..2_000_u16)
        .map(|step| 20_000 + (first - 20_000 + step * 7) % 2_900)
        .find(|&port| {
            let broker = port + BROKER_OFFSET;
            [port, broker, broker - 2, broker + 1]
                .iter()
                .all(|&each| TcpListener::bind((Ipv4Addr::UNSPECIFIED, each)).is_ok())
        })
        .context("no four free ports between 20000 and 24000")
}
