//! Bugs that can be planted, to prove that tests find them: how a crate declares its own, and asks for one.
//!
//! Owns no bug. A crate that has some declares them with [`bugs!`] in its module `mutant`, behind its feature `mutants`,
//! which no binary sets; without the feature nothing is left of them. Each is off unless a test switches it on for its
//! own thread. The table in `docs/mutants.md` says which test kills which.

/// Declares the bugs of a crate: the type `Mutant`, `plant` and `is_on`.
#[macro_export]
macro_rules! bugs {
    ($( $(#[$doc:meta])* $bug:ident, )*) => {
        /// A bug.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Mutant {
            $( $(#[$doc])* $bug, )*
        }

        impl Mutant {
            /// All of them.
            pub const ALL: &[Mutant] = &[ $( Mutant::$bug, )* ];
        }

        ::std::thread_local! {
            static ON: ::std::cell::Cell<Option<Mutant>> = const { ::std::cell::Cell::new(None) };
        }

        /// Switches a bug on for this thread, or all off.
        pub fn plant(mutant: Option<Mutant>) {
            ON.set(mutant);
        }

        /// Whether it is on.
        pub fn is_on(mutant: Mutant) -> bool {
            ON.get() == Some(mutant)
        }
    };
}

/// Whether a bug of the crate that asks is on; never without its feature `mutants`.
#[macro_export]
#[expect(clippy::crate_in_macro_def, reason = "feature and module are those of the crate that asks")]
macro_rules! mutant {
    ($bug:ident) => {{
        #[cfg(feature = "mutants")]
        {
            crate::mutant::is_on(crate::mutant::Mutant::$bug)
        }
        #[cfg(not(feature = "mutants"))]
        {
            $crate::NO_BUG
        }
    }};
}

/// A name, since a bare `false` would read as a slip wherever a bug can be planted.
pub const NO_BUG: bool = false;
