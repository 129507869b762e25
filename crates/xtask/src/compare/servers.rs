//! Starting, pausing and ending the servers that are compared.
//!
//! Every server is a process that this one started, known by its number, and is ended with its value.

use super::guard;
use anyhow::{Context, Result, bail};
use std::{
    io::{BufRead, BufReader},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// The original's broker listens so far above its name server.
pub const BROKER_ABOVE: u16 = 1035;

/// A broker with its name server.
pub struct Server {
    /// Where the broker listens.
    pub addr: String,
    /// Where the name server listens.
    pub ns: String,
    /// The broker's process.
    pub pid: u32,
    /// The broker's store.
    pub store: PathBuf,
    kept: Kept,
}

/// How a broker is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Kill,
    Stop,
}

impl End {
    fn signal(self) -> &'static str {
        match self {
            End::Kill => "-KILL",
            End::Stop => "-TERM",
        }
    }
}

/// What a second start needs.
pub struct Again<'a> {
    pub binary: &'a Path,
    pub dir: &'a Path,
    pub port: u16,
    /// Runs between the end and the start.
    pub between: &'a dyn Fn() -> Result<()>,
}

enum Kept {
    Ours(Child),
    Original { script: PathBuf, dir: PathBuf },
}

impl Server {
    /// Starts ours on a fresh directory: name server and broker in one process, which is accounted as a whole.
    pub fn ours(binary: &Path, dir: &Path, port: u16, settings: &[&str]) -> Result<Server> {
        fresh(dir)?;
        let server = Server::ours_again(binary, dir, port, settings)?;
        server.wait()?;
        Ok(server)
    }

    /// Starts ours on the directory as it is, and does not wait for it.
    pub fn ours_again(binary: &Path, dir: &Path, port: u16, settings: &[&str]) -> Result<Server> {
        let (ns, broker) = (port.to_string(), (port + 10).to_string());
        let child = Command::new(binary)
            .arg("dev")
            .args(["--namesrv-port", &ns, "--broker-port", &broker, "--store"])
            .arg(dir.join("store"))
            .args(settings)
            .stdout(std::fs::File::create(dir.join("out"))?)
            .stderr(std::fs::File::create(dir.join("err"))?)
            .spawn()
            .with_context(|| format!("start {}", binary.display()))?;
        let (addr, ns) = (format!("127.0.0.1:{broker}"), format!("127.0.0.1:{ns}"));
        let server = Server { addr, ns, pid: child.id(), store: dir.join("store"), kept: Kept::Ours(child) };
        guard::watch(&server.pid.to_string())?;
        Ok(server)
    }

    /// Starts the original on a fresh directory.
    pub fn original(script: &Path, dir: &Path, port: u16, settings: &[&str]) -> Result<Server> {
        fresh(dir)?;
        let kept = Kept::Original { script: script.to_owned(), dir: dir.to_owned() };
        // Made first, so that whatever was started is ended if the start fails.
        let mut server = Server {
            addr: format!("127.0.0.1:{}", port + BROKER_ABOVE),
            ns: format!("127.0.0.1:{port}"),
            pid: 0,
            store: dir.join("home/store"),
            kept,
        };
        guard::watch(&dir.display().to_string())?;
        let status = original_command(script)
            .arg("start")
            .arg(dir)
            .arg(port.to_string())
            .args(settings)
            .stdout(Stdio::null())
            .status()
            .context("start the original")?;
        if !status.success() {
            bail!("the original did not start; see {}", dir.display());
        }
        server.pid = std::fs::read_to_string(dir.join("broker.pid"))?.trim().parse()?;
        server.wait()?;
        Ok(server)
    }

    fn wait(&self) -> Result<()> {
        wait_for(&self.addr, Duration::from_secs(60)).map(drop)
    }

    /// Stops it where it is, so that it uses no processor while another is measured.
    pub fn pause(&self) -> Result<()> {
        signal("-STOP", self.pid)
    }

