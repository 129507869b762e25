//! Walks every declared key: defaults, spellings, live updates.

use std::collections::BTreeSet;

use kerolox_config::{
    BrokerConfig, Bytes, Count, FlushDiskType, KeyInfo, Kind, NamesrvConfig, ServerConfig, Standing,
    StoreConfig, UpdateError, When,
};

type Group = (&'static str, &'static [KeyInfo]);

fn groups() -> [Group; 4] {
    [
        ("BrokerConfig", BrokerConfig::KEYS),
        ("StoreConfig", StoreConfig::KEYS),
        ("ServerConfig", ServerConfig::KEYS),
        ("NamesrvConfig", NamesrvConfig::KEYS),
    ]
}

/// Sets every key of a struct to its own printed default: nothing may change.
macro_rules! defaults_survive {
    ($group:ident) => {{
        let mut config = $group::default();
        for info in $group::KEYS {
            let text = info.default_text();
            config.set(info.name, &text).unwrap_or_else(|error| panic!("{} = {text}: {error:?}", info.name));
        }
        assert_eq!(config, $group::default());
        let printed: Vec<_> = $group::KEYS.iter().map(|info| (info.name, info.default_text())).collect();
        assert_eq!(config.values(), printed);
    }};
}

#[test]
fn every_default_prints_and_reads_back_as_itself() {
    defaults_survive!(BrokerConfig);
    defaults_survive!(StoreConfig);
    defaults_survive!(ServerConfig);
    defaults_survive!(NamesrvConfig);
}

#[test]
fn every_spelling_is_declared_once() {
    // A broker offers each key of its file to three structs and a name server to two; within one role a spelling is one key.
    for role in [&[0, 1, 2][..], &[2, 3][..]] {
        let mut seen = BTreeSet::new();
        for (name, keys) in role.iter().filter_map(|index| groups().get(*index).copied()) {
            for spelling in keys.iter().flat_map(|info| info.aliases.iter().chain([&info.name])) {
                assert!(seen.insert(*spelling), "{spelling} of {name} is declared twice");
            }
        }
    }
}

#[test]
fn every_key_is_documented_and_says_where_it_stands() {
    for (group, keys) in groups() {
        for info in keys {
            assert!(info.doc.trim().len() > 8 && info.doc.trim().ends_with('.'), "{group}.{}", info.name);
            if let Standing::Later(why) | Standing::Meaningless(why) = info.standing {
                assert!(why.len() > 2, "{group}.{}", info.name);
            }
        }
    }
}

#[test]
fn fields_are_the_keys_in_snake_case() {
    for (group, keys) in groups() {
        for info in keys {
            let plain = |text: &str| text.replace(['_', '.'], "").to_lowercase();
            let name = info.name.rsplit('.').next().unwrap_or(info.name);
            assert_eq!(plain(info.field), plain(name), "{group}.{}", info.name);
        }
    }
}

/// A request over the network must not be able to name a path, a network or a black list (CVE-2023-33246, CVE-2023-37582).
#[test]
fn no_live_key_holds_a_path_or_a_permission() {
    for (group, keys) in groups() {
        // Names of topics lead to no file and give nobody a right.
        let is_judged = |info: &&KeyInfo| info.when == When::Live && info.name != "protectedTopics";
        for info in keys.iter().filter(is_judged) {
            let kind = info.kind;
            assert!(
                !["path", "path,path", "network;network", "name;name"].contains(&kind),
                "{group}.{}",
                info.name
            );
        }
    }
}

#[test]
fn both_spellings_set_the_same_field() {
    let mut store = StoreConfig::default();
    for (key, size) in [("mapedFileSizeCommitLog", 1_048_576), ("mappedFileSizeCommitLog", 2_097_152)] {
        store.set(key, &size.to_string()).expect(key);
        assert_eq!(store.mapped_file_size_commit_log, Bytes(size));
    }
    for (key, size) in [("mapedFileSizeConsumeQueue", 40), ("mappedFileSizeConsumeQueue", 41)] {
        store.set(key, &size.to_string()).expect(key);
        assert_eq!(store.mapped_file_size_consume_queue, Bytes(size));
    }
    assert_eq!(store.consume_queue_file_size(), 60);
}

#[test]
fn live_keys_change_and_others_are_refused_with_a_reason() {
    let mut store = StoreConfig::default();
    store.update("flushDiskType", "SYNC_FLUSH").expect("live");
    assert_eq!(store.flush_disk_type, FlushDiskType::SyncFlush);

    let refused = store.update("storePathRootDir", "/etc").expect_err("restart");
    assert_eq!(refused, UpdateError::Restart { key: "storePathRootDir" });
    assert!(refused.to_string().contains("restart"), "{refused}");
    assert!(store.store_path_root_dir.is_empty());

    let unknown = store.update("flushDiskTyp", "SYNC_FLUSH").expect_err("unknown");
    assert_eq!(unknown.to_string(), "unknown key `flushDiskTyp`; did you mean `flushDiskType`?");

    let value = store.update("maxTransferCountOnMessageInMemory", "0").expect_err("range");
    assert!(value.to_string().contains("from 1 to 2147483647"), "{value}");
    assert_eq!(store.max_transfer_count_on_message_in_memory, Count(32));
}

#[test]
fn clamped_keys_take_the_nearest_number() {
    let mut store = StoreConfig::default();
    for (text, expected) in
        [("5", "10"), ("-1", "10"), ("300", "95"), ("95", "95"), ("99", "95"), ("75", "75")]
    {
        store.update("diskMaxUsedSpaceRatio", text).expect(text);
        assert_eq!(store.disk_max_used_space_ratio.print(), expected);
    }
}
