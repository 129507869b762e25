//! What earlier owners left beside the log: small files that say how far it is durable and what covers it.

use crate::{
    checkpoint,
    disk::Disk,
    ends::Ends,
    index::Mark,
    line::Line,
    options::Options,
    quarantine,
    smallfile::{self, Digest, Problem, ProblemKind},
};
use std::io;

/// What earlier owners left beside the log.
pub(super) struct Left {
    pub(super) aborted: bool,
    pub(super) same_boot: bool,
    /// What says whether the system has ended since can be read.
    pub(super) knows_boot: bool,
    /// The log was durable up to here; nothing, if no file of ours tells.
    pub(super) flushed: Option<u64>,
    /// What is known of the index.
    pub(super) index_synced: Option<Mark>,
    /// Whether anything is.
    pub(super) index_known: bool,
    pub(super) ends: Option<Ends>,
    pub(super) checkpoint: checkpoint::Checkpoint,
    pub(super) digest: Digest,
}

/// What becomes of a small file that the disk cannot read. All are made again, from the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bad {
    /// It stays, and counts as missing.
    Stays,
    /// It is set aside.
    Aside,
}

impl Left {
    pub(super) fn read(
        disk: &dyn Disk,
        options: &Options,
        bad: Bad,
        lines: &mut Vec<Line>,
    ) -> io::Result<Left> {
        let root = &options.paths.root;
        let progress = checkpoint::load_progress(disk, &options.paths)?;
        let ends = smallfile::load(disk, &Ends::path(&options.paths.root), Ends::parse)?;
        let any = |bytes: &[u8]| Ok::<_, std::convert::Infallible>(bytes.to_vec());
        let checkpoint = smallfile::load(disk, &root.join("checkpoint"), any)?;
        let of_checkpoint = checkpoint.problems.iter().filter(|problem| is_unreadable(problem));
        for problem in progress.problems.iter().chain(&ends.problems).chain(of_checkpoint) {
            lines.push(match (is_unreadable(problem), bad) {
                (true, Bad::Aside) => {
                    let to = quarantine::set_aside(disk, root, &problem.path)?;
                    Line::warn(format!(
                        "{problem}; it is moved to {} and made again from the log",
                        to.display()
                    ))
                }
                _ => Line::warn(problem.to_string()),
            });
        }
        let bytes = checkpoint.value.unwrap_or_default();
        let knows_boot = progress.value.is_some();
        // Entries are written of what is flushed.
        let told = progress.value.as_ref().map(|progress| progress.flushed.0);
        let flushed = told.max(ends.value.as_ref().map(|ends| ends.covers.0));
        let digest = Digest::of(&bytes);
        let is_anothers = ends.value.as_ref().is_some_and(|ends| !ends.checkpoints.contains(&digest));
        let progress = progress.value.unwrap_or_default();
        Ok(Left {
            aborted: checkpoint::was_aborted(disk, &options.paths)?,
            knows_boot,
            same_boot: progress.is_same_boot(disk),
            // Of a log that another broker carried on, or made anew, it says nothing.
            flushed: flushed.filter(|_| !is_anothers),
            index_synced: progress.index_synced,
            index_known: progress.index_written.is_some(),
            ends: ends.value,
            checkpoint: checkpoint::Checkpoint::parse(&bytes),
            digest,
        })
    }

    /// The log was durable up to here at least.
    pub(super) fn flushed(&self) -> u64 {
        self.flushed.unwrap_or(0)
    }

    /// Nobody else had the store since.
    pub(super) fn is_ours(&self) -> bool {
        self.ends.as_ref().is_some_and(|ends| ends.checkpoints.contains(&self.digest))
    }

    /// From here on a power cut may have taken names and lengths of files.
    pub(super) fn unsure_from(&self) -> u64 {
        if self.aborted && !self.same_boot { self.flushed() } else { u64::MAX }
    }
}

fn is_unreadable(problem: &Problem) -> bool {
    problem.kind == ProblemKind::Unreadable
}
