//! Going through the crash states of a recorded run.

use super::{
    MemDisk, Op, Spoiled,
    choose::{Choose, Random, Rng, Rule, Ruled},
    tree::Tree,
};

/// What a disk did since [`MemDisk::record`].
#[derive(Debug, Clone)]
pub struct Trace {
    pub(super) base: Tree,
    pub(super) ops: Vec<Op>,
    pub(super) boots: u64,
    /// Sectors that could not be read at the beginning. They stay so, even if they were written since.
    pub(super) spoiled: Spoiled,
}

/// A state that a power cut can leave.
#[derive(Debug)]
pub struct CrashState {
    /// The cut came after so many ops of the trace.
    pub point: usize,
    /// Which outcome at this point; together with `point` and the seed it names the state.
    pub outcome: u64,
    /// The disk as found afterwards.
    pub disk: MemDisk,
}

impl Trace {
    /// Number of changes.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether nothing happened.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// The changes, in order.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }

    /// One outcome of a cut after `point` ops, by chance.
    pub fn replay(&self, point: usize, seed: u64) -> MemDisk {
        let mut tree = self.base.clone();
        self.ops.iter().take(point).for_each(|op| tree.apply(op));
        self.disk(tree.after_cut(&mut Random::new(seed)))
    }

    /// What is there after `point` ops when only the process ends.
    pub fn killed(&self, point: usize) -> MemDisk {
        let mut tree = self.base.clone();
        self.ops.iter().take(point).for_each(|op| tree.apply(op));
        MemDisk::with(tree, self.boots).with_spoiled(&self.spoiled)
    }

    /// Visits states after every prefix of the ops: all of them where there are at most `per_point`;
    /// otherwise nothing kept, everything kept, each change alone lost, each alone kept, and the rest by
    /// chance. Ends at the first `Err`; gives the number of states visited.
    pub fn each_crash<E>(
        &self,
        per_point: u64,
        seed: u64,
        mut visit: impl FnMut(CrashState) -> Result<(), E>,
    ) -> Result<u64, E> {
        let mut tree = self.base.clone();
        let mut rng = Rng::new(seed);
        let mut states = 0;
        for point in 0..=self.ops.len() {
            // Decisions that follow a lost one are never asked for, so only "everything kept" meets them all.
            let mut all = Ruled::new(Rule::AllBut(usize::MAX));
            tree.after_cut(&mut all);
            let combinations = all.combinations;
            for outcome in 0..combinations.min(per_point) {
                let mut random;
                let mut ruled;
                let choose: &mut dyn Choose = match rule(outcome, combinations <= per_point, all.decisions) {
                    Some(rule) => {
                        ruled = Ruled::new(rule);
                        &mut ruled
                    }
                    None => {
                        random = Random::new(rng.next_u64());
                        &mut random
                    }
                };
                visit(CrashState { point, outcome, disk: self.disk(tree.after_cut(choose)) })?;
                states += 1;
            }
            if let Some(op) = self.ops.get(point) {
                tree.apply(op);
            }
        }
        Ok(states)
    }

    fn disk(&self, tree: Tree) -> MemDisk {
        MemDisk::with(tree, self.boots + 1).with_spoiled(&self.spoiled)
    }
}

/// The rule of an outcome, or `None`: by chance.
fn rule(outcome: u64, is_complete: bool, decisions: usize) -> Option<Rule> {
    if is_complete {
        return Some(Rule::Number(outcome));
    }
    let n = usize::try_from(outcome).ok()?;
    match n {
        0 => Some(Rule::Only(usize::MAX)),
        1 => Some(Rule::AllBut(usize::MAX)),
        _ if n - 2 < decisions => Some(Rule::AllBut(n - 2)),
        _ if n - 2 - decisions < decisions => Some(Rule::Only(n - 2 - decisions)),
        _ => None,
    }
}
