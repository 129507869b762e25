//! What happened, as one number: two runs of one seed must come to the same.
//!
//! FNV-1a over every event, and the last lines of it for whoever reads a failure.

use std::collections::VecDeque;

/// Lines kept for a failure's report.
const LINES_MAX: usize = 60;

/// Hash and tail of a run.
#[derive(Debug, Clone)]
pub struct Trace {
    hash: u64,
    events: u64,
    lines: VecDeque<String>,
    echo: bool,
}

impl Trace {
    /// An empty trace; `echo` prints every line of note as it comes.
    pub fn new(echo: bool) -> Trace {
        Trace { hash: 0xcbf2_9ce4_8422_2325, events: 0, lines: VecDeque::new(), echo }
    }

    /// An event: its kind, its time and its numbers or bytes.
    pub fn event(&mut self, kind: &str, at: i64, bytes: &[u8]) {
        self.events += 1;
        self.eat(kind.as_bytes());
        self.eat(&at.to_le_bytes());
        self.eat(bytes);
    }

    /// An event that a reader of a failure wants to see.
    pub fn note(&mut self, at: i64, line: String) {
        self.event("note", at, line.as_bytes());
        if self.echo {
            println!("{at:>8} {line}");
        }
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(format!("{at:>8} {line}"));
    }

    fn eat(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// The hash so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Events so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The last lines of note.
    pub fn tail(&self) -> String {
        self.lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_time_and_bytes_count() {
        let hash = |events: &[(&str, i64, &[u8])]| {
            let mut trace = Trace::new(false);
            events.iter().for_each(|(kind, at, bytes)| trace.event(kind, *at, bytes));
            trace.hash()
        };
        let plain = hash(&[("a", 1, b"x"), ("b", 2, b"y")]);
        assert_eq!(plain, hash(&[("a", 1, b"x"), ("b", 2, b"y")]));
        for other in [
            hash(&[("b", 2, b"y"), ("a", 1, b"x")]),
            hash(&[("a", 1, b"x"), ("b", 3, b"y")]),
            hash(&[("a", 1, b"x"), ("b", 2, b"z")]),
            hash(&[("a", 1, b"x")]),
        ] {
            assert_ne!(plain, other);
        }
    }
}
