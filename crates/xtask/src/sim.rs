//! Large volumes of simulation, by hand or by night, with a ledger.
//!
//! Owns `docs/ledger/sim.md`: one line per run, so that the volumes behind a release can be added up. Knows
//! nothing of what a seed means.

use crate::{campaign, run};
use anyhow::{Context, Result, bail};
use std::{fs::OpenOptions, io::Write, path::Path, process::Command};

const LEDGER: &str = "docs/ledger/sim.md";
const HEAD: &str = "# Simulated seeds

Each line is a run of `cargo xtask sim`; `async` and `sync` are the flush modes, and `both` runs each seed twice. A run of
`deleting` deletes old files under load, one of `rot` has a disk that rots.

| Date | Commit | Seeds | Mode | Result |
|---|---|---|---|---|
";

/// Runs the simulator with these arguments and notes what came of it.
pub fn run(args: &[&str]) -> Result<()> {
    let mut command =
        vec!["run", "--profile", "sim", "--locked", "--package", "kerolox-sim", "--bin", "sim", "--"];
    command.extend(args);
    let commit = campaign::commit()?;
    let (success, count) = run::command("cargo", &command, &[])?;
    let ran = count.passed + count.failed;
    if ran == 0 {
        bail!("the simulator ran no seed");
    }
    let value = |name: &str, default: &str| {
        let at = args.iter().position(|arg| *arg == name);
        at.and_then(|at| args.get(at + 1)).map_or(default.to_owned(), |value| (*value).to_owned())
    };
    let (from, seeds) = (value("--from", "1"), value("--seeds", "100"));
    let mode = match value("--kind", "any") {
        kind if kind == "any" => value("--mode", "both"),
        kind => format!("{}, {kind}", value("--mode", "both")),
    };
    let line = format!(
        "| {} | {} | {seeds} from {from} | {mode} | {} passed, {} failed |\n",
        output("date", &["-u", "+%Y-%m-%d"])?,
        commit,
        count.passed,
        count.failed
    );
    note(Path::new(LEDGER), &line)?;
    print!("{line}");
    if success { Ok(()) } else { bail!("{} of {ran} runs failed; their seeds are named above", count.failed) }
}

fn note(ledger: &Path, line: &str) -> Result<()> {
    std::fs::create_dir_all(ledger.parent().context("the ledger's directory")?)?;
    let mut file = OpenOptions::new().create(true).append(true).open(ledger)?;
    if file.metadata()?.len() == 0 {
        file.write_all(HEAD.as_bytes())?;
    }
    file.write_all(line.as_bytes()).context("write the ledger")
}

fn output(program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(program).args(args).output().with_context(|| format!("start {program}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_begins_with_its_head_and_grows() {
        let dir = std::env::temp_dir().join(format!("kerolox-xtask-ledger-{}", std::process::id()));
        let ledger = dir.join("sim.md");
        note(&ledger, "| a |\n").unwrap();
        note(&ledger, "| b |\n").unwrap();
        assert_eq!(std::fs::read_to_string(&ledger).unwrap(), format!("{HEAD}| a |\n| b |\n"));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
