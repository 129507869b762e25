//! What the fuzz target of this crate does with text; a bounded run of it is a test.

use crate::{
    load::{File, Sources, load},
    loaded::{Loaded, Machine, Role},
    print, properties,
};

/// Takes any bytes, and panics if a promise is broken.
pub type Target = fn(&[u8]);

/// All targets by name.
pub const TARGETS: &[(&str, Target)] = &[("config_text", config_text)];

/// Inputs that a target can do something with.
pub fn seeds(_target: &str) -> Vec<Vec<u8>> {
    [
        "\0brokerName=a\nlistenPort = 10911\n# comment\nflushDiskType: SYNC_FLUSH\\\n  \nbrokerRole=SLAVE",
        "\u{1}listenPort=9876\nkvConfigPath=c:\\\\x\\u0041\n!x\n  scanNotActiveBrokerInterval=5000",
        "\0deleteWhen=04;05\nfileReservedTime=48\nmapedFileSizeCommitLog=1073741824\nmessageDelayLevel=1s 5s 1h\n",
        "\0namesrvAddr=127.0.0.1:9876;[::1]:9876\nadminNetworks=10.0.0.0/8\nunknown=1\nunknown=2\r\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}

/// A configuration file: the first byte chooses the server. It is read or every problem is named; pairs that are
/// read survive writing; and as an update it changes all of its keys or none.
pub fn config_text(bytes: &[u8]) {
    let Some((role, rest)) = bytes.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    if let Ok(entries) = properties::parse(text) {
        let pairs = |entries: &[properties::Entry]| -> Vec<(String, String)> {
            entries.iter().map(|entry| (entry.key.clone(), entry.value.clone())).collect()
        };
        let pairs_read = pairs(&entries);
        let written = properties::write(pairs_read.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        let again = properties::parse(&written).map(|entries| pairs(&entries));
        assert_eq!(again.as_ref(), Ok(&pairs_read), "{written}");
    }
    let role = if *role % 2 == 0 { Role::Broker } else { Role::Namesrv };
    let sources = |file| Sources {
        role,
        file,
        namesrv_addr: None,
        words: &[],
        env: &|name| (name == "HOME").then(|| "/home/a".to_owned()),
        machine: Machine::default(),
    };
    match load(&sources(Some(File { name: "broker.conf", text }))) {
        Ok(loaded) => drop(print::print_all(&loaded)),
        Err(problems) => {
            assert!(!problems.is_empty());
            problems.iter().for_each(|problem| assert!(!problem.to_string().is_empty()));
        }
    }
    let mut loaded =
        load(&sources(None)).unwrap_or_else(|why| panic!("defaults are a configuration: {why:?}"));
    let values =
        |loaded: &Loaded| -> Vec<String> { loaded.values().into_iter().map(|(_, value)| value).collect() };
    let before = values(&loaded);
    if loaded.update_text(text).is_err() {
        assert_eq!(values(&loaded), before, "all or none");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn any_text_is_read_or_its_problems_are_named() {
        for (name, target) in TARGETS {
            kerolox_smoke::on_mutations(name, target, &seeds(name), 200);
        }
    }

    /// Mutations hardly ever name another key.
    #[test]
    fn any_value_of_any_key_is_read_or_its_problem_is_named() {
        let keys: Vec<_> = crate::keys_of(Role::Broker).iter().flat_map(|keys| keys.iter()).collect();
        let value = prop_oneof!["[0-9]{1,20}", "[-a-zA-Z0-9:;./ ]{0,20}", any::<String>()];
        let line = (0..keys.len(), value, prop_oneof![Just("="), Just(": "), Just(" \\\n ")]);
        let lines = (any::<u8>(), proptest::collection::vec(line, 0..8), any::<String>());
        let inputs = lines.prop_map(|(role, lines, tail)| {
            let mut bytes = vec![role];
            for (key, value, separator) in lines {
                bytes.extend(format!("{}{separator}{value}\n", keys[key].name).bytes());
            }
            bytes.extend(tail.bytes());
            bytes
        });
        kerolox_smoke::on_inputs("config_text", config_text, inputs, 500);
    }
}
