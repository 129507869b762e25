//! The JSON dialect of the original's library: read leniently, written so that every client parses it.
//!
//! Reading accepts what the library accepts and strict JSON forbids: map keys that are bare integers, bare
//! words or whole objects, keys that are strings holding an object's text, single quotes, spare commas, numbers
//! for strings and strings for numbers, nulls anywhere, repeated objects as `{"$ref":"$.path"}`. It never
//! recurses deeper and never builds more values than [`Limits`] says.
//!
//! Writing is compact for the wire and indented for the `config/*.json` files; the two differ in integer keys:
//! quoted on the wire (standard JSON wherever possible), bare in files (byte for byte the library's look).

mod de;
mod parse;
mod ser;

use super::BodyError;
use serde::{Serialize, de::DeserializeOwned};
use std::borrow::Cow;

/// What a text may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest text in bytes.
    pub bytes: usize,
    /// Most values in all: scalars, keys, lists and objects.
    pub values: usize,
    /// Deepest nesting.
    pub depth: usize,
}

impl Limits {
    /// For bodies from the network. A registration of 100 000 topics has a million values.
    pub const WIRE: Limits = Limits { bytes: 16 << 20, values: 2 << 20, depth: 32 };
    /// For files of the store.
    pub const FILE: Limits = Limits { bytes: 1 << 30, values: 64 << 20, depth: 32 };
}

/// A parsed text. Map entries keep their order and may repeat a key; the last one counts.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// `null`; dropped from lists, maps and structs when read into types.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A text.
    Str(Cow<'a, str>),
    /// A list.
    List(Vec<Value<'a>>),
    /// A map; keys may be anything.
    Map(Vec<(Value<'a>, Value<'a>)>),
}

/// Parses a text without interpreting it; references are resolved.
pub fn parse(text: &[u8], limits: Limits) -> Result<Value<'_>, BodyError> {
    parse::parse(text, limits)
}

/// Reads a body from the network.
pub fn from_slice<T: DeserializeOwned>(text: &[u8]) -> Result<T, BodyError> {
    from_slice_limited(text, Limits::WIRE)
}

/// Reads a text with the limits of its origin.
pub fn from_slice_limited<T: DeserializeOwned>(text: &[u8], limits: Limits) -> Result<T, BodyError> {
    T::deserialize(de::Lenient(parse::parse(text, limits)?))
}

/// Reads a type from a value that was parsed.
pub fn from_value<T: DeserializeOwned>(value: Value<'_>) -> Result<T, BodyError> {
    T::deserialize(de::Lenient(value))
}

/// Writes a body for the network: compact, integer keys quoted, object keys raw.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    ser::write(value, ser::Style::Wire, &mut out);
    out
}

/// Writes a file of the store: indented by tabs, integer keys bare.
pub fn to_file<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    ser::write(value, ser::Style::File, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn read(text: &str) -> Value<'_> {
        parse(text.as_bytes(), Limits::WIRE).unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    #[test]
    fn what_the_original_library_accepts_is_read() {
        let one = Value::Map(vec![(Value::Str("a".into()), Value::Int(1))]);
        for text in [r#"{"a":1}"#, "{a:1}", "{'a':1}", "{,\"a\" : 1,,}\n", " {\"\\u0061\":1} \0"] {
            assert_eq!(read(text), one, "{text}");
        }
        let table: BTreeMap<i32, i64> = from_slice(b"{0:12,\"1\":\"7\",2:null}").unwrap();
        assert_eq!(table, BTreeMap::from([(0, 12), (1, 7)]));
    }

    #[test]
    fn what_is_no_text_of_a_value_is_refused_with_its_place() {
        for bad in ["", "{", "[1", "{\"a\"}", "{\"a\":}", "\"a", "tru", "1 2", "{]", "\"\\q\"", "[--1]", "\\"]
        {
            assert!(parse(bad.as_bytes(), Limits::WIRE).is_err(), "{bad:?}");
        }
        assert!(matches!(parse(b"[1,\xff]", Limits::WIRE), Err(BodyError::Utf8)));
        let why = parse(b"[1,?]", Limits::WIRE).unwrap_err().to_string();
        assert!(why.contains("byte 3"), "{why}");
    }

    #[test]
    fn depth_and_number_of_values_are_bounded() {
        let deep = "[".repeat(1_000_000);
        assert!(matches!(parse(deep.as_bytes(), Limits::WIRE), Err(BodyError::Limit(_))));
        let many = format!("[{}]", "1,".repeat(100));
        let limits = Limits { values: 100, ..Limits::WIRE };
        assert!(matches!(parse(many.as_bytes(), limits), Err(BodyError::Limit(_))));
        let limits = Limits { bytes: 3, ..Limits::WIRE };
        assert!(matches!(parse(b"[1,2]", limits), Err(BodyError::Limit(_))));
    }

    #[test]
    fn references_are_resolved_or_dropped() {
        let text = r#"{"a":[{"x":1},{"y":2}],"b":{"$ref":"$.a[1]"},"c":{"$ref":"$.zzz"},"d":{"$ref":"$"}}"#;
        let Value::Map(entries) = read(text) else { panic!("no map") };
        assert_eq!(entries[1].1, Value::Map(vec![(Value::Str("y".into()), Value::Int(2))]));
        assert_eq!((&entries[2].1, &entries[3].1), (&Value::Null, &Value::Null));
    }

    #[test]
    fn references_cannot_multiply_beyond_the_limit() {
        let list = "1,".repeat(1000);
        let refs = r#"{"$ref":"$.a"},"#.repeat(1000);
        let text = format!(r#"{{"a":[{list}],"b":[{refs}]}}"#);
        let limits = Limits { values: 10_000, ..Limits::WIRE };
        assert!(matches!(parse(text.as_bytes(), limits), Err(BodyError::Limit(_))));
    }

    #[test]
    fn files_look_like_the_originals() {
        let table = BTreeMap::from([(0, 5), (1, 7)]);
        let offsets = BTreeMap::from([("t@g", table), ("u@g", BTreeMap::new())]);
        let file = BTreeMap::from([("offsetTable", offsets)]);
        let text = String::from_utf8(to_file(&file)).unwrap();
        assert_eq!(text, "{\n\t\"offsetTable\":{\n\t\t\"t@g\":{0:5,1:7\n\t\t},\n\t\t\"u@g\":{}\n\t}\n}");
        assert_eq!(to_vec(&file), br#"{"offsetTable":{"t@g":{"0":5,"1":7},"u@g":{}}}"#);
        let back: BTreeMap<String, BTreeMap<String, BTreeMap<i32, i32>>> =
            from_slice(text.as_bytes()).unwrap();
        assert_eq!(back["offsetTable"]["t@g"][&1], 7);
    }

    proptest! {
        #[test]
        fn any_text_gives_a_value_or_an_error(text in "[\\[\\]{}:,\"'\\\\a0-9.$refu -]{0,60}") {
            let _ = parse(text.as_bytes(), Limits::WIRE);
        }

        #[test]
        fn standard_json_is_read_as_by_a_standard_reader(map in proptest::collection::btree_map("\\PC{0,9}", any::<i64>(), 0..9)) {
            let text = serde_json::to_vec(&map).unwrap();
            prop_assert_eq!(&from_slice::<BTreeMap<String, i64>>(&text).unwrap(), &map);
            prop_assert_eq!(to_vec(&map), text);
            prop_assert_eq!(&from_slice::<BTreeMap<String, i64>>(&to_file(&map)).unwrap(), &map);
        }
    }
}