    /// Ends the broker with a signal and starts it again, the original's without its name server. Returns how long
    /// the end took, and the time at which the start began.
    pub fn end_and_start(&mut self, how: End, again: &Again<'_>) -> Result<(Duration, Instant)> {
        let began = Instant::now();
        match &mut self.kept {
            Kept::Ours(child) => {
                signal(how.signal(), self.pid)?;
                child.wait()?;
                let took = began.elapsed();
                guard::forget(&self.pid.to_string());
                (again.between)()?;
                let began = Instant::now();
                *self = Server::ours_again(again.binary, again.dir, again.port, &[])?;
                Ok((took, began))
            }
            Kept::Original { script, dir } => {
                let verb = if how == End::Kill { "kill" } else { "stop-broker" };
                original_command(script).arg(verb).arg(&*dir).status()?;
                let took = began.elapsed();
                (again.between)()?;
                let began = Instant::now();
                // Its script waits for the port in steps; who measures asks the port itself meanwhile.
                original_command(script)
                    .arg("broker")
                    .arg(&*dir)
                    .arg(again.port.to_string())
                    .stdout(Stdio::null())
                    .spawn()?;
                Ok((took, began))
            }
        }
    }

    /// Learns the number of a broker that was started again, once its script has noted it.
    pub fn settle(&mut self, at_most: Duration) -> Result<()> {
        let Kept::Original { dir, .. } = &self.kept else { return Ok(()) };
        let began = Instant::now();
        loop {
            let text = std::fs::read_to_string(dir.join("broker.pid")).unwrap_or_default();
            match text.trim().parse() {
                Ok(pid) if pid != self.pid => {
                    self.pid = pid;
                    return Ok(());
                }
                _ if began.elapsed() > at_most => bail!("the original's broker has no number"),
                _ => thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    /// Lets it go on.
    pub fn resume(&self) -> Result<()> {
        signal("-CONT", self.pid)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // What is stopped cannot end; and it may be gone already.
        let _ = self.resume();
        match &mut self.kept {
            Kept::Ours(child) => {
                let _ = child.kill();
                let _ = child.wait();
                guard::forget(&self.pid.to_string());
            }
            Kept::Original { script, dir } => {
                let _ = original_command(script).arg("kill").arg(&*dir).status();
                let _ = original_command(script).arg("stop").arg(&*dir).status();
                guard::forget(&dir.display().to_string());
            }
        }
    }
}

/// The script that runs the original, with the heap that is stated beside the results.
pub fn original_command(script: &Path) -> Command {
    let mut command = Command::new("bash");
    command.arg(script).env("HEAP", "2g");
    command
}

/// An empty directory.
pub fn fresh(dir: &Path) -> Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(why) if why.kind() != std::io::ErrorKind::NotFound => {
            return Err(why).with_context(|| format!("clear {}", dir.display()));
        }
        _ => {}
    }
    std::fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))
}

/// Waits until something listens.
pub fn wait_for(addr: &str, at_most: Duration) -> Result<TcpStream> {
    let began = Instant::now();
    loop {
        match TcpStream::connect(addr) {
            Ok(stream) => return Ok(stream),
            Err(why) if began.elapsed() > at_most => {
                return Err(why).with_context(|| format!("nothing listens on {addr}"));
            }
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    }
}

fn signal(name: &str, pid: u32) -> Result<()> {
    let status = Command::new("kill")
        .arg(name)
        .arg(pid.to_string())
        .stderr(Stdio::null())
        .status()
        .context("run kill")?;
    if status.success() { Ok(()) } else { bail!("process {pid} is gone") }
}

/// The echo server.
pub struct Echo {
    child: Child,
    pub addr: String,
}

impl Echo {
    pub fn start(binary: &Path) -> Result<Echo> {
        let mut child = Command::new(binary).args(["bench", "echo-server"]).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().context("the echo server's output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let addr = line.trim().rsplit(' ').next().unwrap_or_default().to_owned();
        Ok(Echo { child, addr })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
