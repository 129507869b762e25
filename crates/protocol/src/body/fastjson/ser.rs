//! Types to text, compact or indented.
//!
//! A serializer of our own, because no JSON library writes objects as keys of maps, which Java and Go clients
//! want, nor integers, which the original's files have.

use serde::ser::{self, Impossible, Serialize, SerializeMap, SerializeSeq, SerializeStruct, Serializer};
use std::{fmt, io::Write};

/// How a text looks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// Compact; integer keys quoted.
    Wire,
    /// Indented by tabs; integer keys bare.
    File,
}

pub(super) fn write<T: Serialize + ?Sized>(value: &T, style: Style, out: &mut Vec<u8>) {
    let done = value.serialize(&mut Writer { out, style, depth: 0, in_key: false });
    // Only kinds of values fail that our bodies do not have (variants with data, bytes).
    assert!(done.is_ok(), "a body has only scalars, lists, maps and structs: {done:?}");
}

struct Writer<'o> {
    out: &'o mut Vec<u8>,
    style: Style,
    depth: usize,
    in_key: bool,
}

/// A kind of value that has no JSON form here.
#[derive(Debug)]
pub(super) struct NoForm(String);

impl fmt::Display for NoForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for NoForm {}
impl ser::Error for NoForm {
    fn custom<T: fmt::Display>(why: T) -> Self {
        NoForm(why.to_string())
    }
}

impl Writer<'_> {
    fn display(&mut self, value: impl fmt::Display) {
        let quoted = self.in_key && self.style == Style::Wire;
        // Writing into a vector cannot fail.
        let _ = match quoted {
            true => write!(self.out, "\"{value}\""),
            false => write!(self.out, "{value}"),
        };
    }

    fn line(&mut self) {
        if self.style == Style::File {
            self.out.push(b'\n');
            self.out.extend(std::iter::repeat_n(b'\t', self.depth));
        }
    }

    fn open(&mut self, bracket: u8) {
        self.out.push(bracket);
        self.depth += 1;
    }

    fn close(&mut self, bracket: u8, empty: bool) {
        self.depth -= 1;
        if !empty {
            self.line();
        }
        self.out.push(bracket);
    }
}

/// A list, map or struct being written.
pub(super) struct Open<'w, 'o> {
    writer: &'w mut Writer<'o>,
    empty: bool,
    /// An object that is itself a key is always compact.
    outer_style: Style,
    end: u8,
}

impl<'w, 'o> Open<'w, 'o> {
    fn new(writer: &'w mut Writer<'o>, start: u8, end: u8) -> Self {
        let outer_style = writer.style;
        if writer.in_key {
            writer.style = Style::Wire;
        }
        writer.in_key = false;
        writer.open(start);
        Open { writer, empty: true, outer_style, end }
    }

    fn comma(&mut self) {
        if !self.empty {
            self.writer.out.push(b',');
        }
        self.empty = false;
    }

    fn finish(self) -> Result<(), NoForm> {
        self.writer.close(self.end, self.empty);
        self.writer.style = self.outer_style;
        Ok(())
    }
}

macro_rules! displayed {
    ($($method:ident $kind:ty;)*) => {$(
        fn $method(self, value: $kind) -> Result<(), NoForm> {
            self.display(value);
            Ok(())
        }
    )*};
}

impl<'w, 'o> Serializer for &'w mut Writer<'o> {
    type Ok = ();
    type Error = NoForm;
    type SerializeSeq = Open<'w, 'o>;
    type SerializeMap = Open<'w, 'o>;
    type SerializeStruct = Open<'w, 'o>;
    type SerializeTuple = Open<'w, 'o>;
    type SerializeTupleStruct = Impossible<(), NoForm>;
    type SerializeTupleVariant = Impossible<(), NoForm>;
    type SerializeStructVariant = Impossible<(), NoForm>;

    displayed! {
        serialize_bool bool;
        serialize_i8 i8; serialize_i16 i16; serialize_i32 i32; serialize_i64 i64;
        serialize_u8 u8; serialize_u16 u16; serialize_u32 u32; serialize_u64 u64;
    }

