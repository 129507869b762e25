//! A bug planted in the code, and the runs that must find it.

use kerolox_sim::{Failure, Options, Report, run};
use kerolox_store::mutant::{Mutant, plant};

/// Seeds that a bug has to be found in.
const SEEDS: u64 = 60;

fn with(mutant: Option<Mutant>, options: &Options) -> Result<Report, Box<Failure>> {
    plant(mutant);
    let result = run(options);
    plant(None);
    result
}

/// Looks for `mutant` in runs drawn for the seeds from `first` on: the invariant that is broken must be one of
/// `expected`, and the same run must hold without it.
pub fn kills_in(mutant: Mutant, first: u64, expected: &[&str], draw: impl Fn(u64) -> Options) {
    let found = (first..first + SEEDS).find_map(|seed| {
        let options = draw(seed);
        with(Some(mutant), &options).err().map(|failure| (options, failure))
    });
    let Some((options, failure)) = found else {
        panic!("{mutant:?} lives through the seeds {first} to {}", first + SEEDS - 1)
    };
    let invariant = failure.violation.invariant;
    println!("{mutant:?}: seed {} breaks {invariant}: {}", options.seed, failure.violation.text);
    assert!(expected.contains(&invariant), "{mutant:?}: wanted one of {expected:?}, found {failure}");
    if let Err(failure) = with(None, &options) {
        panic!("without {mutant:?}: {failure}");
    }
}
