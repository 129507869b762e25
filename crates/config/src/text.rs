//! Text for humans: foreign text made safe to show, and the nearest of a list of names.
//!
//! Both take hostile input: keys and values of a config file or of an update request.

/// Longest part of a foreign text that messages repeat.
const SHOWN_MAX: usize = 120;

/// Longest name worth comparing; the cost of a comparison grows with the square of the length.
const COMPARED_MAX: usize = 80;

/// The text as messages show it: control characters escaped, cut when long.
pub(crate) fn shown(text: &str) -> String {
    let mut out = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == SHOWN_MAX {
            out.push_str("...");
            break;
        }
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// The name nearest to a typed one, if one is near enough to be meant.
pub(crate) fn nearest<'a>(typed: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    within((typed.chars().count() / 4).max(2), typed, names)
}

/// The name nearest to a typed one by edit distance ignoring case, of those that at most so many edits lead to. Nothing
/// is near to a very long one.
pub fn within<'a>(edits: usize, typed: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if typed.len() > COMPARED_MAX {
        return None;
    }
    let typed = typed.to_lowercase();
    names
        .map(|name| (distance(&typed, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= edits && *distance < name.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Levenshtein distance in characters, two rows at a time.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.chars().enumerate() {
        let mut next = vec![i + 1];
        for ((r, above_left), above) in right.iter().zip(&row).zip(row.iter().skip(1)) {
            let change = above_left + usize::from(l != *r);
            let before = next.last().copied().unwrap_or(i + 1);
            next.push(change.min(above + 1).min(before + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_edits() {
        for (left, right, expected) in
            [("", "", 0), ("", "ab", 2), ("kitten", "sitting", 3), ("abc", "abc", 0)]
        {
            assert_eq!(distance(left, right), expected, "{left} {right}");
        }
    }

    #[test]
    fn nearest_finds_typos_and_leaves_strangers() {
        let names = ["brokerName", "brokerIP1", "brokerRole"];
        assert_eq!(nearest("brokername", names.into_iter()), Some("brokerName"));
        assert_eq!(nearest("brokerNmae", names.into_iter()), Some("brokerName"));
        assert_eq!(nearest("completelyElse", names.into_iter()), None);
        assert_eq!(nearest(&"x".repeat(100_000), names.into_iter()), None);
    }

    #[test]
    fn shown_is_short_and_without_control_characters() {
        assert_eq!(shown("a\tb\u{1b}"), "a\\tb\\u{1b}");
        assert_eq!(shown(&"x".repeat(500)).len(), SHOWN_MAX + 3);
    }
}
