//! The large runs that no test run has time for, and the ledger that each appends a line to.
//!
//! Owns how a campaign is started and how its result is written down; what it does is in the crates that run.

use crate::run::target_dir;
use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};
use std::{
    fs::OpenOptions,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

/// Options of a campaign: `--name value` pairs.
pub struct Options<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Options<'a> {
    pub fn read(words: &[&'a str], known: &[&str]) -> Result<Options<'a>> {
        let mut found = Vec::new();
        for pair in words.chunks(2) {
            let [name, value] = pair else { bail!("{} needs a value", pair.join(" ")) };
            match name.strip_prefix("--").filter(|name| known.contains(name)) {
                Some(name) => found.push((name, *value)),
                None => bail!("{name} is none of --{}", known.join(", --")),
            }
        }
        Ok(Options(found))
    }

    pub fn get(&self, name: &str, usual: &'a str) -> &'a str {
        self.0.iter().rev().find(|(known, _)| *known == name).map_or(usual, |(_, value)| value)
    }
}

/// Kills the real broker in a loop.
pub fn crash(words: &[&str]) -> Result<()> {
    on_the_broker("crash", "cycles", ("flush", "async"), words)
}

/// Cuts the power under the real broker in a loop.
pub fn powercut(words: &[&str]) -> Result<()> {
    on_the_broker("powercut", "cuts", ("mode", "sync"), words)
}

/// Builds the broker and the program that ends it `count` times, and runs that.
fn on_the_broker(name: &str, count: &str, mode: (&str, &str), words: &[&str]) -> Result<()> {
    let options = Options::read(words, &[count, mode.0, "seed", "profile"])?;
    let profile = options.get("profile", "release");
    let commit = commit()?;
    let program = format!("kerolox-{name}");
    run(
        "cargo",
        &["build", "--locked", "--profile", profile, "--package", "kerolox", "--package", &program],
    )?;
    let built = target_dir().join(profile);
    let dir = std::env::temp_dir().join(format!("{program}-{}", std::process::id()));
    let mut command = Command::new(built.join(&program));
    command.arg("--binary").arg(built.join("kerolox")).arg("--dir").arg(dir);
    for (name, usual) in [(count, "50"), mode, ("seed", "1")] {
        command.arg(format!("--{name}")).arg(options.get(name, usual));
    }
    let lines = output(&mut command)?;
    let result = lines.last().context("the campaign said nothing")?;
    let result: Map<String, Value> = serde_json::from_str(result).context("read the campaign's result")?;
    write_down(name, profile, commit, result)
}

/// Visits the crash states of a store in memory.
pub fn enumerate(words: &[&str]) -> Result<()> {
    let options = Options::read(words, &["states", "profile"])?;
    let (states, profile) = (options.get("states", "800"), options.get("profile", "release"));
    let (began, commit) = (Instant::now(), commit()?);
    let lines = tests("crash", profile, ("CRASH_STATES", states))?;
    let sum = |name: &str| -> u64 {
        lines.iter().filter_map(|line| line.rsplit_once(name)?.1.trim().parse::<u64>().ok()).sum()
    };
    let mut result = Map::new();
    result.insert("statesPerPoint".into(), states.parse::<u64>().context("--states")?.into());
    result.insert("states".into(), sum("crash states: ").into());
    result.insert("statesWithinRecovery".into(), sum("crash states within recovery: ").into());
    result.insert("seconds".into(), began.elapsed().as_secs().into());
    write_down("enumerate", profile, commit, result)
}

/// Fails every write and sync in turn, and fills the disk at every byte.
pub fn faults(words: &[&str]) -> Result<()> {
    let options = Options::read(words, &["step", "profile"])?;
    let (step, profile) = (options.get("step", "1"), options.get("profile", "release"));
    let (began, commit) = (Instant::now(), commit()?);
    let lines = tests("faults", profile, ("FAULT_STEP", step))?;
    let count = |mark: &str| lines.iter().filter(|line| line.contains(mark)).count();
    let mut result = Map::new();
    result.insert("failedCalls".into(), count("failed: ").into());
    result.insert("fullAfterBytes".into(), count("full after: ").into());
    result.insert("fullAtPages".into(), count("full at: ").into());
    result.insert("seconds".into(), began.elapsed().as_secs().into());
    write_down("faults", profile, commit, result)
}

/// Runs one test file of the store.
fn tests(name: &str, profile: &str, (key, value): (&str, &str)) -> Result<Vec<String>> {
    output(
        Command::new("cargo")
            .args(["test", "--locked", "--profile", profile, "--package", "kerolox-store", "--test", name])
            .args(["--", "--nocapture", "--test-threads", "1"])
            .env(key, value),
    )
}

fn run(program: &str, words: &[&str]) -> Result<()> {
    output(Command::new(program).args(words)).map(drop)
}

/// Runs a command that must succeed; its lines.
pub fn output(command: &mut Command) -> Result<Vec<String>> {
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("start {command:?}"))?;
    let out = child.stdout.take().context("the child's output")?;
    let lines = BufReader::new(out).lines().collect::<Result<Vec<_>, _>>()?;
    if !child.wait()?.success() {
        bail!("{command:?} failed: {}", lines.join("\n"));
    }
    Ok(lines)
}

/// What is about to be built and run. To be asked before: the work goes on while a campaign runs.
pub fn commit() -> Result<String> {
    let name = first_line("git", &["describe", "--always", "--abbrev=10"])?;
    // Lines that other campaigns have added change nothing of what is run.
    let status = ["status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)docs/ledger"];
    let changed = output(Command::new("git").args(status))?;
    Ok(if changed.is_empty() { name } else { format!("{name}-dirty") })
}

fn first_line(program: &str, words: &[&str]) -> Result<String> {
    Ok(output(Command::new(program).args(words))?.into_iter().next().unwrap_or_default())
}

/// Appends a result to its ledger, with when and of what it is.
pub fn write_down(name: &str, profile: &str, commit: String, result: Map<String, Value>) -> Result<()> {
    let mut line = Map::new();
    line.insert("date".into(), first_line("date", &["-u", "+%Y-%m-%d"])?.into());
    line.insert("commit".into(), commit.into());
    line.insert("profile".into(), profile.into());
    line.extend(result);
    let line = Value::Object(line).to_string();
    let path = Path::new("docs/ledger").join(format!("{name}.jsonl"));
    std::fs::create_dir_all("docs/ledger")?;
    let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
    writeln!(file, "{line}")?;
    println!("{line}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_pairs_of_known_names() {
        let options = Options::read(&["--cycles", "7", "--cycles", "8"], &["cycles", "flush"]).unwrap();
        assert_eq!((options.get("cycles", "1"), options.get("flush", "async")), ("8", "async"));
        assert!(Options::read(&["--cycle", "7"], &["cycles"]).is_err());
        assert!(Options::read(&["--cycles"], &["cycles"]).is_err());
    }
}
