//! `cargo xtask instructions`: how many instructions a message costs, counted by valgrind and held against a
//! committed ledger. Times differ from run to run and machine to machine; these do not.
//!
//! Owns the ledger's form. Knows no product code: the example it runs in `broker` does.

use crate::run::{Count, cargo, target_dir};
use anyhow::{Context, Result, bail};
use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, Stdio},
};

const LEDGER: &str = "docs/ledger/instructions.md";
/// Shape, messages in one request.
const SHAPES: &[(&str, u64)] =
    &[("send-json", 1), ("send-binary", 1), ("batch-32-of-128", 32), ("pull-32", 32)];
/// Requests in a group of the example.
const GROUP: u64 = 64;
/// Two lengths of a run: their difference is free of start and end.
const GROUPS: (u64, u64) = (20, 60);
/// How much more than the ledger says is still the same: inlining moves with every change.
const SLACK: f64 = 1.05;

/// Counts; with `write` the ledger is written anew, else a shape that costs more than it says is a failure.
pub fn run(write: bool) -> Result<Count> {
    if Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("skipped: valgrind is not installed, and nothing else here counts instructions exactly");
        return Ok(Count { skipped: 1, ..Count::default() });
    }
    cargo(&[
        "build",
        "--profile",
        "bench-quick",
        "--locked",
        "-p",
        "kerolox-broker",
        "--example",
        "instructions",
    ])?;
    let known = read(&std::fs::read_to_string(LEDGER).unwrap_or_default());
    let mut found = Vec::new();
    let mut count = Count::default();
    for (shape, messages) in SHAPES {
        let (short, long) = (collect(shape, GROUPS.0)?, collect(shape, GROUPS.1)?);
        let counted = (GROUPS.1 - GROUPS.0) * GROUP * messages;
        let per_message = long.saturating_sub(short) as f64 / counted as f64;
        let before = known.get(*shape).copied();
        let worse = before.is_some_and(|before| per_message > before * SLACK);
        let compared = before.map_or("new".to_owned(), |before| format!("ledger {before:.0}"));
        println!("{shape:<18} {per_message:>8.0} instructions per message ({compared})");
        match worse && !write {
            true => count.failed += 1,
            false => count.passed += 1,
        }
        found.push((*shape, per_message));
    }
    if write {
        std::fs::create_dir_all("docs/ledger")?;
        std::fs::write(LEDGER, page(&found))?;
    }
    if count.failed > 0 {
        bail!(
            "{} shapes cost more than {LEDGER} says; find out why, or accept it with --write",
            count.failed
        );
    }
    Ok(count)
}

/// Instructions of one run.
fn collect(shape: &str, groups: u64) -> Result<u64> {
    let example = target_dir().join("bench-quick/examples/instructions");
    let dir = target_dir().join("instructions");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(&example)
        .args([shape, &groups.to_string()])
        .arg(Path::new(&dir))
        .output()
        .context("run valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("{shape}: {said}");
    }
    let line = said.lines().find_map(|line| line.split_once("Collected :")).context("valgrind's count")?;
    line.1.trim().parse().context("valgrind's count")
}

fn page(found: &[(&str, f64)]) -> String {
    let mut out = "# Instructions per message\n\nUser space of the whole broker without sockets: frame to \
                   answer, append, queues, index, and the jobs that follow. Counted by `cargo xtask instructions` \
                   with\nvalgrind's callgrind on profile `bench-quick`; `--write` writes this page anew. More than \
                   5 % above it is a failure. Of a byte copied or cleared in bulk valgrind may count one instruction (`rep`), which\nis most of what a pull costs here.\n\n| shape | instructions per message |\n|---|---|\n"
        .to_owned();
    for (shape, per_message) in found {
        out += &format!("| {shape} | {per_message:.0} |\n");
    }
    out
}

fn read(page: &str) -> BTreeMap<String, f64> {
    let row = |line: &str| {
        let mut columns = line.strip_prefix('|')?.split('|').map(str::trim);
        Some((columns.next()?.to_owned(), columns.next()?.parse().ok()?))
    };
    page.lines().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_reads_back() {
        let read = read(&page(&[("a", 1234.4), ("b", 5.0)]));
        assert_eq!(read, BTreeMap::from([("a".to_owned(), 1234.0), ("b".to_owned(), 5.0)]));
    }
}
