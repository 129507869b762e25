//! Fixed seeds, in seconds. Nights run fresh ones: `cargo xtask sim`.

use kerolox_sim::{Mode, Options, run};

#[test]
fn two_runs_of_one_seed_are_the_same_run() {
    for mode in [Mode::Async, Mode::Sync] {
        let options = Options::draw(1, mode);
        let (one, other) = (run(&options), run(&options));
        let hash = |run: &Result<kerolox_sim::Report, Box<kerolox_sim::Failure>>| {
            run.as_ref().map_err(|failure| failure.to_string()).map(|report| report.hash)
        };
        assert_eq!(hash(&one).unwrap(), hash(&other).unwrap());
        assert_eq!(one.unwrap(), other.unwrap());
    }
    let hashes = [1, 3].map(|seed| run(&Options::draw(seed, Mode::Async)).map(|report| report.hash).ok());
    assert_ne!(hashes[0], hashes[1]);
}
