//! What the cases' result lines mean: parsing them, the list of promised cases, the closing count.
//!
//! Pure text to values. Does not know how a suite is run or where its output came from.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};

/// How one case ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// All its expectations held.
    Pass,
    /// Why it failed, in one line.
    Fail(String),
}

/// Results of one suite's program, gathered line by line.
#[derive(Debug, Default)]
pub struct Transcript {
    planned: BTreeSet<String>,
    ended: BTreeMap<String, Outcome>,
    /// Lines beginning with NOTE, without that word.
    pub notes: Vec<String>,
}

impl Transcript {
    /// Takes one line of output; lines that are no result lines are ignored.
    pub fn line(&mut self, line: &str) {
        let Some((word, rest)) = line.trim_end().split_once(' ') else { return };
        match word {
            "CASE" => {
                self.planned.insert(rest.to_owned());
            }
            "PASS" => self.end(rest, Outcome::Pass),
            "FAIL" => {
                let (name, reason) = rest.split_once(": ").unwrap_or((rest, "no reason given"));
                self.end(name, Outcome::Fail(reason.to_owned()));
            }
            "NOTE" => self.notes.push(rest.to_owned()),
            _ => {}
        }
    }

    /// A second result never makes a failed case pass.
    fn end(&mut self, name: &str, outcome: Outcome) {
        self.planned.insert(name.to_owned());
        match self.ended.get(name) {
            Some(Outcome::Fail(_)) => {}
            _ => {
                self.ended.insert(name.to_owned(), outcome);
            }
        }
    }

    /// Every planned case with its end; one without a result failed, and `how_ended` says how its program stopped.
    pub fn cases(self, how_ended: &str) -> Vec<(String, Outcome)> {
        let mut ended = self.ended;
        self.planned
            .into_iter()
            .map(|name| {
                let outcome = ended
                    .remove(&name)
                    .unwrap_or_else(|| Outcome::Fail(format!("no result; its program {how_ended}")));
                (name, outcome)
            })
            .collect()
    }
}

/// The promised cases, by full name `suite/case`, one a line; `#` begins a comment.
#[derive(Debug, Default)]
pub struct AllowList(BTreeSet<String>);

impl AllowList {
    /// Reads the list.
    pub fn parse(text: &str) -> AllowList {
        let names = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
        AllowList(names.filter(|name| !name.is_empty()).map(str::to_owned).collect())
    }

    /// Whether the case is promised.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// Promised cases of these suites that were not even planned: a program that lost a case must not pass.
    pub fn lost<'a>(
        &'a self,
        suites: &'a [&str],
        seen: &'a BTreeSet<String>,
    ) -> impl Iterator<Item = &'a str> {
        self.0.iter().map(String::as_str).filter(move |name| {
            let of_suite = name.split_once('/').is_some_and(|(suite, _)| suites.contains(&suite));
            of_suite && !seen.contains(*name)
        })
    }
}

/// The closing count.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Cases that passed, promised or not.
    pub passed: usize,
    /// Failures that fail the run.
    pub failed: usize,
    /// Suites that could not run, and failing cases that nobody promised yet.
    pub skipped: usize,
}

impl Display for Tally {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transcript(lines: &[&str]) -> Transcript {
        let mut transcript = Transcript::default();
        lines.iter().for_each(|line| transcript.line(line));
        transcript
    }

    #[test]
    fn a_planned_case_without_a_result_failed() {
        let cases = transcript(&["CASE a", "CASE b", "PASS a", "noise"]).cases("ended with 139");
        assert_eq!(cases[0], ("a".into(), Outcome::Pass));
        assert_eq!(cases[1], ("b".into(), Outcome::Fail("no result; its program ended with 139".into())));
    }

    #[test]
    fn a_failure_is_not_undone_by_a_later_pass() {
        let cases = transcript(&["FAIL a: wanted 1: got 2", "PASS a"]).cases("");
        assert_eq!(cases, [("a".into(), Outcome::Fail("wanted 1: got 2".into()))]);
    }

    #[test]
    fn a_lost_case_is_found_only_in_suites_that_ran() {
        let list = AllowList::parse("java/a\njava/b # why\n\n# go/x\ngo/c\n");
        let seen = BTreeSet::from(["java/a".to_owned()]);
        assert_eq!(list.lost(&["java"], &seen).collect::<Vec<_>>(), ["java/b"]);
        assert!(list.has("go/c") && !list.has("go/x"));
    }

    #[test]
    fn the_closing_line_is_the_plain_one() {
        let tally = Tally { passed: 3, failed: 0, skipped: 1 };
        assert_eq!(tally.to_string(), "3 passed, 0 failed, 1 skipped");
    }
}
