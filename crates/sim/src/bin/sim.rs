//! Runs seeds: `sim [--seeds N] [--from SEED] [--mode async|sync|both] [--kind KIND] [--echo] [--keep-going]`.
//!
//! Of the kind `any` is what a seed draws; `rich` and `deleting` are those without deletion, and those
//! that have it for certain; `rot` those whose disk rots.
//!
//! Prints progress, and for a failure everything that is needed to see it again. Writes no file: the command
//! around it keeps the ledger.

use kerolox_sim::{
    Mode, Options,
    oracle::{OF_ROT, SOMETIMES},
    run,
};
use std::{collections::BTreeMap, process::ExitCode};

/// In so many seeds everything of the list must happen.
const SEEDS_FOR_ALL: u64 = 1_000;

struct Args {
    seeds: u64,
    from: u64,
    modes: Vec<Mode>,
    draw: fn(u64, Mode) -> Options,
    echo: bool,
    keep_going: bool,
}

fn args() -> Result<Args, String> {
    let both = vec![Mode::Async, Mode::Sync];
    let mut args = Args {
        seeds: 100,
        from: 1,
        modes: both.clone(),
        draw: Options::draw,
        echo: false,
        keep_going: false,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} wants a value"));
        let number = |text: String| text.parse().map_err(|_| format!("{text} is no number"));
        match word.as_str() {
            "--seeds" => args.seeds = number(value()?)?,
            "--from" => args.from = number(value()?)?,
            "--mode" => {
                args.modes = match value()?.as_str() {
                    "async" => vec![Mode::Async],
                    "sync" => vec![Mode::Sync],
                    "both" => both.clone(),
                    other => return Err(format!("--mode {other}: wanted is async, sync or both")),
                }
            }
            "--kind" => {
                args.draw = match value()?.as_str() {
                    "any" => Options::draw,
                    "rich" => Options::rich,
                    "deleting" => Options::deleting,
                    "rot" => Options::rot,
                    other => return Err(format!("--kind {other}: wanted is any, rich, deleting or rot")),
                }
            }
            "--echo" => args.echo = true,
            "--keep-going" => args.keep_going = true,
            other => {
                return Err(format!(
                    "{other}: wanted is --seeds, --from, --mode, --kind, --echo or --keep-going"
                ));
            }
        }
    }
    Ok(args)
}

fn main() -> ExitCode {
    let args = match args() {
        Ok(args) => args,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    let mut sometimes: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut passed, mut failed, mut events, mut rots) = (0u64, 0u64, 0u64, false);
    for seed in args.from..args.from + args.seeds {
        for mode in &args.modes {
            let options = Options { echo: args.echo, ..(args.draw)(seed, *mode) };
            rots |= options.has_rot();
            // A run that panics fails, and the others go on.
            let Ok(outcome) = std::panic::catch_unwind(|| run(&options)) else {
                failed += 1;
                println!("FAIL seed {seed} {mode:?} panics");
                if args.keep_going {
                    continue;
                }
                return ExitCode::FAILURE;
            };
            match outcome {
                Ok(report) => {
                    passed += 1;
                    events += report.events;
                    report.sometimes.iter().for_each(|(what, n)| *sometimes.entry(what).or_default() += n);
                    if args.echo {
                        println!("{report:?}");
                    }
                }
                Err(failure) if args.keep_going => {
                    failed += 1;
                    let violation = &failure.violation;
                    println!("FAIL seed {seed} {mode:?} {}: {}", violation.invariant, violation.text);
                }
                Err(failure) => {
                    println!("{failure}");
                    println!("{passed} passed, 1 failed");
                    return ExitCode::FAILURE;
                }
            }
        }
        if (seed + 1 - args.from).is_multiple_of(100) {
            println!("{} seeds, {events} events", seed + 1 - args.from);
        }
    }
    println!("{sometimes:#?}");
    let wanted = SOMETIMES.iter().filter(|what| rots || !OF_ROT.contains(what));
    let missed: Vec<_> = wanted.filter(|what| !sometimes.contains_key(**what)).collect();
    if !missed.is_empty() {
        println!("never happened: {missed:?}");
        failed += u64::from(args.seeds >= SEEDS_FOR_ALL);
    }
    println!("{events} events");
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
