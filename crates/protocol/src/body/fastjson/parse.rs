//! Text to [`Value`]: one forward pass, then references.

use super::{Limits, Value};
use crate::body::BodyError;
use std::borrow::Cow;

pub(super) fn parse(text: &[u8], limits: Limits) -> Result<Value<'_>, BodyError> {
    if text.len() > limits.bytes {
        return Err(BodyError::Limit("bytes"));
    }
    let text = std::str::from_utf8(text).map_err(|_| BodyError::Utf8)?;
    let mut parser = Parser { text, at: 0, values_left: limits.values, has_reference: false };
    let mut value = parser.value(limits.depth)?;
    parser.blanks();
    if parser.at < text.len() {
        return Err(parser.wanted("the end"));
    }
    if parser.has_reference {
        let root = value.clone();
        resolve(&mut value, &root, &mut parser.values_left)?;
    }
    Ok(value)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    values_left: usize,
    has_reference: bool,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn wanted(&self, what: &'static str) -> BodyError {
        BodyError::Syntax { at: self.at, wanted: what }
    }

    /// Some C clients send their terminating zero.
    fn blanks(&mut self) {
        while self.peek().is_some_and(|b| b.is_ascii_whitespace() || b == 0) {
            self.at += 1;
        }
    }

    fn blanks_and_commas(&mut self) {
        self.blanks();
        while self.peek() == Some(b',') {
            self.at += 1;
            self.blanks();
        }
    }

    fn value(&mut self, depth_left: usize) -> Result<Value<'a>, BodyError> {
        self.blanks();
        self.values_left = self.values_left.checked_sub(1).ok_or(BodyError::Limit("values"))?;
        match self.peek() {
            Some(b'{') => self.map(depth_left),
            Some(b'[') => self.list(depth_left),
            Some(b'"' | b'\'') => self.string().map(Value::Str),
            Some(b'-' | b'+' | b'.' | b'0'..=b'9') => self.number(),
            Some(_) => self.literal(),
            None => Err(self.wanted("a value")),
        }
    }

    fn deeper(depth_left: usize) -> Result<usize, BodyError> {
        depth_left.checked_sub(1).ok_or(BodyError::Limit("depth"))
    }

    fn list(&mut self, depth_left: usize) -> Result<Value<'a>, BodyError> {
        let depth_left = Self::deeper(depth_left)?;
        self.at += 1;
        let mut items = Vec::new();
        loop {
            self.blanks_and_commas();
            if self.peek() == Some(b']') {
                self.at += 1;
                return Ok(Value::List(items));
            }
            items.push(self.value(depth_left)?);
            self.blanks();
            if !matches!(self.peek(), Some(b',' | b']')) {
                return Err(self.wanted("',' or ']'"));
            }
        }
    }

    fn map(&mut self, depth_left: usize) -> Result<Value<'a>, BodyError> {
        let depth_left = Self::deeper(depth_left)?;
        self.at += 1;
        let mut entries = Vec::new();
        loop {
            self.blanks_and_commas();
            if self.peek() == Some(b'}') {
                self.at += 1;
                return Ok(Value::Map(entries));
            }
            let key = self.key(depth_left)?;
            self.blanks();
            if self.peek() != Some(b':') {
                return Err(self.wanted("':'"));
            }
            self.at += 1;
            self.has_reference |= matches!(&key, Value::Str(name) if name == "$ref");
            entries.push((key, self.value(depth_left)?));
            self.blanks();
            if !matches!(self.peek(), Some(b',' | b'}')) {
                return Err(self.wanted("',' or '}'"));
            }
        }
    }

    fn key(&mut self, depth_left: usize) -> Result<Value<'a>, BodyError> {
        match self.peek() {
            Some(b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'$') => {
                self.values_left = self.values_left.checked_sub(1).ok_or(BodyError::Limit("values"))?;
                Ok(Value::Str(Cow::Borrowed(self.word())))
            }
            _ => self.value(depth_left),
        }
    }

    fn word(&mut self) -> &'a str {
        let start = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$' | b'-' | b'.'))
        {
            self.at += 1;
        }
        self.text.get(start..self.at).unwrap_or("")
    }

    fn literal(&mut self) -> Result<Value<'a>, BodyError> {
        let start = self.at;
        match self.word() {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            "null" | "NaN" | "undefined" => Ok(Value::Null),
            _ => Err(BodyError::Syntax { at: start, wanted: "a value" }),
        }
    }

    fn number(&mut self) -> Result<Value<'a>, BodyError> {
        let start = self.at;
        while self.peek().is_some_and(|b| matches!(b, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')) {
            self.at += 1;
        }
        let text = self.text.get(start..self.at).unwrap_or("");
        if let Ok(whole) = text.parse() {
            return Ok(Value::Int(whole));
        }
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Value::Float(number)),
            _ => Err(BodyError::Syntax { at: start, wanted: "a number" }),
        }
    }

    fn string(&mut self) -> Result<Cow<'a, str>, BodyError> {
        let bytes = self.text.as_bytes();
        let quote = self.peek().unwrap_or(b'"');
        self.at += 1;
        let start = self.at;
        loop {
            match self.peek() {
                Some(b) if b == quote => break,
                Some(b'\\') => return self.escaped(start, quote).map(Cow::Owned),
                Some(_) => self.at += 1,
                None => return Err(self.wanted("the end of the text")),
            }
        }
        debug_assert_eq!(bytes.get(self.at), Some(&quote));
        let text = self.text.get(start..self.at).unwrap_or("");
        self.at += 1;
        Ok(Cow::Borrowed(text))
    }

    /// The rest of a string whose first backslash has been met.
    fn escaped(&mut self, start: usize, quote: u8) -> Result<String, BodyError> {
        let mut out = String::from(self.text.get(start..self.at).unwrap_or(""));
        loop {
            let rest = self.text.get(self.at..).unwrap_or("");
            let plain = rest.bytes().position(|b| b == quote || b == b'\\');
            let plain =
                plain.ok_or(BodyError::Syntax { at: self.text.len(), wanted: "the end of the text" })?;
            out.push_str(rest.get(..plain).unwrap_or(""));
            self.at += plain + 1;
            if rest.as_bytes().get(plain) == Some(&quote) {
                return Ok(out);
            }
            out.push(self.escape()?);
        }
    }

    fn escape(&mut self) -> Result<char, BodyError> {
        let escape = self.peek().ok_or(self.wanted("an escape"))?;
        self.at += 1;
        Ok(match escape {
            b'"' | b'\\' | b'/' | b'\'' => char::from(escape),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'v' => '\u{b}',
            b'0' => '\0',
            b'u' => {
                let unit = self.hex4()?;
                if !(0xd800..0xdc00).contains(&unit) {
                    return Ok(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER));
                }
                // A high half wants its low half; alone it is nothing that UTF-8 could hold.
                if !self.text.get(self.at..).unwrap_or("").starts_with("\\u") {
                    return Ok(char::REPLACEMENT_CHARACTER);
                }
                self.at += 2;
                let low = self.hex4()?;
                let joined = 0x10000 + ((unit - 0xd800) << 10) + low.wrapping_sub(0xdc00);
                match (0xdc00..0xe000).contains(&low) {
                    true => char::from_u32(joined).unwrap_or(char::REPLACEMENT_CHARACTER),
                    false => char::REPLACEMENT_CHARACTER,
                }
            }
            _ => return Err(BodyError::Syntax { at: self.at - 1, wanted: "an escape" }),
        })
    }

    fn hex4(&mut self) -> Result<u32, BodyError> {
        let digits =
            self.text.get(self.at..self.at + 4).filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()));
        let unit = digits
            .and_then(|text| u32::from_str_radix(text, 16).ok())
            .ok_or(self.wanted("four hex digits"))?;
        self.at += 4;
        Ok(unit)
    }
}

