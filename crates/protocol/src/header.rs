//! The frame header on its general path: any code, any field, both codecs.
//!
//! Reference: `RemotingCommand`, `RemotingSerializable`, `RocketMQSerializable`; sections 1.2-1.5 of the wire
//! reference. The hot requests have a second, allocation-free path in [`crate::scan`], proven equal to this.
//!
//! Typed headers are declared with [`headers!`](crate::headers): field, wire name, kind and doc in one line.

mod binary;
mod field;
mod json;

pub use field::{FieldError, FieldInfo, FieldValue, Fields};
pub use json::push_string as push_json_string;

use crate::frame::{self, Codec};
use std::fmt;

/// What a Kerolox server says it is: older Java clients know no newer language than their own.
pub const LANGUAGE_SERVED: Language = Language::JAVA;
/// The version a Kerolox server announces: 4.9.8. Clients refuse features to brokers that look older.
pub const VERSION_SERVED: i32 = 409;
/// Most fields a header may carry.
pub const EXT_FIELDS_MAX: usize = 256;

/// Header flag bit of responses.
pub const FLAG_RESPONSE: i32 = 1;
/// Header flag bit of requests that want no answer.
pub const FLAG_ONEWAY: i32 = 2;

/// The language of a peer: an open number with known names. Reference: `LanguageCode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Language(pub u8);

/// Names by number; the position is the code.
const LANGUAGES: [&str; 14] = [
    "JAVA", "CPP", "DOTNET", "PYTHON", "DELPHI", "ERLANG", "RUBY", "OTHER", "HTTP", "GO", "PHP", "OMS",
    "RUST", "NODE_JS",
];

impl Language {
    /// Java.
    pub const JAVA: Language = Language(0);
    /// C++.
    pub const CPP: Language = Language(1);
    /// Anything unnamed.
    pub const OTHER: Language = Language(7);
    /// Go.
    pub const GO: Language = Language(9);
    /// Rust.
    pub const RUST: Language = Language(12);

    /// The name as JSON carries it; an unknown number is `OTHER`.
    pub fn name(self) -> &'static str {
        LANGUAGES.get(usize::from(self.0)).copied().unwrap_or("OTHER")
    }

    /// The language of that name; an unknown name is `OTHER`.
    pub fn from_name(name: &str) -> Language {
        let at = LANGUAGES.iter().position(|known| *known == name);
        at.and_then(|at| u8::try_from(at).ok()).map_or(Language::OTHER, Language)
    }
}

/// The string map of a header, in the order it came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ext(Vec<(String, String)>);

impl Ext {
    /// The value of a field.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// Adds a field, or replaces its value.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>) {
        let (key, value) = (key.into(), value.into());
        match self.0.iter_mut().find(|(known, _)| *known == key) {
            Some((_, old)) => *old = value,
            None => self.0.push((key, value)),
        }
    }

    /// Fields in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// What a client signs: the values in the order of their names' bytes, then the body. The signature itself
    /// is left out, and so are the fields `without`: some clients sign fields that others do not.
    pub fn signed_text(&self, body: &[u8], without: &[&str]) -> Vec<u8> {
        let signed = |(name, _): &(&str, &str)| *name != "Signature" && !without.contains(name);
        let mut fields: Vec<_> = self.iter().filter(signed).collect();
        fields.sort_unstable();
        let mut text: Vec<u8> = fields.iter().flat_map(|(_, value)| value.bytes()).collect();
        text.extend_from_slice(body);
        text
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Ext {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(fields: I) -> Self {
        let mut ext = Ext::default();
        fields.into_iter().for_each(|(key, value)| ext.set(key, value));
        ext
    }
}

/// A whole header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Request code, or response code.
    pub code: i32,
    /// Language of the sender.
    pub language: Language,
    /// Version ordinal of the sender.
    pub version: i32,
    /// Chosen by the requester, echoed by the answer.
    pub opaque: i32,
    /// [`FLAG_RESPONSE`], [`FLAG_ONEWAY`].
    pub flag: i32,
    /// Error text of an answer.
    pub remark: Option<String>,
    /// The fields; `None` is "no map at all", which clients tell from an empty one.
    pub ext: Option<Ext>,
}

impl Header {
    /// A request of our own.
    pub fn request(code: i32, opaque: i32, ext: Option<Ext>) -> Header {
        let (language, version) = (LANGUAGE_SERVED, VERSION_SERVED);
        Header { code, language, version, opaque, flag: 0, remark: None, ext }
    }

    /// An answer to the request with that `opaque`.
    pub fn answer(code: i32, opaque: i32) -> Header {
        let (language, version) = (LANGUAGE_SERVED, VERSION_SERVED);
        Header { code, language, version, opaque, flag: FLAG_RESPONSE, remark: None, ext: None }
    }

    /// Whether this is a response.
    pub fn is_response(&self) -> bool {
        self.flag & FLAG_RESPONSE != 0
    }

    /// Whether the requester wants no answer.
    pub fn is_oneway(&self) -> bool {
        self.flag & FLAG_ONEWAY != 0
    }

