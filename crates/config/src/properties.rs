//! The Java properties text: what `broker.conf`, the update request and the exported configuration are written in.
//!
//! Owns comments, separators, continuation lines and escapes, and the lines they came from. Knows no key.
//! Two departures from Java, both noted for the reader: unescaped blanks at the end of a value are dropped (Java keeps
//! them, and `SLAVE ` then is no role), and a byte order mark at the start is skipped (Java makes it part of the first key).

/// One key and value, and where they were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Line of the key, from 1.
    pub line: usize,
    /// The key, escapes resolved.
    pub key: String,
    /// The value, escapes resolved, without blanks at the end.
    pub value: String,
    /// What looked odd about the way it was written.
    pub notes: Vec<Note>,
}

/// Something legal that probably was not meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// Blanks after the value were dropped.
    TrailingBlanks,
    /// Written `key: value`, as in YAML.
    LooksLikeYaml,
    /// A backslash before an ordinary letter or digit vanished, as in a Windows path.
    LostBackslash,
}

/// A line that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// The line, from 1.
    pub line: usize,
    /// What was wanted there.
    pub wanted: &'static str,
}

/// Reads all entries in order; keys may repeat. Every bad line is reported, not only the first.
pub fn parse(text: &str) -> Result<Vec<Entry>, Vec<SyntaxError>> {
    let mut entries = Vec::new();
    let mut errors = Vec::new();
    for (line, logical) in logical_lines(text.strip_prefix('\u{feff}').unwrap_or(text)) {
        match entry(line, &logical) {
            Ok(entry) => entries.push(entry),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(entries) } else { Err(errors) }
}

/// Writes `key=value` lines which [`parse`] and Java read back as the same pairs.
pub fn write<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut out = String::new();
    for (key, value) in pairs {
        escape(&mut out, key, true);
        out.push('=');
        escape(&mut out, value, false);
        out.push('\n');
    }
    out
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

/// Lines with their continuations joined, comments and empty lines left out, with the number of their first line.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut out = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, natural) in natural_lines(text).enumerate() {
        let content = natural.trim_start_matches(is_blank);
        if open.is_none() && (content.is_empty() || content.starts_with(['#', '!'])) {
            continue;
        }
        let continues = content.chars().rev().take_while(|c| *c == '\\').count() % 2 == 1;
        let content = if continues { &content[..content.len() - 1] } else { content };
        let (line, mut logical) = open.take().unwrap_or((index + 1, String::new()));
        logical.push_str(content);
        match (continues, logical.is_empty()) {
            (false, _) => out.push((line, logical)),
            (true, false) => open = Some((line, logical)),
            // A lone backslash continues nothing: as in Java the next line may be a comment.
            (true, true) => {}
        }
    }
    out.extend(open);
    out
}

/// Lines ended by `\n`, `\r` or `\r\n`.
fn natural_lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

/// Splits one logical line at its first unescaped `=`, `:` or blank.
fn entry(line: usize, logical: &str) -> Result<Entry, SyntaxError> {
    let key_end = unescaped(logical, |c| is_blank(c) || c == '=' || c == ':').unwrap_or(logical.len());
    let (raw_key, rest) = logical.split_at(key_end);
    let after_key = rest.trim_start_matches(is_blank);
    let raw_value = after_key.strip_prefix(['=', ':']).unwrap_or(after_key).trim_start_matches(is_blank);
    let kept = without_trailing_blanks(raw_value);

    let mut notes = Vec::new();
    if rest.starts_with(':') && (kept.is_empty() || rest[1..].starts_with(is_blank)) {
        notes.push(Note::LooksLikeYaml);
    }
    if kept.len() < raw_value.len() {
        notes.push(Note::TrailingBlanks);
    }
    let key = unescape(line, raw_key, &mut notes)?;
    let value = unescape(line, kept, &mut notes)?;
    Ok(Entry { line, key, value, notes })
}

/// Byte index of the first character of a sort that no backslash precedes.
fn unescaped(text: &str, wanted: impl Fn(char) -> bool) -> Option<usize> {
    let mut escaped = false;
    for (index, c) in text.char_indices() {
        if !escaped && wanted(c) {
            return Some(index);
        }
        escaped = c == '\\' && !escaped;
    }
    None
}

/// Drops blanks at the end; a blank behind a backslash was written on purpose and stays.
fn without_trailing_blanks(raw: &str) -> &str {
    let trimmed = raw.trim_end_matches(is_blank);
    let backslashes = trimmed.chars().rev().take_while(|c| *c == '\\').count();
    match raw[trimmed.len()..].chars().next() {
        Some(blank) if backslashes % 2 == 1 => &raw[..trimmed.len() + blank.len_utf8()],
        _ => trimmed,
    }
}

fn unescape(line: usize, raw: &str, notes: &mut Vec<Note>) -> Result<String, SyntaxError> {
    let mut out = Vec::with_capacity(raw.len());
    let mut chars = raw.chars();
    let mut unit = [0_u16; 2];
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.extend_from_slice(c.encode_utf16(&mut unit));
            continue;
        }
        match chars.next() {
            Some('t') => out.push(u16::from(b'\t')),
            Some('n') => out.push(u16::from(b'\n')),
            Some('r') => out.push(u16::from(b'\r')),
            Some('f') => out.push(0x0c),
            Some('u') => out.push(code_unit(&mut chars).ok_or(SyntaxError { line, wanted: FOUR_DIGITS })?),
            Some(other) => {
                if other.is_alphanumeric() && !notes.contains(&Note::LostBackslash) {
                    notes.push(Note::LostBackslash);
                }
                out.extend_from_slice(other.encode_utf16(&mut unit));
            }
            None => {}
        }
    }
    String::from_utf16(&out).map_err(|_| SyntaxError { line, wanted: WHOLE_PAIRS })
}

