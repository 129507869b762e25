//! The key-value configuration that admins keep in a name server; order topics live here.
//!
//! Owns namespaces, keys and values, and the text form they are saved in. Knows no file: text comes in and
//! goes out. The text is the original's `kvConfig.json`, `{"configTable":{namespace:{key:value}}}`, so either
//! server reads the other's file.

use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// Namespace of the order of topics: topic to `broker:queues;broker:queues`.
pub const ORDER_TOPICS: &str = "ORDER_TOPIC_CONFIG";
/// Longest namespace or key, in bytes.
pub const KEY_BYTES_MAX: usize = 1024;
/// Most bytes of all namespaces, keys and values together; the whole text is held and written at once.
pub const BYTES_MAX: usize = 4 * 1024 * 1024;
/// What an entry costs beyond its text, so that empty ones cannot fill the memory.
const ENTRY_BYTES: usize = 64;

/// The values of one namespace.
pub type Values = BTreeMap<String, String>;

/// All values.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Kv {
    namespaces: BTreeMap<String, Values>,
    bytes: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    // The original writes null for a store that never had a value.
    config_table: Option<BTreeMap<String, Values>>,
}

/// Why a value was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvFull {
    /// A namespace or key beyond [`KEY_BYTES_MAX`].
    Key,
    /// All together would pass [`BYTES_MAX`].
    Store,
}

impl fmt::Display for KvFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KvFull::Key => write!(f, "namespace and key may have {KEY_BYTES_MAX} bytes each"),
            KvFull::Store => {
                write!(
                    f,
                    "the key-value configuration holds its limit of {BYTES_MAX} bytes; delete unused keys"
                )
            }
        }
    }
}
impl std::error::Error for KvFull {}

impl Kv {
    /// Reads the saved text. An empty one is a store without values: the original leaves such a file when it
    /// is stopped while it saves for the first time.
    pub fn load(text: &str) -> Result<Kv, serde_json::Error> {
        if text.trim().is_empty() {
            return Ok(Kv::default());
        }
        let file: File = serde_json::from_str(text)?;
        let namespaces = file.config_table.unwrap_or_default();
        // A file beyond the limit was written by somebody with access to the disk: it is served, not extended.
        let bytes = namespaces.iter().map(|(name, values)| cost(name, "") + values_cost(values)).sum();
        Ok(Kv { namespaces, bytes })
    }

    /// The text to save.
    pub fn text(&self) -> String {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct File<'a> {
            config_table: &'a BTreeMap<String, Values>,
        }
        // Maps of strings always serialize.
        serde_json::to_string(&File { config_table: &self.namespaces }).unwrap_or_default()
    }

    /// Sets a value. Returns whether that changed anything.
    pub fn put(&mut self, namespace: &str, key: &str, value: &str) -> Result<bool, KvFull> {
        if namespace.len() > KEY_BYTES_MAX || key.len() > KEY_BYTES_MAX {
            return Err(KvFull::Key);
        }
        let old = self.get(namespace, key);
        if old == Some(value) {
            return Ok(false);
        }
        let freed = old.map_or(0, |old| cost(key, old));
        let opened = if self.namespaces.contains_key(namespace) { 0 } else { cost(namespace, "") };
        let bytes = self.bytes - freed + opened + cost(key, value);
        if bytes > BYTES_MAX && bytes > self.bytes {
            return Err(KvFull::Store);
        }
        self.bytes = bytes;
        self.namespaces.entry(namespace.to_owned()).or_default().insert(key.to_owned(), value.to_owned());
        Ok(true)
    }

    /// A value.
    pub fn get(&self, namespace: &str, key: &str) -> Option<&str> {
        self.namespaces.get(namespace)?.get(key).map(String::as_str)
    }

    /// Removes a value. Returns whether it was there. The namespace stays, as in the original.
    pub fn delete(&mut self, namespace: &str, key: &str) -> bool {
        let removed = self.namespaces.get_mut(namespace).and_then(|values| values.remove(key));
        self.bytes -= removed.as_ref().map_or(0, |value| cost(key, value));
        removed.is_some()
    }

    /// All values of a namespace.
    pub fn namespace(&self, namespace: &str) -> Option<&Values> {
        self.namespaces.get(namespace)
    }
}

fn cost(key: &str, value: &str) -> usize {
    key.len() + value.len() + ENTRY_BYTES
}

fn values_cost(values: &Values) -> usize {
    values.iter().map(|(key, value)| cost(key, value)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_originals_file_is_read_as_it_is() {
        let text = "{\n\t\"configTable\":{\"ORDER_TOPIC_CONFIG\":{\"T\":\"broker-a:4\"},\"n\":{}\n\t}\n}";
        let kv = Kv::load(text).unwrap();
        assert_eq!(kv.get(ORDER_TOPICS, "T"), Some("broker-a:4"));
        assert_eq!(kv.namespace("n"), Some(&Values::new()));
        assert_eq!(kv.text(), r#"{"configTable":{"ORDER_TOPIC_CONFIG":{"T":"broker-a:4"},"n":{}}}"#);
    }

    #[test]
    fn an_empty_file_is_an_empty_store_and_a_torn_one_an_error() {
        assert_eq!(Kv::load(" \n").unwrap(), Kv::default());
        assert_eq!(Kv::load(r#"{"configTable":null}"#).unwrap(), Kv::default());
        assert!(Kv::load(r#"{"configTable":{"n":{"#).is_err());
        assert!(Kv::load(r#"{"configTable":{"n":{"k":1}}}"#).is_err());
    }

    #[test]
    fn values_are_set_changed_and_removed() {
        let mut kv = Kv::default();
        assert_eq!(kv.put("n", "k", "1"), Ok(true));
        assert_eq!(kv.put("n", "k", "1"), Ok(false));
        assert_eq!(kv.put("n", "k", "22"), Ok(true));
        assert_eq!(kv.get("n", "k"), Some("22"));
        assert!(kv.delete("n", "k") && !kv.delete("n", "k") && !kv.delete("m", "k"));
        assert_eq!((kv.get("n", "k"), kv.namespace("n")), (None, Some(&Values::new())));
        assert_eq!(kv.bytes, Kv::load(&kv.text()).unwrap().bytes, "the books agree with a fresh count");
    }

    #[test]
    fn a_full_store_refuses_more_and_allows_less() {
        let mut kv = Kv::default();
        assert_eq!(kv.put(&"n".repeat(KEY_BYTES_MAX + 1), "k", ""), Err(KvFull::Key));
        let big = "v".repeat(BYTES_MAX / 2 - 1000);
        assert_eq!(kv.put("n", "1", &big), Ok(true));
        assert_eq!(kv.put("n", "2", &big), Ok(true));
        assert_eq!(kv.put("n", "3", &big), Err(KvFull::Store));
        assert_eq!(kv.put("n", "2", "small"), Ok(true));
        assert_eq!(kv.put("n", "3", &"v".repeat(1000)), Ok(true));
    }
}