    /// A field of the map.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.ext.as_ref().and_then(|ext| ext.get(key))
    }

    /// Reads the typed header of a request or an answer.
    pub fn fields<F: Fields>(&self) -> Result<F, FieldError> {
        match &self.ext {
            Some(ext) => F::from_ext(ext),
            None => F::from_ext(&Ext::default()),
        }
    }

    /// Reads a header from the bytes of a frame.
    pub fn decode(codec: Codec, bytes: &[u8]) -> Result<Header, HeaderError> {
        match codec {
            Codec::Json => json::decode(bytes),
            Codec::Binary => binary::decode(bytes),
        }
    }

    /// Appends the whole frame with this header and `body`.
    pub fn write_frame(&self, codec: Codec, body: &[u8], out: &mut Vec<u8>) {
        let start = self.begin_frame(codec, body.len(), out);
        debug_assert!(start < out.len());
        out.extend_from_slice(body);
    }

    /// Appends prefix and header of a frame whose body of `body_bytes` bytes the caller appends next.
    /// Returns where the frame starts.
    pub fn begin_frame(&self, codec: Codec, body_bytes: usize, out: &mut Vec<u8>) -> usize {
        let start = frame::begin(out);
        let at = out.len();
        match codec {
            Codec::Json => json::encode(self, out),
            Codec::Binary => binary::encode(self, out),
        }
        let header_bytes = out.len() - at;
        frame::finish(out, start, codec, header_bytes, body_bytes);
        start
    }
}

/// The header of a frame cannot be read; the original closes the connection then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderError {
    /// Not JSON, or not of a header's shape.
    Json(String),
    /// A binary header that ends early or has an impossible inner length.
    Binary(&'static str),
    /// More than [`EXT_FIELDS_MAX`] fields.
    TooManyFields,
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeaderError::Json(why) => write!(f, "the JSON header cannot be read: {why}"),
            HeaderError::Binary(why) => write!(f, "the binary header cannot be read: {why}"),
            HeaderError::TooManyFields => write!(f, "the header has more than {EXT_FIELDS_MAX} fields"),
        }
    }
}
impl std::error::Error for HeaderError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{FRAME_BYTES_MAX, Split, split};
    use proptest::prelude::*;

    fn round_trip(header: &Header, codec: Codec) -> Header {
        let mut out = Vec::new();
        header.write_frame(codec, b"body", &mut out);
        let Ok(Split::Whole(frame, taken)) = split(&out, FRAME_BYTES_MAX) else { panic!("no frame") };
        assert_eq!((taken, frame.body, frame.codec), (out.len(), &b"body"[..], codec));
        Header::decode(codec, frame.header).unwrap()
    }

    proptest! {
        #[test]
        fn headers_survive_both_codecs(
            code in -1000i32..30000, language in 0u8..14, version in 0i32..700, opaque: i32, flag in 0i32..4,
            remark in proptest::option::of("\\PC{1,40}"),
            ext in proptest::option::of(proptest::collection::btree_map("[a-zA-Z_]{1,12}", "\\PC{1,40}|a\u{1}b\u{2}\"\\\\", 0..8)),
        ) {
            let ext = ext.map(|map| map.into_iter().collect::<Ext>());
            let header = Header { code, language: Language(language), version, opaque, flag, remark, ext };
            prop_assert_eq!(&round_trip(&header, Codec::Json), &header);
            // The binary form cannot tell an empty map from none.
            let mut expected = header.clone();
            expected.ext = expected.ext.filter(|ext| !ext.is_empty());
            prop_assert_eq!(&round_trip(&header, Codec::Binary), &expected);
        }

        #[test]
        fn any_bytes_give_a_header_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Header::decode(Codec::Binary, &bytes);
            let _ = Header::decode(Codec::Json, &bytes);
        }
    }

    #[test]
    fn what_cpp_clients_send_is_read() {
        let text =
            b"{\"code\":310,\"language\":\"CPP\",\"version\":333,\"opaque\":-7,\"flag\":0,\"remark\":\"\",\
            \"extFields\":{\"e\":3,\"m\":true,\"x\":null,\"Signature\":\"\"}}\n";
        let header = Header::decode(Codec::Json, text).unwrap();
        assert_eq!((header.get("e"), header.get("m"), header.get("x")), (Some("3"), Some("true"), None));
        assert_eq!((header.opaque, header.language), (-7, Language::CPP));
        assert_eq!(header.get("Signature"), Some(""));
    }

    #[test]
    fn a_language_may_be_its_number() {
        let header = Header::decode(Codec::Json, br#"{"code":1,"language":9,"opaque":2,"flag":0}"#).unwrap();
        assert_eq!(header.language, Language::GO);
    }

    #[test]
    fn the_binary_vector_of_the_reference_is_produced() {
        let mut header = Header::request(105, 1, Some([("topic", "TestTopic")].into_iter().collect()));
        header.version = 409;
        let mut out = Vec::new();
        header.write_frame(Codec::Binary, b"", &mut out);
        let hex: String = out.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex,
            "0000002d010000290069000199000000010000000000000000000000140005746f7069630000000954657374546f706963"
        );
    }
}