    fn serialize_f32(self, value: f32) -> Result<(), NoForm> {
        self.serialize_f64(f64::from(value))
    }
    fn serialize_f64(self, value: f64) -> Result<(), NoForm> {
        if value.is_finite() {
            self.display(format_args!("{value:?}"));
            return Ok(());
        }
        self.serialize_none()
    }
    fn serialize_char(self, value: char) -> Result<(), NoForm> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }
    fn serialize_str(self, text: &str) -> Result<(), NoForm> {
        // Text keys stand on lines of their own; integers do not, as in the original's files.
        if self.in_key {
            self.line();
        }
        serde_json::to_writer(&mut *self.out, text).map_err(ser::Error::custom)
    }
    fn serialize_bytes(self, _: &[u8]) -> Result<(), NoForm> {
        Err(NoForm("bytes".into()))
    }
    fn serialize_none(self) -> Result<(), NoForm> {
        self.out.extend_from_slice(b"null");
        Ok(())
    }
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), NoForm> {
        value.serialize(self)
    }
    fn serialize_unit(self) -> Result<(), NoForm> {
        self.serialize_none()
    }
    fn serialize_unit_struct(self, _: &'static str) -> Result<(), NoForm> {
        self.serialize_none()
    }
    fn serialize_unit_variant(self, _: &'static str, _: u32, name: &'static str) -> Result<(), NoForm> {
        self.serialize_str(name)
    }
    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), NoForm> {
        value.serialize(self)
    }
    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), NoForm> {
        Err(NoForm("a variant with data".into()))
    }
    fn serialize_seq(self, _: Option<usize>) -> Result<Open<'w, 'o>, NoForm> {
        Ok(Open::new(self, b'[', b']'))
    }
    fn serialize_tuple(self, _: usize) -> Result<Open<'w, 'o>, NoForm> {
        Ok(Open::new(self, b'[', b']'))
    }
    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Impossible<(), NoForm>, NoForm> {
        Err(NoForm("a tuple struct".into()))
    }
    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Impossible<(), NoForm>, NoForm> {
        Err(NoForm("a variant with data".into()))
    }
    fn serialize_map(self, _: Option<usize>) -> Result<Open<'w, 'o>, NoForm> {
        Ok(Open::new(self, b'{', b'}'))
    }
    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Open<'w, 'o>, NoForm> {
        Ok(Open::new(self, b'{', b'}'))
    }
    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Impossible<(), NoForm>, NoForm> {
        Err(NoForm("a variant with data".into()))
    }
}

impl SerializeSeq for Open<'_, '_> {
    type Ok = ();
    type Error = NoForm;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NoForm> {
        self.comma();
        self.writer.line();
        value.serialize(&mut *self.writer)
    }
    fn end(self) -> Result<(), NoForm> {
        self.finish()
    }
}

impl ser::SerializeTuple for Open<'_, '_> {
    type Ok = ();
    type Error = NoForm;
    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NoForm> {
        SerializeSeq::serialize_element(self, value)
    }
    fn end(self) -> Result<(), NoForm> {
        self.finish()
    }
}

impl SerializeMap for Open<'_, '_> {
    type Ok = ();
    type Error = NoForm;
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), NoForm> {
        self.comma();
        self.writer.in_key = true;
        key.serialize(&mut *self.writer)?;
        self.writer.in_key = false;
        self.writer.out.push(b':');
        Ok(())
    }
    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NoForm> {
        value.serialize(&mut *self.writer)
    }
    fn end(self) -> Result<(), NoForm> {
        self.finish()
    }
}

impl SerializeStruct for Open<'_, '_> {
    type Ok = ();
    type Error = NoForm;
    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), NoForm> {
        SerializeMap::serialize_key(self, name)?;
        SerializeMap::serialize_value(self, value)
    }
    fn end(self) -> Result<(), NoForm> {
        self.finish()
    }
}
