//! A bounded run of what fuzzing does, the same every time: a target on its seeds and on mutations of them.
//!
//! Owns the mutations. Knows no target: the crates that have some run them here in their tests; `fuzz/` runs the same
//! targets for hours.

use proptest::{
    prelude::*,
    sample::Index,
    test_runner::{RngAlgorithm, TestRng, TestRunner},
};

/// Mutations of one seed at the most.
const MUTATIONS_MAX: usize = 5;
/// Tries to make a failing input smaller: some targets open a store, which takes its time.
const SHRINKS_MAX: u32 = 64;

/// Runs a target on its seeds, and on so many mutations of them.
///
/// # Panics
/// If the target does, with its name and a small input for which it does.
pub fn on_mutations(name: &str, target: impl Fn(&[u8]), seeds: &[Vec<u8>], cases: u32) {
    assert!(!seeds.is_empty(), "{name} has nothing to begin with");
    seeds.iter().for_each(|seed| target(seed));
    let mutations = proptest::collection::vec(any::<Mutation>(), 1..=MUTATIONS_MAX);
    let inputs = (any::<Index>(), mutations).prop_map(|(seed, mutations)| {
        let mut bytes = seed.get(seeds).clone();
        mutations.iter().for_each(|mutation| mutate(&mut bytes, mutation));
        bytes
    });
    on_inputs(name, target, inputs, cases);
}

/// Runs a target on so many inputs of its own kind.
///
/// # Panics
/// If the target does, with its name and a small input for which it does.
pub fn on_inputs(name: &str, target: impl Fn(&[u8]), inputs: impl Strategy<Value = Vec<u8>>, cases: u32) {
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        max_shrink_iters: SHRINKS_MAX,
        ..ProptestConfig::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let run = TestRunner::new_with_rng(config, rng).run(&inputs, |bytes| {
        target(&bytes);
        Ok(())
    });
    run.unwrap_or_else(|why| panic!("{name}: {why}"));
}

/// A place, another place, a byte, and which kind.
type Mutation = (Index, Index, u8, u8);

fn mutate(bytes: &mut Vec<u8>, (at, other, byte, kind): &Mutation) {
    if bytes.is_empty() {
        return;
    }
    let (at, other) = (at.index(bytes.len()), other.index(bytes.len()));
    match kind % 7 {
        0 => bytes[at] = *byte,
        1 => bytes.insert(at, *byte),
        2 => drop(bytes.remove(at)),
        3 => bytes.swap(at, other),
        4 => bytes[at] ^= 1 << (byte % 8),
        // Among digits it makes a number larger.
        5 => bytes[at] = b'9',
        _ => bytes.truncate(at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{cell::RefCell, collections::BTreeSet, panic::catch_unwind};

    fn inputs(cases: u32) -> Vec<Vec<u8>> {
        let seen = RefCell::new(Vec::new());
        on_mutations("all", |bytes| seen.borrow_mut().push(bytes.to_vec()), &[b"seed".to_vec()], cases);
        seen.into_inner()
    }

    #[test]
    fn inputs_are_the_same_every_time_and_differ_from_each_other() {
        let first = inputs(200);
        assert_eq!(first, inputs(200));
        assert_eq!((first.len(), first[0].as_slice()), (201, &b"seed"[..]));
        let lens: BTreeSet<_> = first.iter().map(Vec::len).collect();
        assert!((0..=6).all(|len| lens.contains(&len)), "cut and grown: {lens:?}");
        assert!(first.iter().collect::<BTreeSet<_>>().len() > 100);
    }

    #[test]
    fn a_broken_promise_is_found_and_named() {
        let found = catch_unwind(|| {
            on_mutations("target", |bytes| assert!(!bytes.contains(&b'9')), &[b"abcdefgh".to_vec()], 200);
        });
        let said = found.expect_err("a nine comes up");
        let said = said.downcast_ref::<String>().expect("text");
        assert!(said.starts_with("target: ") && said.contains("57"), "{said}");
    }
}
