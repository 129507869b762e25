//! The JSON form of a header.
//!
//! Reading is as lenient as clients need (numbers and booleans for strings, a language as a number, unknown
//! keys, a trailing newline). Writing is the one compact form that every client parses: keys in alphabetical
//! order, map values always strings.

use super::{EXT_FIELDS_MAX, Ext, Header, HeaderError, Language};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use std::fmt;

pub(super) fn decode(bytes: &[u8]) -> Result<Header, HeaderError> {
    let parsed: Wire = serde_json::from_slice(bytes).map_err(|why| HeaderError::Json(why.to_string()))?;
    if parsed.ext.as_ref().is_some_and(|ext| ext.len() > EXT_FIELDS_MAX) {
        return Err(HeaderError::TooManyFields);
    }
    let Some(code) = parsed.code else { return Err(HeaderError::Json("there is no code".into())) };
    let (language, version) = (parsed.language.unwrap_or(Language::OTHER), parsed.version.unwrap_or(0));
    let (opaque, flag) = (parsed.opaque.unwrap_or(0), parsed.flag.unwrap_or(0));
    Ok(Header { code, language, version, opaque, flag, remark: parsed.remark, ext: parsed.ext })
}

pub(super) fn encode(header: &Header, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"code\":");
    push_number(out, header.code);
    if let Some(ext) = &header.ext {
        out.extend_from_slice(b",\"extFields\":{");
        for (n, (key, value)) in ext.iter().enumerate() {
            if n > 0 {
                out.push(b',');
            }
            push_string(out, key);
            out.push(b':');
            push_string(out, value);
        }
        out.push(b'}');
    }
    out.extend_from_slice(b",\"flag\":");
    push_number(out, header.flag);
    out.extend_from_slice(b",\"language\":\"");
    out.extend_from_slice(header.language.name().as_bytes());
    out.extend_from_slice(b"\",\"opaque\":");
    push_number(out, header.opaque);
    if let Some(remark) = &header.remark {
        out.extend_from_slice(b",\"remark\":");
        push_string(out, remark);
    }
    out.extend_from_slice(b",\"serializeTypeCurrentRPC\":\"JSON\",\"version\":");
    push_number(out, header.version);
    out.push(b'}');
}

/// Appends a decimal number.
pub fn push_number(out: &mut Vec<u8>, number: i32) {
    use std::io::Write;
    // Writing into a vector cannot fail.
    let _ = write!(out, "{number}");
}

/// Appends a JSON string with its quotes.
pub fn push_string(out: &mut Vec<u8>, text: &str) {
    // Nearly all texts need no escape. Every byte is looked at, so that many are looked at at once.
    let escapes = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
    if !text.bytes().fold(false, |any, byte| any | escapes(byte)) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        return out.push(b'"');
    }
    // Strings always serialize, and writing into a vector cannot fail.
    let _ = serde_json::to_writer(out, text);
}

#[derive(Default)]
struct Wire {
    code: Option<i32>,
    language: Option<Language>,
    version: Option<i32>,
    opaque: Option<i32>,
    flag: Option<i32>,
    remark: Option<String>,
    ext: Option<Ext>,
}

impl<'de> Deserialize<'de> for Wire {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Wire;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a header object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Wire, A::Error> {
                let mut wire = Wire::default();
                while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
                    match &*key {
                        "code" => wire.code = map.next_value::<Lenient>()?.number(),
                        "version" => wire.version = map.next_value::<Lenient>()?.number(),
                        "opaque" => wire.opaque = map.next_value::<Lenient>()?.number(),
                        "flag" => wire.flag = map.next_value::<Lenient>()?.number(),
                        "language" => wire.language = map.next_value::<Lenient>()?.language(),
                        "remark" => wire.remark = map.next_value::<Lenient>()?.0,
                        "extFields" => wire.ext = map.next_value::<Option<LenientMap>>()?.map(|map| map.0),
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(wire)
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// A scalar as text, whatever JSON type it came as; `None` for null and for nested values.
struct Lenient(Option<String>);

impl Lenient {
    fn number(&self) -> Option<i32> {
        self.0.as_ref().and_then(|text| text.parse().ok())
    }
    fn language(&self) -> Option<Language> {
        let text = self.0.as_ref()?;
        Some(text.parse().map_or_else(|_| Language::from_name(text), Language))
    }
}

impl<'de> Deserialize<'de> for Lenient {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Scalar;
        impl<'de> Visitor<'de> for Scalar {
            type Value = Lenient;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a scalar")
            }
            fn visit_bool<E>(self, v: bool) -> Result<Lenient, E> {
                Ok(Lenient(Some(v.to_string())))
            }
            fn visit_i64<E>(self, v: i64) -> Result<Lenient, E> {
                Ok(Lenient(Some(v.to_string())))
            }
            fn visit_u64<E>(self, v: u64) -> Result<Lenient, E> {
                Ok(Lenient(Some(v.to_string())))
            }
            fn visit_f64<E>(self, v: f64) -> Result<Lenient, E> {
                Ok(Lenient(Some(v.to_string())))
            }
            fn visit_str<E>(self, v: &str) -> Result<Lenient, E> {
                Ok(Lenient(Some(v.to_owned())))
            }
            fn visit_string<E>(self, v: String) -> Result<Lenient, E> {
                Ok(Lenient(Some(v)))
            }
            fn visit_unit<E>(self) -> Result<Lenient, E> {
                Ok(Lenient(None))
            }
            fn visit_none<E>(self) -> Result<Lenient, E> {
                Ok(Lenient(None))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Lenient, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Lenient(None))
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Lenient, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Lenient(None))
            }
        }
        deserializer.deserialize_any(Scalar)
    }
}

struct LenientMap(Ext);

impl<'de> Deserialize<'de> for LenientMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map;
        impl<'de> Visitor<'de> for Map {
            type Value = LenientMap;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<LenientMap, A::Error> {
                let mut ext = Ext::default();
                while let Some((key, value)) = map.next_entry::<String, Lenient>()? {
                    // One more than allowed is kept, so that the caller sees the excess; the rest is dropped
                    // so that the look-up for repeated keys stays cheap.
                    if let Lenient(Some(value)) = value
                        && ext.len() <= EXT_FIELDS_MAX
                    {
                        ext.set(key, value);
                    }
                }
                Ok(LenientMap(ext))
            }
        }
        deserializer.deserialize_map(Map)
    }
}
