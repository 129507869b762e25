//! Properties text: what is written is read back, and nothing read can break the reader.

use kerolox_config::properties::{Note, parse, write};
use kerolox_config::{BrokerConfig, Kind, NamesrvConfig, Networks, ServerConfig, SetError, StoreConfig};
use proptest::prelude::*;

proptest! {
    #[test]
    fn written_pairs_are_read_back(pairs in prop::collection::vec((any::<String>(), any::<String>()), 0..8)) {
        // A pair with neither key nor value is the line `=`, which is read as such a pair too.
        let text = write(pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        let entries = parse(&text).expect("what was written");
        let read: Vec<_> = entries.into_iter().map(|entry| (entry.key, entry.value)).collect();
        prop_assert_eq!(read, pairs);
    }

    #[test]
    fn odd_pairs_are_read_back(pairs in prop::collection::vec(("[ \\t\\\\=:#!a\u{c}\n\r中]{0,6}", "[ \\t\\\\=:#!a\u{c}\n\r🚀]{0,6}"), 0..6)) {
        let text = write(pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        let read: Vec<_> = parse(&text).expect("what was written").into_iter().map(|e| (e.key, e.value)).collect();
        prop_assert_eq!(read, pairs);
    }

    #[test]
    fn any_text_is_read_or_refused_by_line(text in "[ -~\\t\\\\\n\r\u{c}=:#!u0-9a-f中]{0,200}") {
        let lines = text.split(['\n', '\r']).count();
        match parse(&text) {
            Ok(entries) => prop_assert!(entries.iter().all(|entry| (1..=lines).contains(&entry.line))),
            Err(errors) => prop_assert!(errors.iter().all(|error| (1..=lines).contains(&error.line))),
        }
    }

    /// Whatever a key takes, it prints in a form that it takes again as the same.
    #[test]
    fn what_a_key_takes_it_prints_and_takes_again(text in prop_oneof![
        "-?[0-9]{1,20}", "[0-9]{1,2}(;[0-9]{1,2}){0,3}", "([0-9]{1,4}[smhdx] ?){1,5}", "(true|FALSE|yes)",
        "[a-z.]{1,6}:[0-9]{1,6}(;[0-9a-f:\\[\\]]{1,9}:[0-9]{1,5}){0,2}", "[0-9a-f.:]{1,15}/[0-9]{1,3}", any::<String>(),
    ]) {
        survives(&mut BrokerConfig::default(), BrokerConfig::KEYS, &text, BrokerConfig::set, BrokerConfig::values);
        survives(&mut StoreConfig::default(), StoreConfig::KEYS, &text, StoreConfig::set, StoreConfig::values);
        survives(&mut ServerConfig::default(), ServerConfig::KEYS, &text, ServerConfig::set, ServerConfig::values);
        survives(&mut NamesrvConfig::default(), NamesrvConfig::KEYS, &text, NamesrvConfig::set, NamesrvConfig::values);
        if let Ok(networks) = Networks::parse(&text) {
            prop_assert_eq!(Networks::parse(&networks.print()), Ok(networks));
        }
    }
}

fn unhex(text: &str) -> String {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("hex"), 16).expect("hex");
    String::from_utf8(text.as_bytes().chunks(2).map(byte).collect()).expect("UTF-8")
}

/// The same pairs as Java, but for unescaped blanks at the end of values, which are dropped with a note.
#[test]
fn texts_are_read_as_java_reads_them() {
    let mut dropped = 0;
    for line in include_str!("data/java-properties.txt").lines() {
        let (text, java) = line.split_once(' ').expect("two columns");
        let text = unhex(text);
        let Ok(entries) = parse(&text) else {
            assert_eq!(java, "ERR", "{text:?}");
            continue;
        };
        let java: Vec<_> = java
            .split_terminator(';')
            .map(|pair| pair.split_once('=').map(|(key, value)| (unhex(key), unhex(value))).expect("a pair"))
            .collect();
        assert_eq!(entries.len(), java.len(), "{text:?}");
        for (entry, (key, value)) in entries.iter().zip(&java) {
            assert_eq!(&entry.key, key, "{text:?}");
            let tail = value.strip_prefix(&entry.value).unwrap_or_else(|| panic!("{text:?}: {value:?}"));
            let blanks = !tail.is_empty();
            assert_eq!(entry.notes.contains(&Note::TrailingBlanks), blanks, "{text:?}");
            assert!(tail.chars().all(|c| " \t\u{c}".contains(c)), "{text:?}: {tail:?}");
            dropped += usize::from(blanks);
        }
    }
    assert!(dropped > 10, "the texts no longer have blanks to drop");
}

type Set<C> = fn(&mut C, &str, &str) -> Result<kerolox_config::Taken, SetError>;
type Values<C> = fn(&C) -> Vec<(&'static str, String)>;

fn survives<C: Clone + PartialEq>(
    config: &mut C,
    keys: &[kerolox_config::KeyInfo],
    text: &str,
    set: Set<C>,
    values: Values<C>,
) {
    for info in keys {
        let before = config.clone();
        if set(config, info.name, text).is_err() {
            assert!(*config == before, "{} changed by a refused value", info.name);
        }
    }
    let after = config.clone();
    for (key, value) in values(config) {
        set(config, key, &value).unwrap_or_else(|error| panic!("{key}={value}: {error:?}"));
    }
    assert!(*config == after, "printed values read back differently: {text:?}");
}
