//! Starting, pausing and ending the servers that are compared.
//!
//! Every server is a process that this one started, known by its number, and is ended with its value.

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
    /// The broker's process.
    pub pid: u32,
    kept: Kept,
}

enum Kept {
    Ours(Child),
    Original { script: PathBuf, dir: PathBuf },
}

impl Server {
    /// Starts ours on a fresh directory: name server and broker in one process, which is accounted as a whole.
    pub fn ours(binary: &Path, dir: &Path, port: u16, settings: &[&str]) -> Result<Server> {
        fresh(dir)?;
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
        let addr = format!("127.0.0.1:{broker}");
        let server = Server { addr, pid: child.id(), kept: Kept::Ours(child) };
        server.wait()?;
        Ok(server)
    }

    /// Starts the original on a fresh directory.
    pub fn original(script: &Path, dir: &Path, port: u16, settings: &[&str]) -> Result<Server> {
        fresh(dir)?;
        let kept = Kept::Original { script: script.to_owned(), dir: dir.to_owned() };
        // Made first, so that whatever was started is ended if the start fails.
        let mut server = Server { addr: format!("127.0.0.1:{}", port + BROKER_ABOVE), pid: 0, kept };
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
            }
            Kept::Original { script, dir } => {
                let _ = original_command(script).arg("stop").arg(&*dir).status();
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
    let status = Command::new("kill").arg(name).arg(pid.to_string()).status().context("run kill")?;
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
