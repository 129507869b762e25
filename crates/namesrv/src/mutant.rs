//! Bugs that can be planted in the name server, to prove that tests find them.
//!
//! Compiled only with the feature `mutants`, which no binary sets; off unless a test switches one on for its own
//! thread. The table in `docs/mutants.md` says which test kills which.

use std::cell::Cell;

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// A good-bye that comes over an old connection takes the newer registration away.
    StaleUnregister,
    /// The end of an old connection takes the newer registration away.
    OldCloseDrops,
    /// A registration from an old connection overwrites the newer one.
    StaleRegistration,
    /// A registration that names fewer topics shrinks the route.
    RouteShrinks,
}

impl Mutant {
    /// All of them.
    pub const ALL: &[Mutant] =
        &[Mutant::StaleUnregister, Mutant::OldCloseDrops, Mutant::StaleRegistration, Mutant::RouteShrinks];
}

thread_local! {
    static ON: Cell<Option<Mutant>> = const { Cell::new(None) };
}

/// Switches a bug on for this thread, or all off.
pub fn plant(mutant: Option<Mutant>) {
    ON.set(mutant);
}

/// Whether it is on.
pub fn is_on(mutant: Mutant) -> bool {
    ON.get() == Some(mutant)
}
