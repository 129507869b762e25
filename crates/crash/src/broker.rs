//! The broker's process: starting it, waiting until it serves, killing it.

use anyhow::{Context, Result, bail};
use std::{
    fs::{File, OpenOptions},
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

/// Small files, so that a campaign crosses their borders often.
pub const SMALL_FILES: [&str; 4] = [
    "mappedFileSizeCommitLog=1048576",
    "mappedFileSizeConsumeQueue=20000",
    "maxHashSlotNum=1000",
    "maxIndexNum=5000",
];

/// What to start, on what, and how.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The program.
    pub binary: PathBuf,
    /// The store; made if it is not there.
    pub store: PathBuf,
    /// What the broker says beside its boot line; appended to.
    pub log: PathBuf,
    /// `key=value`, of `broker.conf`.
    pub settings: Vec<String>,
}

/// A process that is to become a broker.
pub struct Starting {
    child: Child,
}

/// A broker that serves.
pub struct Broker {
    process: Starting,
    addr: SocketAddr,
}

impl Starting {
    /// Starts the process and does not wait.
    pub fn spawn(launch: &Launch) -> Result<Starting> {
        let log: File =
            OpenOptions::new().create(true).append(true).open(&launch.log).context("open the log")?;
        let child = Command::new(&launch.binary)
            .args(["dev", "--namesrv-port", "0", "--broker-port", "0", "--store"])
            .arg(&launch.store)
            .args(&launch.settings)
            .env_remove("NAMESRV_ADDR")
            .env_remove("ROCKETMQ_HOME")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", launch.binary.display()))?;
        Ok(Starting { child })
    }
}

/// Looks at the files that a killed broker left: queues and index must agree with the log.
pub fn verify(launch: &Launch) -> Result<()> {
    let output = Command::new(&launch.binary)
        .args(["store", "verify"])
        .arg(&launch.store)
        .args(&launch.settings)
        .output()
        .context("verify the store")?;
    if !output.status.success() {
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        bail!("I15: the store is not whole: {out}{err}");
    }
    Ok(())
}

impl Broker {
    /// Waits until a starting broker serves.
    pub fn serving(mut process: Starting) -> Result<Broker> {
        let Some(out) = process.child.stdout.take() else { bail!("the process has no output") };
        let mut out = BufReader::new(out);
        let mut line = String::new();
        while out.read_line(&mut line)? > 0 {
            if let Some(addr) = boot_line(&line) {
                // Whatever else it says must not fill the pipe.
                std::thread::spawn(move || out.read_to_end(&mut Vec::new()));
                return Ok(Broker { process, addr });
            }
            line.clear();
        }
        let status = process.child.wait()?;
        bail!("the broker ended with {status} instead of serving; its log tells why")
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Ends the process without a warning.
    pub fn kill(self) -> Result<()> {
        self.process.kill()
    }

    /// The process, for who has a signal for it.
    pub fn process_id(&self) -> u32 {
        self.process.child.id()
    }

    /// Waits until the process ends by itself, well.
    pub fn ended(mut self) -> Result<()> {
        let status = self.process.child.wait().context("wait for the broker")?;
        if status.success() { Ok(()) } else { bail!("the broker ended with {status}") }
    }
}

impl Starting {
    /// Ends the process without a warning.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill().context("kill the broker")?;
        self.child.wait().context("wait for the broker")?;
        Ok(())
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        // Ended already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address in the line that the broker says when it serves.
fn boot_line(line: &str) -> Option<SocketAddr> {
    let rest = line.strip_prefix("The broker[")?;
    rest.split_once(", ")?.1.split_once(']')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_from_the_boot_line() {
        let line =
            "The broker[broker-a, 127.0.0.1:10911] boot success. serializeType=JSON and name server is x;";
        assert_eq!(boot_line(line), Some(([127, 0, 0, 1], 10911).into()));
        assert_eq!(boot_line("The Name Server boot success."), None);
    }
}
