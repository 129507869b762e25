//! Runs the fuzz targets one after the other and keeps the ledger `docs/ledger/fuzz.jsonl`.
//!
//! Owns the order and the notes. Knows nothing of what a target does: cargo-fuzz builds and runs it, with a nightly
//! compiler that the rest of the project does not need. An input that breaks a promise is left where cargo-fuzz puts
//! it, `fuzz/artifacts/TARGET`, and the run goes on with the next target.

use crate::campaign::{self, Options};
use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};
use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

/// `[--seconds N] [TARGET…]`: all targets unless some are named.
pub fn run(words: &[&str]) -> Result<()> {
    let named = words.iter().rev().take_while(|word| word.parse::<u64>().is_err() && !word.starts_with("--"));
    let named: Vec<&str> = named.copied().collect();
    let options = Options::read(&words[..words.len() - named.len()], &["seconds"])?;
    let seconds: u64 = options.get("seconds", "120").parse().context("--seconds")?;
    let commit = campaign::commit()?;
    fuzz(&["run", "--quiet", "--release", "--bin", "seeds"])?;
    let known = fuzz(&["fuzz", "list"])?;
    let mut targets: Vec<&str> =
        known.iter().map(|line| line.trim()).filter(|name| *name != "seeds").collect();
    if let Some(unknown) = named.iter().find(|name| !targets.contains(name)) {
        bail!("{unknown} is none of {}", targets.join(", "));
    }
    targets.retain(|target| named.is_empty() || named.contains(target));
    fuzz(&["fuzz", "build"])?;
    let mut broken = Vec::new();
    for target in targets {
        if !one(target, seconds, &commit)? {
            broken.push(target);
        }
    }
    if broken.is_empty() { Ok(()) } else { bail!("broken: {}; see fuzz/artifacts", broken.join(", ")) }
}

/// Runs one target and notes how it went; whether it kept its promises.
fn one(target: &str, seconds: u64, commit: &str) -> Result<bool> {
    println!("== {target} for {seconds} s");
    let mut child = cargo(&["fuzz", "run", target, "--"])
        .arg(format!("-max_total_time={seconds}"))
        .args([
            "-print_final_stats=1",
            "-verbosity=0",
            "-timeout=20",
            "-rss_limit_mb=1024",
            "-malloc_limit_mb=512",
        ])
        .stderr(Stdio::piped())
        .spawn()
        .context("start cargo fuzz")?;
    let mut runs = 0u64;
    let mut last = String::new();
    for line in BufReader::new(child.stderr.take().context("the child's output")?).lines() {
        let line = line?;
        if let Some(count) = line.strip_prefix("stat::number_of_executed_units:") {
            runs = count.trim().parse().context("executed units")?;
        } else if line.contains("panicked at") || line.starts_with("SUMMARY") || line.starts_with("==") {
            println!("{line}");
            last = line;
        }
    }
    let kept = child.wait()?.success();
    let mut result = Map::new();
    result.insert("target".into(), target.into());
    result.insert("runs".into(), runs.into());
    result.insert("seconds".into(), seconds.into());
    result.insert(
        "result".into(),
        if kept { Value::from("kept") } else { Value::from(format!("broken: {last}")) },
    );
    campaign::write_down("fuzz", "fuzz", commit.to_owned(), result)?;
    Ok(kept)
}

fn cargo(words: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    // What started us chose a compiler for the workspace; fuzzing wants another.
    command.env_remove("RUSTUP_TOOLCHAIN").arg("+nightly").args(words).current_dir("fuzz");
    command.env_remove("CARGO");
    command
}

fn fuzz(words: &[&str]) -> Result<Vec<String>> {
    campaign::output(&mut cargo(words))
}
