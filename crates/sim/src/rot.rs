//! What a disk does in silence: bytes that change at rest, writes that never happen or land elsewhere.
//!
//! Knows kinds of files and of damage; what was damaged is in the [`ledger`](crate::ledger).

use crate::random::Random;

/// What a device takes as one, bytes.
pub const SECTOR: u64 = 512;

/// A kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// The commit log.
    Log,
    /// Files of consume queues.
    Queue,
    /// Files of the index.
    Index,
    /// `checkpoint`, `kerolox.checkpoint`, `kerolox.queues`.
    Small,
}

/// How much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// One bit.
    Bit,
    /// A sector, which holds anything then.
    Sector,
}

/// Something that goes wrong in silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rot {
    /// Bytes change where they lie.
    Decay {
        /// In which kind of file.
        victim: Victim,
        /// How many.
        harm: Harm,
        /// Not before the broker's life has ended, however that comes.
        between_lives: bool,
    },
    /// The next write to the log is acknowledged and never happens.
    LostWrite,
    /// It happens elsewhere, at the multiple of a sector.
    StrayWrite {
        /// In a file of this kind.
        into: Victim,
    },
}

impl Rot {
    /// One of them.
    pub fn draw(r: &mut Random) -> Rot {
        let victims = [Victim::Log, Victim::Log, Victim::Log, Victim::Queue, Victim::Index, Victim::Small];
        let victim = r.pick(&victims).copied().unwrap_or(Victim::Log);
        match r.below(10) {
            0 => Rot::LostWrite,
            1 | 2 => Rot::StrayWrite { into: if r.chance(60) { Victim::Log } else { victim } },
            _ => {
                let harm = if r.chance(60) { Harm::Bit } else { Harm::Sector };
                Rot::Decay { victim, harm, between_lives: r.chance(50) }
            }
        }
    }
}
