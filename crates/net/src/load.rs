//! How many threads of the machine want to run, and how many can.
//!
//! Owns an open file of the system's; knows nothing of what the answer is used for.

use std::{fs::File, os::unix::fs::FileExt, thread};

/// A question to the system.
#[derive(Debug)]
pub(crate) struct Load {
    /// `None` where the system does not tell.
    file: Option<File>,
    processors: usize,
}

impl Default for Load {
    fn default() -> Load {
        // Counts what a container may use, too.
        let processors = thread::available_parallelism().map_or(1, usize::from);
        Load { file: File::open("/proc/loadavg").ok(), processors }
    }
}

impl Load {
    /// Processors that this process may use.
    pub(crate) fn processors(&self) -> usize {
        self.processors
    }

    /// Whether more threads want to run now than there are processors; also when nobody can tell.
    pub(crate) fn is_high(&self) -> bool {
        let mut text = [0; 64];
        let read = self.file.as_ref().and_then(|file| file.read_at(&mut text, 0).ok());
        let text = read.and_then(|n| std::str::from_utf8(text.get(..n)?).ok());
        text.and_then(runnable).is_none_or(|runnable| runnable > self.processors)
    }
}

/// The first number of the fourth word, as of `0.31 0.42 0.40 2/315 20876`.
fn runnable(text: &str) -> Option<usize> {
    text.split(' ').nth(3)?.split('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_answer_is_understood() {
        assert_eq!(runnable("0.31 0.42 0.40 2/315 20876\n"), Some(2));
        assert_eq!(runnable("0.31 0.42"), None);
        assert_eq!(runnable("a b c d/e"), None);
        let deaf = Load { file: None, processors: 64 };
        assert!(deaf.is_high(), "who cannot tell must not assume that there is room");
    }
}
