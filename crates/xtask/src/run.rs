//! Runs commands, passes their output on, and counts the tests they report.

use anyhow::{Context, Result, bail};
use std::{
    fmt,
    io::{BufRead, BufReader},
    ops::AddAssign,
    path::PathBuf,
    process::{Command, Stdio},
};

/// What checks found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Held.
    pub passed: u64,
    /// Did not hold.
    pub failed: u64,
    /// Could not be run here, with the reason printed.
    pub skipped: u64,
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Count) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// Where cargo builds to.
pub fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from)
}

/// Runs cargo; success counts as one check.
pub fn cargo(args: &[&str]) -> Result<Count> {
    cargo_with_env(args, &[])
}

/// Runs cargo with more environment.
pub fn cargo_with_env(args: &[&str], env: &[(&str, &str)]) -> Result<Count> {
    let (success, _) = command("cargo", args, env)?;
    if !success {
        bail!("cargo {} failed", args.join(" "));
    }
    Ok(Count { passed: 1, ..Count::default() })
}

/// Runs cargo and counts the tests that its output reports. A run that fails without naming a failed test
/// (it did not build, it crashed) counts as one failure; one that reports no test at all is an error.
pub fn cargo_counted(args: &[&str]) -> Result<Count> {
    let (success, mut count) = command("cargo", args, &[])?;
    if !success && count.failed == 0 {
        count.failed = 1;
    }
    if count == Count::default() {
        bail!("cargo {} ran no test", args.join(" "));
    }
    Ok(count)
}

/// Runs a command, echoing its standard output; whether it succeeded, and the tests reported.
pub fn command(program: &str, args: &[&str], env: &[(&str, &str)]) -> Result<(bool, Count)> {
    let mut child = Command::new(program)
        .args(args)
        .envs(env.iter().copied())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("start {program}"))?;
    let mut count = Count::default();
    let output = child.stdout.take().context("the child's output")?;
    for line in BufReader::new(output).lines() {
        let line = line?;
        println!("{line}");
        if let Some(found) = reported(&line) {
            count += found;
        }
    }
    Ok((child.wait()?.success(), count))
}

/// Reads a closing line of cargo's test runner (`test result: ok. 3 passed; 0 failed; 1 ignored; …`) or the
/// plain form (`3 passed, 0 failed, 1 skipped`).
fn reported(line: &str) -> Option<Count> {
    let rest = match line.strip_prefix("test result: ") {
        Some(rest) => rest.split_once(". ")?.1,
        None => line,
    };
    let mut words = rest.split([';', ',']).map(str::trim);
    let mut take = |unit: &str| words.next()?.strip_suffix(unit)?.trim().parse::<u64>().ok();
    let (passed, failed) = (take("passed")?, take("failed")?);
    let skipped = words.next().and_then(|word| word.split_once(' ')?.0.parse().ok()).unwrap_or(0);
    Some(Count { passed, failed, skipped })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_closing_lines_are_read_and_other_lines_are_not() {
        let count = |passed, failed, skipped| Some(Count { passed, failed, skipped });
        let cargo =
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.09s";
        assert_eq!(reported(cargo), count(12, 0, 1));
        assert_eq!(reported("test result: FAILED. 3 passed; 2 failed; 0 ignored"), count(3, 2, 0));
        assert_eq!(reported("31 passed, 1 failed, 2 skipped"), count(31, 1, 2));
        assert_eq!(reported("31 passed, 1 failed"), count(31, 1, 0));
        assert_eq!(reported("PASS quickstart"), None);
        assert_eq!(reported("test a::b ... ok"), None);
    }
}
