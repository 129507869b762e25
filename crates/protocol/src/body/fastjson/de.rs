//! [`Value`] to types: the one place where a text stands for a number and a number for a text.

use super::{Limits, Value, parse};
use crate::body::BodyError;
use serde::de::{self, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;
use std::borrow::Cow;

/// Deserializes a parsed value.
pub(super) struct Lenient<'a>(pub Value<'a>);

/// Texts inside texts are small: names of queues.
const INNER: Limits = Limits { bytes: 4096, values: 64, depth: 4 };

impl de::Error for BodyError {
    fn custom<T: std::fmt::Display>(why: T) -> Self {
        BodyError::Shape(why.to_string())
    }
}

impl<'a> Lenient<'a> {
    fn wrong<T>(&self, wanted: &str) -> Result<T, BodyError> {
        let found = match &self.0 {
            Value::Null => "nothing",
            Value::Bool(_) => "a truth value",
            Value::Int(_) | Value::Float(_) => "a number",
            Value::Str(_) => "a text",
            Value::List(_) => "a list",
            Value::Map(_) => "an object",
        };
        Err(BodyError::Shape(format!("{found} stands where {wanted} is wanted")))
    }

    fn whole(&self) -> Result<i64, BodyError> {
        match &self.0 {
            Value::Int(n) => Ok(*n),
            // Exact up to 2^53; beyond, no client sends floats.
            Value::Float(n) if n.fract() == 0.0 && n.abs() < 9.0e15 => Ok(*n as i64),
            Value::Str(text) => text.trim().parse().or_else(|_| self.wrong("a whole number")),
            _ => self.wrong("a whole number"),
        }
    }

    /// An object, also one that hides in a text, as keys of maps do.
    fn entries(self, wanted: &str) -> Result<Vec<(Value<'a>, Value<'a>)>, BodyError> {
        match self.0 {
            Value::Map(entries) => Ok(entries),
            Value::Str(text) if text.trim_start().starts_with('{') => {
                match parse::parse(text.as_bytes(), INNER)?.into_owned() {
                    Value::Map(entries) => Ok(entries),
                    other => Lenient(other).wrong(wanted),
                }
            }
            other => Lenient(other).wrong(wanted),
        }
    }
}

macro_rules! whole {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BodyError> {
            visitor.visit_i64(self.whole()?)
        }
    )*};
}

impl<'de> Deserializer<'de> for Lenient<'de> {
    type Error = BodyError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BodyError> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(v) => visitor.visit_bool(v),
            Value::Int(v) => visitor.visit_i64(v),
            Value::Float(v) => visitor.visit_f64(v),
            Value::Str(Cow::Borrowed(v)) => visitor.visit_borrowed_str(v),
            Value::Str(Cow::Owned(v)) => visitor.visit_string(v),
            Value::List(items) => visitor.visit_seq(Items(items.into_iter())),
            Value::Map(entries) => visitor.visit_map(Entries { left: entries.into_iter(), value: None }),
        }
    }

    whole!(deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
           deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64);

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BodyError> {
        match &self.0 {
            Value::Int(v) => visitor.visit_f64(*v as f64),
            Value::Float(v) => visitor.visit_f64(*v),
            Value::Str(text) => match text.trim().parse::<f64>() {
                Ok(v) if v.is_finite() => visitor.visit_f64(v),
                _ => self.wrong("a number"),
            },
            _ => self.wrong("a number"),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BodyError> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BodyError> {
        match &self.0 {
            Value::Bool(v) => visitor.visit_bool(*v),
            Value::Int(v) => visitor.visit_bool(*v != 0),
            Value::Str(text) => visitor.visit_bool(text.eq_ignore_ascii_case("true") || text == "1"),
            _ => self.wrong("a truth value"),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BodyError> {
        match self.0 {
            Value::Str(Cow::Borrowed(v)) => visitor.visit_borrowed_str(v),
            Value::Str(Cow::Owned(v)) => visitor.visit_string(v),
            Value::Int(v) => visitor.visit_string(v.to_string()),
            Value::Float(v) => visitor.visit_string(v.to_string()),
            Value::Bool(v) => visitor.visit_string(v.to_string()),
            other => Lenient(other).wrong("a text"),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BodyError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BodyError> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BodyError> {
        match self.0 {
            Value::List(items) => visitor.visit_seq(Items(items.into_iter())),
            other => Lenient(other).wrong("a list"),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BodyError> {
        visitor.visit_map(Entries { left: self.entries("an object")?.into_iter(), value: None })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, BodyError> {
        let mut entries = self.entries(name)?;
        let known = |key: &Value<'_>| match key {
            Value::Str(text) => fields.iter().position(|field| *field == text),
            _ => None,
        };
        // Of a repeated key the last counts; unknown keys are not looked at.
        let mut last = vec![usize::MAX; fields.len()];
        for (at, (key, _)) in entries.iter().enumerate() {
            if let Some(place) = known(key).and_then(|field| last.get_mut(field)) {
                *place = at;
            }
        }
        let mut at = 0;
        entries.retain(|(key, _)| {
            let keep = known(key).and_then(|field| last.get(field)) == Some(&at);
            at += 1;
            keep
        });
        visitor.visit_map(Entries { left: entries.into_iter(), value: None })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, BodyError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, BodyError> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct enum identifier
    }
}

struct Items<'a>(std::vec::IntoIter<Value<'a>>);

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = BodyError;
    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, BodyError> {
        match self.0.find(|item| *item != Value::Null) {
            Some(item) => seed.deserialize(Lenient(item)).map(Some),
            None => Ok(None),
        }
    }
}

struct Entries<'a> {
    left: std::vec::IntoIter<(Value<'a>, Value<'a>)>,
    value: Option<Value<'a>>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = BodyError;
    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, BodyError> {
        match self.left.find(|(_, value)| *value != Value::Null) {
            Some((key, value)) => {
                self.value = Some(value);
                seed.deserialize(Lenient(key)).map(Some)
            }
            None => Ok(None),
        }
    }
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, BodyError> {
        let value = self.value.take().ok_or_else(|| BodyError::custom("a value without its key"))?;
        seed.deserialize(Lenient(value))
    }
}
