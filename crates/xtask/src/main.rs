//! The project's own commands: `cargo xtask verify` is the whole gate, `cargo xtask fix` its writing twin.
//!
//! Owns the order of the checks and the closing count. Knows no product code: it runs cargo and reads text.

mod campaign;
mod compare;
mod dist;
mod footprint;
mod fuzz;
mod instructions;
mod run;
mod sim;
mod tidy;

use anyhow::{Result, bail};
use run::{Count, cargo, cargo_counted};
use std::{path::PathBuf, time::Instant};

const USAGE: &str = "\
cargo xtask verify [--quick]   everything CI checks; changes nothing. --quick leaves out foreign clients
cargo xtask fix                format, apply clippy's suggestions, write the generated pages anew
cargo xtask tidy               the repository's own rules alone
cargo xtask dist               build the release: static binary, links, sample configuration
cargo xtask footprint [DIR]    time to the first answer, idle memory and processor time; stores below DIR
cargo xtask sim [--seeds N] [--from SEED] [--mode async|sync|both] [--kind any|rich|deleting|rot] [--keep-going]
                               simulate fresh seeds, and note the outcome in docs/ledger/sim.md
cargo xtask fuzz [--seconds N] [TARGET…]
                               run the fuzz targets, 120 s each unless told, and note it in docs/ledger/fuzz.jsonl
cargo xtask crash [--cycles N] [--flush async|sync] [--seed S]
                               kill the real broker in a loop, and note the outcome in docs/ledger/crash.jsonl
cargo xtask powercut [--cuts N] [--mode sync|async] [--seed S]
                               cut the power under the real broker on ext4, and note the outcome in
                               docs/ledger/powercut.jsonl; as root, with /dev/fuse
cargo xtask enumerate [--states N]
                               crash states of recorded runs of the store, noted in docs/ledger/enumerate.jsonl
cargo xtask faults [--step N]  one call of the disk after the other fails, the disk is full at one byte after the other;
                               noted in docs/ledger/faults.jsonl
cargo xtask size               build the release binary and print its size and what it links to
cargo xtask instructions       count instructions per message with valgrind and hold them against the ledger;
                               --write writes the ledger anew
cargo xtask compare [OPTIONS]  measure the rows of docs/performance.md against the original, which is looked for in
                               ../shared/original; alone on the machine, or pairs are repeated and marked
    --rows P1,P2,…  --pairs N (5)  --seconds S (5)  --retries N (3)  --port P (29000)  --dir DIR
    --binary FILE (else a release build)  --original SCRIPT  --ours-only  --no-record
    --backlog PERCENT (100) of what P11 and P18 read: less is a trial of the command, and not recorded
";

fn main() -> Result<()> {
    std::env::set_current_dir(root())?;
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|word| word == "--help" || word == "-h") {
        print!("{USAGE}");
        return Ok(());
    }
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["verify"] => verify(true),
        ["verify", "--quick"] => verify(false),
        ["fix"] => fix(),
        ["tidy"] => tidy::check(&root()).map(drop),
        ["dist"] => dist::build(),
        ["footprint"] => footprint::measure(&std::env::temp_dir().display().to_string()),
        ["footprint", dir] => footprint::measure(dir),
        ["size"] => size(),
        ["sim", rest @ ..] => sim::run(rest),
        ["crash", words @ ..] => campaign::crash(words),
        ["powercut", words @ ..] => campaign::powercut(words),
        ["enumerate", words @ ..] => campaign::enumerate(words),
        ["faults", words @ ..] => campaign::faults(words),
        ["fuzz", words @ ..] => fuzz::run(words),
        ["instructions"] => instructions::run(false).map(drop),
        ["instructions", "--write"] => instructions::run(true).map(drop),
        ["compare", ..] => compare::run(&compare::Options::parse(&args[1..])?),
        [] | ["help", ..] => {
            print!("{USAGE}");
            Ok(())
        }
        [word, ..] => bail!("cargo xtask {word}: not known, or not with these words\n\n{USAGE}"),
    }
}

/// The repository's root: two levels above this crate.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Runs every check, even after one failed, so that one run names all that is wrong.
fn verify(foreign_clients: bool) -> Result<()> {
    let mut count = Count::default();
    let mut step = |name: &str, check: &dyn Fn() -> Result<Count>| {
        let began = Instant::now();
        println!("\n== {name}");
        let found = check().unwrap_or_else(|why| {
            println!("{name}: {why:#}");
            Count { failed: 1, ..Count::default() }
        });
        println!("== {name}: {found} in {:.1} s", began.elapsed().as_secs_f64());
        count += found;
    };
    step("format", &|| cargo(&["fmt", "--all", "--check"]));
    step("tidy", &|| tidy::check(&root()));
    step("clippy", &|| {
        cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])
    });
    step("tests", &|| cargo_counted(&["test", "--workspace", "--locked", "--no-fail-fast"]));
    step("release build", &|| cargo(&["build", "--release", "--locked", "--package", "kerolox"]));
    if foreign_clients {
        step("foreign clients", &|| {
            cargo_counted(&[
                "run",
                "--release",
                "--locked",
                "--package",
                "conformance",
                "--",
                "--target",
                "kerolox",
                "--quick",
            ])
        });
    }
    println!("\n{count}");
    if count.failed > 0 { bail!("{} checks failed; they are named above", count.failed) } else { Ok(()) }
}

fn fix() -> Result<()> {
    cargo(&["fmt", "--all"])?;
    cargo(&["clippy", "--workspace", "--all-targets", "--fix", "--allow-dirty", "--allow-staged"])?;
    run::cargo_with_env(&["test", "--workspace", "--", "page"], &[("KEROLOX_BLESS", "1")])?;
    cargo(&["fmt", "--all"]).map(drop)
}

fn size() -> Result<()> {
    cargo(&["build", "--release", "--package", "kerolox"])?;
    let binary = run::target_dir().join("release/kerolox");
    println!("{} bytes", std::fs::metadata(&binary)?.len());
    run::command("ldd", &[&binary.display().to_string()], &[]).map(drop)
}