/// Replaces every reference by a copy of what it names. What is copied may not hold references itself: the
/// library never writes that, and so no cycle can arise. Looking costs as much of the budget as copying, so
/// that a text full of references takes no more time than its size allows.
fn resolve<'a>(value: &mut Value<'a>, root: &Value<'a>, values_left: &mut usize) -> Result<(), BodyError> {
    if let Some(path) = reference(value) {
        let found = look_up(root, path, values_left)?;
        spend(values_left, found.map_or(0, count))?;
        *value = found.filter(|found| !holds_reference(found)).map_or(Value::Null, Value::clone);
        return Ok(());
    }
    match value {
        Value::List(items) => items.iter_mut().try_for_each(|item| resolve(item, root, values_left)),
        Value::Map(entries) => entries.iter_mut().try_for_each(|(_, item)| resolve(item, root, values_left)),
        _ => Ok(()),
    }
}

fn spend(values_left: &mut usize, cost: usize) -> Result<(), BodyError> {
    *values_left = values_left.checked_sub(cost).ok_or(BodyError::Limit("values"))?;
    Ok(())
}

fn reference<'v>(value: &'v Value<'_>) -> Option<&'v str> {
    match value {
        Value::Map(entries) => match entries.as_slice() {
            [(Value::Str(key), Value::Str(path))] if key == "$ref" => Some(path),
            _ => None,
        },
        _ => None,
    }
}