const FOUR_DIGITS: &str = "four hexadecimal digits after `\\u`";
const WHOLE_PAIRS: &str = "both halves of a surrogate pair in `\\u` escapes";

fn code_unit(chars: &mut std::str::Chars<'_>) -> Option<u16> {
    (0..4).try_fold(0_u16, |sum, _| {
        let digit = chars.next()?.to_digit(16)?;
        Some(sum << 4 | u16::try_from(digit).ok()?)
    })
}

/// Escapes what would be read otherwise; beyond ASCII `\u` escapes are used, since Java reads the text as Latin-1.
fn escape(out: &mut String, text: &str, is_key: bool) {
    let last_kept = text.trim_end_matches(is_blank).len();
    for (index, c) in text.char_indices() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\u{c}' => out.push_str("\\f"),
            ' ' if is_key || index == 0 || index >= last_kept => out.push_str("\\ "),
            '=' | ':' if is_key || index == 0 => out.extend(['\\', c]),
            '#' | '!' if is_key && index == 0 => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            _ => {
                let mut unit = [0_u16; 2];
                for unit in c.encode_utf16(&mut unit) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(usize, &str, &str)]) {
        let entries = parse(text).expect(text);
        let found: Vec<_> = entries.iter().map(|e| (e.line, e.key.as_str(), e.value.as_str())).collect();
        assert_eq!(found, expected, "{text:?}");
    }

    fn check_notes(text: &str, expected: &[Note]) {
        let entries = parse(text).expect(text);
        assert_eq!(entries.iter().flat_map(|e| e.notes.clone()).collect::<Vec<_>>(), expected, "{text:?}");
    }

    #[test]
    fn separators_and_blanks() {
        check(
            "a=1\nb = 2\nc:3\nd 4\n  e\t=\t5",
            &[(1, "a", "1"), (2, "b", "2"), (3, "c", "3"), (4, "d", "4"), (5, "e", "5")],
        );
        check("k==v\nl=a=b\nm\n=n", &[(1, "k", "=v"), (2, "l", "a=b"), (3, "m", ""), (4, "", "n")]);
        check("a\\=b\\ c\\:d=1", &[(1, "a=b c:d", "1")]);
    }

    #[test]
    fn comments_and_line_ends() {
        check("# one\r\n! two\r\n\r\n   # three\r\na=1\rb=2\n#c=3", &[(5, "a", "1"), (6, "b", "2")]);
        check("\u{feff}a=1", &[(1, "a", "1")]);
        check("", &[]);
    }

    #[test]
    fn continuations() {
        check("a=1,\\\n   2,\\\r\n\t3\nb=4", &[(1, "a", "1,2,3"), (4, "b", "4")]);
        check("a=x\\\\\nb=2", &[(1, "a", "x\\"), (2, "b", "2")]);
        check("a=1\\\n# no comment here", &[(1, "a", "1# no comment here")]);
        check("a=1\\", &[(1, "a", "1")]);
        check("\\\n# comment\nb=1", &[(3, "b", "1")]);
    }

    #[test]
    fn escapes() {
        check("a=\\t\\n\\r\\f\\\\x\\u0041\\u4e2d\\ud83d\\ude80", &[(1, "a", "\t\n\r\u{c}\\xA中🚀")]);
        let errors = parse("a=1\nb=\\u12\nc=\\uzzzz\nd=\\ud83d").expect_err("bad escapes");
        assert_eq!(
            errors.iter().map(|e| (e.line, e.wanted)).collect::<Vec<_>>(),
            [(2, FOUR_DIGITS), (3, FOUR_DIGITS), (4, WHOLE_PAIRS),]
        );
    }

    #[test]
    fn oddities_are_noted() {
        check_notes("brokerRole=SLAVE \n", &[Note::TrailingBlanks]);
        check("brokerRole=SLAVE \t\n", &[(1, "brokerRole", "SLAVE")]);
        check_notes("brokerIP1: 1.2.3.4", &[Note::LooksLikeYaml]);
        check_notes("broker:", &[Note::LooksLikeYaml]);
        check_notes("a:1\nb :2\nc = x: y\nd=host:1", &[]);
        check_notes("p=C:\\store\\logs", &[Note::LostBackslash]);
        check_notes("p=a\\ b\\=c\\#", &[]);
        check("a=1\\  ", &[(1, "a", "1 ")]);
        check("a=\\ ", &[(1, "a", " ")]);
    }

    #[test]
    fn writing_escapes_only_what_needs_it() {
        let pairs =
            [("namesrvAddr", "a:1;b:2"), ("messageDelayLevel", "1s 5s"), ("x y", " v "), ("#k", "中\\")];
        assert_eq!(
            write(pairs),
            "namesrvAddr=a:1;b:2\nmessageDelayLevel=1s 5s\nx\\ y=\\ v\\ \n\\#k=\\u4e2d\\\\\n"
        );
    }
}
