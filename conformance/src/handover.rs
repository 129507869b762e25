//! One store that goes from the original to Kerolox and back, with messages on their way at every switch.
//!
//! Owns the order of turns; what a turn sends, leaves and expects is in `Handover.java`. Both brokers find the
//! same directory: the original's `home/store`, which `store` leads to for Kerolox.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::server::{Server, Target};
use crate::suites::Place;

/// Four turns: each broker takes over twice, once with what the other made of its own files.
const TURNS: usize = 4;

/// Runs the turns. With `kill` the broker is killed before each switch, else it is stopped.
pub fn run(place: &Place, original: &Target, kerolox: &Target, dir: &Path, kill: bool) -> Result<String> {
    fs::create_dir_all(dir.join("home/store"))?;
    std::os::unix::fs::symlink("home/store", dir.join("store"))?;
    for turn in 1..=TURNS {
        let (name, target) = if turn % 2 == 1 { ("the original", original) } else { ("Kerolox", kerolox) };
        let whose = || format!("turn {turn}, {name}'s");
        let mut server = Server::start(target, dir).with_context(whose)?;
        let mut client = place.java(&place.work.join("java/lib"), "handover")?;
        fs::create_dir_all(place.work.join("home/handover"))?;
        client.args(["Handover", &server.namesrv(), &turn.to_string()]);
        let output = client.stdin(Stdio::null()).stderr(Stdio::null()).output().with_context(whose)?;
        let said = String::from_utf8_lossy(&output.stdout);
        let verdict = said.lines().find(|line| line.starts_with("PASS") || line.starts_with("FAIL"));
        if verdict != Some("PASS") {
            bail!("{}: {}", whose(), verdict.unwrap_or("the client ended without a word"));
        }
        if kill {
            server.kill()?;
        }
        server.stop()?;
    }
    Ok(format!("{TURNS} turns, {} before each switch", if kill { "killed" } else { "stopped" }))
}