/// Follows `$.name[0].name`; other forms (`..`, `@`) are not found.
fn look_up<'v, 'a>(
    root: &'v Value<'a>,
    path: &str,
    values_left: &mut usize,
) -> Result<Option<&'v Value<'a>>, BodyError> {
    let Some(path) = path.strip_prefix('$') else { return Ok(None) };
    let mut found = root;
    for step in path.split(['.', '[']).skip(1) {
        let next = match (found, step.strip_suffix(']')) {
            (Value::List(items), Some(index)) => {
                index.parse::<usize>().ok().and_then(|index| items.get(index))
            }
            (Value::Map(entries), None) => {
                let named = |key: &Value<'_>| matches!(key, Value::Str(name) if name == step);
                let at = entries.iter().position(|(key, _)| named(key));
                spend(values_left, at.unwrap_or(entries.len()) + 1)?;
                at.and_then(|at| entries.get(at)).map(|(_, item)| item)
            }
            _ => None,
        };
        match next {
            Some(next) => found = next,
            None => return Ok(None),
        }
    }
    Ok(Some(found))
}

fn holds_reference(value: &Value<'_>) -> bool {
    reference(value).is_some()
        || match value {
            Value::List(items) => items.iter().any(holds_reference),
            Value::Map(entries) => entries.iter().any(|(_, item)| holds_reference(item)),
            _ => false,
        }
}

fn count(value: &Value<'_>) -> usize {
    match value {
        Value::List(items) => 1 + items.iter().map(count).sum::<usize>(),
        Value::Map(entries) => 1 + entries.iter().map(|(key, item)| count(key) + count(item)).sum::<usize>(),
        _ => 1,
    }
}

impl Value<'_> {
    /// The same without borrowing from the text.
    pub fn into_owned<'b>(self) -> Value<'b> {
        match self {
            Value::Null => Value::Null,
            Value::Bool(v) => Value::Bool(v),
            Value::Int(v) => Value::Int(v),
            Value::Float(v) => Value::Float(v),
            Value::Str(v) => Value::Str(Cow::Owned(v.into_owned())),
            Value::List(items) => Value::List(items.into_iter().map(Value::into_owned).collect()),
            Value::Map(entries) => Value::Map(
                entries.into_iter().map(|(key, item)| (key.into_owned(), item.into_owned())).collect(),
            ),
        }
    }
}
