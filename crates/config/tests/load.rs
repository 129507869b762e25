//! The loader: precedence, rules between keys, and what it says about files that are nearly right.

use kerolox_config::{
    About, Addresses, BrokerRole, Bytes, File, FlushDiskType, Kind, Loaded, Machine, Millis, Number, Percent,
    Port, Problem, Role, Sources, UpdateError, export, load, properties,
};

/// A load with everything but the interesting part at rest.
#[derive(Clone, Copy)]
struct Given<'a> {
    role: Role,
    file: &'a str,
    namesrv_addr: Option<&'a str>,
    words: &'a [&'a str],
    env: &'a [(&'a str, &'a str)],
}

const NOTHING: Given<'static> =
    Given { role: Role::Broker, file: "", namesrv_addr: None, words: &[], env: &[("HOME", "/home/user")] };

fn try_load(given: Given<'_>) -> Result<Loaded, Vec<Problem>> {
    let env =
        |name: &str| given.env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    let words: Vec<String> = given.words.iter().map(|word| (*word).to_owned()).collect();
    let file = (!given.file.is_empty()).then_some(File { name: "broker.conf", text: given.file });
    let machine = Machine::default();
    load(&Sources {
        role: given.role,
        file,
        namesrv_addr: given.namesrv_addr,
        words: &words,
        env: &env,
        machine,
    })
}

fn loaded(given: Given<'_>) -> Loaded {
    try_load(given).unwrap_or_else(|problems| panic!("{problems:?}"))
}

fn file(text: &str) -> Loaded {
    loaded(Given { file: text, ..NOTHING })
}

fn problems(given: Given<'_>) -> Vec<String> {
    try_load(given).expect_err("problems").iter().map(Problem::to_string).collect()
}

fn warnings(loaded: &Loaded) -> Vec<String> {
    loaded.warnings.iter().map(ToString::to_string).collect()
}

fn addresses(text: &str) -> Addresses {
    Addresses::parse(text).expect("addresses")
}

#[test]
fn the_usual_file_of_the_original_loads_without_a_word() {
    let config = file(
        "# a comment\nbrokerClusterName = DefaultCluster\nbrokerName = broker-a\nbrokerId = 0\ndeleteWhen = 04\n\
         fileReservedTime = 48\nbrokerRole = ASYNC_MASTER\nflushDiskType = ASYNC_FLUSH\nnamesrvAddr = 192.168.1.5:9876\n\
         brokerIP1=192.168.1.6\nautoCreateTopicEnable=true\nlistenPort=10921\nmaxMessageSize=65536\n",
    );
    assert_eq!(warnings(&config), Vec::<String>::new());
    assert_eq!(config.broker.broker_name, "broker-a");
    assert_eq!(config.store.file_reserved_time.0, 48);
    assert_eq!(config.server.listen_port, Port(10_921));
    assert_eq!(config.store.ha_listen_port, Port(10_922));
    assert_eq!(config.server.vip_port(), Some(10_919));
    assert_eq!(config.store.max_message_size, Bytes(65_536));
    assert_eq!(config.store.store_path_root_dir.0, "/home/user/store");
    assert_eq!(config.store.commit_log_dirs(), [std::path::PathBuf::from("/home/user/store/commitlog")]);
    assert!(config.written.contains("brokerIP1") && !config.written.contains("brokerIP2"));
}

#[test]
fn later_sources_win() {
    let env = [("HOME", "/h"), ("NAMESRV_ADDR", "env:1"), ("JAVA_OPT", "-Drocketmq.namesrv.addr=java:1")];
    let all = Given {
        file: "namesrvAddr=file:1\nbrokerName=file",
        namesrv_addr: Some("option:1"),
        words: &["namesrvAddr=word:1", "brokerName=word"],
        env: &env,
        ..NOTHING
    };
    let steps = [
        (Given { file: "", namesrv_addr: None, words: &[], env: &env[..2], ..all }, "env:1"),
        (Given { file: "", namesrv_addr: None, words: &[], ..all }, "java:1"),
        (Given { namesrv_addr: None, words: &[], ..all }, "file:1"),
        (Given { words: &[], ..all }, "option:1"),
        (all, "word:1"),
    ];
    for (given, expected) in steps {
        assert_eq!(loaded(given).broker.namesrv_addr, addresses(expected), "{expected}");
    }
    assert_eq!(loaded(all).broker.broker_name, "word");
}

/// Four lines which the original takes without a word and does not obey.
#[test]
fn the_four_spelling_traps_give_four_hints() {
    let config = file(
        "mapedFileSizeCommitLog=1048576\nflushDiskType=SYNC_FLUSH \nbrokerIP1: 1.2.3.4\nautoCreateTopicEnabled=false\n",
    );
    assert_eq!(
        config.warnings.iter().map(|warning| warning.about).collect::<Vec<_>>(),
        [About::OldSpelling, About::TrailingBlanks, About::LooksLikeYaml, About::UnknownKey]
    );
    assert_eq!(
        warnings(&config),
        [
            "broker.conf line 1: `mapedFileSizeCommitLog` is the old spelling of `mappedFileSizeCommitLog`; it is obeyed here, but brokers from 4.5 on ignore it",
            "broker.conf line 2: blanks after `flushDiskType=SYNC_FLUSH` are ignored; the original would read them as part of the value",
            "broker.conf line 3: this looks like YAML, but the file is a properties file: write `brokerIP1=1.2.3.4`",
            "broker.conf line 4: unknown key `autoCreateTopicEnabled` is ignored; did you mean `autoCreateTopicEnable`?",
        ]
    );
    assert_eq!(config.store.mapped_file_size_commit_log, Bytes(1_048_576));
    assert_eq!(config.store.flush_disk_type, FlushDiskType::SyncFlush);
    assert_eq!(config.broker.broker_ip1, "1.2.3.4");
    assert!(config.broker.auto_create_topic_enable);
}

#[test]
fn all_errors_come_together_with_place_value_and_what_was_wanted() {
    let found = problems(Given {
        file: "flushDiskType=sync_flush\nfileReservedTime=48h\nautoCreateTopicEnable=yes\nnamesrvAddr=a:9876,b:9876\n\
               messageDelayLevel=1s 5x\ndeleteWhen=25\ndiskSpaceWarningLevelRatio=0.9\nlistenPort=70000",
        words: &["maxMessageSize=0", "-x"],
        ..NOTHING
    });
    assert_eq!(
        found,
        [
            "broker.conf line 1: flushDiskType=sync_flush: wanted ASYNC_FLUSH or SYNC_FLUSH, in capitals: SYNC_FLUSH",
            "broker.conf line 2: fileReservedTime=48h: wanted a whole number (h) from 0 to 2147483647; units are not written, only the number",
            "broker.conf line 3: autoCreateTopicEnable=yes: wanted true or false",
            "broker.conf line 4: namesrvAddr=a:9876,b:9876: wanted `host:port` (port 1 to 65535); `a:9876,b:9876` is none; addresses are separated by `;`, not by `,`",
            "broker.conf line 5: messageDelayLevel=1s 5x: wanted delays like `1s 5s 1m 2h 1d` (units s, m, h, d), one blank between them; `5x` is none",
            "broker.conf line 6: deleteWhen=25: wanted hours of the day from 00 to 23, separated by `;`, such as 04 or 04;16; nothing for none",
            "broker.conf line 7: diskSpaceWarningLevelRatio=0.9: wanted a whole number (%) from 1 to 100; a key takes percents (90), the -D form a fraction (0.90)",
            "broker.conf line 8: listenPort=70000: wanted a whole number (port) from 0 to 65535",
            "command line: maxMessageSize=0: wanted a whole number (bytes) from 1 to 2147483647",
            "command line: wanted KEY=VALUE, not `-x`",
        ]
    );
    let syntax = problems(Given { file: "a=\\u12\nb=1\nc=\\ux", ..NOTHING });
    assert_eq!(
        syntax,
        [
            "broker.conf line 1: wanted four hexadecimal digits after `\\u`",
            "broker.conf line 3: wanted four hexadecimal digits after `\\u`",
        ]
    );
}

#[test]
fn a_master_has_id_0_and_a_slave_needs_one_above() {
    let master = file("brokerId=3\nbrokerRole=SYNC_MASTER");
    assert_eq!(master.broker.broker_id, Number(0));
    assert_eq!(
        warnings(&master)[0],
        "broker.conf line 1: `brokerId=3` is ignored: id 0 belongs to `brokerRole=SYNC_MASTER`"
    );
    assert!(warnings(&master)[1].contains("THERE IS NO REPLICATION YET"), "{:?}", master.warnings);

    let slave = file("brokerId=1\nbrokerRole=SLAVE ");
    assert_eq!((slave.store.broker_role, slave.broker.broker_id), (BrokerRole::Slave, Number(1)));
    assert_eq!(
        slave.warnings.iter().map(|w| w.about).collect::<Vec<_>>(),
        [About::TrailingBlanks, About::Later]
    );

    assert_eq!(
        problems(Given { file: "brokerRole=SLAVE\nbrokerId=0", ..NOTHING }),
        ["broker.conf line 2: brokerId=0: wanted an id above 0 for `brokerRole=SLAVE`"]
    );
}

#[test]
fn an_address_nobody_can_connect_to_is_refused() {
    for wrong in
        ["0.0.0.0", "::", "224.0.0.1", "10.0.0", "300.1.1.1", "a b", "http://x", "10.0.0.7:10911", "-x"]
    {
        for key in ["brokerIP1", "brokerIP2"] {
            let words = [format!("{key}={wrong}")];
            let found = problems(Given { words: &[&words[0]], ..NOTHING });
            let wanted = format!("{key}={wrong}: wanted an address that clients can connect to, as 10.0.0.7");
            assert!(found.len() == 1 && found[0].contains(&wanted), "{found:?}");
            assert!(found[0].contains(&format!("without `{key}=`")), "{found:?}");
        }
    }
    for right in
        ["10.0.0.7", " 10.0.0.7 ", "::1", "localhost", "broker-1.rmq.svc.cluster.local", "rmq_broker", "7up"]
    {
        file(&format!("brokerIP1={right}\n"));
    }
    assert_eq!(file("brokerIP1=\n").broker.broker_ip1, "", "nobody wrote one");
}

#[test]
fn a_name_that_would_break_lists_is_refused() {
    for wrong in ["", "a b", "a,b", "a;b", "a'b", "a{b}", "a:b"] {
        for key in ["brokerName", "brokerClusterName"] {
            let words = [format!("{key}={wrong}")];
            let found = problems(Given { words: &[&words[0]], ..NOTHING });
            assert!(
                found.len() == 1 && found[0].contains("wanted a name of letters, digits"),
                "{wrong:?}: {found:?}"
            );
        }
    }
    for right in ["broker-a", "host.example.com", "b_1", "\u{4e2d}"] {
        file(&format!("brokerName={right}\n"));
    }
}

#[test]
fn ports_follow_from_the_first() {
    for (port, problem) in [("2", true), ("3", false), ("65534", false), ("65535", true), ("0", false)] {
        let words = [format!("listenPort={port}")];
        let words = [words[0].as_str()];
        assert_eq!(try_load(Given { words: &words, ..NOTHING }).is_err(), problem, "{port}");
    }
    let any = loaded(Given { words: &["listenPort=0"], ..NOTHING });
    assert_eq!((any.server.vip_port(), any.store.ha_listen_port), (None, Port(0)));
    let overruled = file("haListenPort=10999");
    assert_eq!(overruled.store.ha_listen_port, Port(10_912));
    assert_eq!(
        warnings(&overruled),
        ["broker.conf line 1: `haListenPort=10999` is ignored: the port is listenPort + 1 = 10912"]
    );
}

#[test]
fn java_options_are_named_once_and_their_properties_read() {
    let env = [
        ("HOME", "/h"),
        ("JAVA_OPT", "-server -Xms8g -Xmx8g -Drocketmq.broker.diskSpaceWarningLevelRatio=0.98"),
        ("JAVA_OPT_EXT", "-Drocketmq.broker.diskSpaceCleanForciblyRatio=0.95 -Dtls.server.mode=enforcing"),
    ];
    let config = loaded(Given { env: &env, file: "diskSpaceWarningLevelRatio=70", ..NOTHING });
    assert_eq!(config.store.disk_space_warning_level_ratio, Percent(98));
    assert_eq!(config.store.disk_space_clean_forcibly_ratio, Percent(95));
    assert_eq!(
        config.warnings.iter().map(|warning| (warning.about, warning.key.as_str())).collect::<Vec<_>>(),
        [(About::JavaOptions, "JAVA_OPT"), (About::Later, "tls.server.mode")]
    );
    let word = "-Drocketmq.broker.diskSpaceWarningLevelRatio=98";
    assert_eq!(
        problems(Given { words: &[word], ..NOTHING }),
        ["command line: diskSpaceWarningLevelRatio=98: wanted a fraction above 0 and up to 1, such as 0.90"]
    );
}

#[test]
fn deleting_begins_before_refusing() {
    assert_eq!(
        problems(Given { file: "diskSpaceCleanForciblyRatio=95", ..NOTHING }),
        [
            "broker.conf line 1: diskSpaceCleanForciblyRatio=95: wanted at most `diskSpaceWarningLevelRatio` (90)"
        ]
    );
}

#[test]
fn keys_without_effect_say_so_only_when_they_ask_for_something() {
    let config = file(
        "sendMessageThreadPoolNums=128\ndisableConsumeIfConsumerReadSlowly=true\ntransientStorePoolEnable=false\n",
    );
    let found = warnings(&config);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[1].starts_with(
            "broker.conf line 2: `disableConsumeIfConsumerReadSlowly=true` has no effect yet; it waits for: switching"
        )
    );
    assert!(
        found[0].starts_with("broker.conf line 1: `sendMessageThreadPoolNums` has no effect here: no thread")
    );
}

#[test]
fn a_broker_that_shall_check_access_does_not_start_before_it_can() {
    let found = problems(Given { file: "brokerName=b\naclEnable=true\n", ..NOTHING });
    assert!(
        found.len() == 1
            && found[0].starts_with("broker.conf line 2: aclEnable=true: wanted `aclEnable=false`"),
        "{found:?}"
    );
    assert!(found[0].contains("adminNetworks"), "{found:?}");
    assert!(warnings(&file("aclEnable=false\n")).is_empty());
}

#[test]
fn oddities_are_named() {
    let config =
        file("brokerName=a\nbrokerName=b\norderMessageEnable=true\ndiskMaxUsedSpaceRatio=99\nzzzzzzzzzzzz=1");
    assert_eq!(
        warnings(&config),
        [
            "broker.conf line 2: `brokerName` is already on line 1; this line wins",
            "broker.conf line 3: `orderMessageEnable` is a key of the name server and ignored here",
            "broker.conf line 4: `diskMaxUsedSpaceRatio=99` is moved into the limits: a whole number (%) from 10 to 95",
            "broker.conf line 5: unknown key `zzzzzzzzzzzz` is ignored; `-p` lists all keys",
        ]
    );
    let clamped = file("registerNameServerPeriod=1");
    assert_eq!(clamped.broker.register_name_server_period, Millis(10_000));
    let twice = file("mapedFileSizeCommitLog=1048576\nmappedFileSizeCommitLog=2097152");
    assert_eq!(twice.store.mapped_file_size_commit_log, Bytes(2_097_152));
    assert_eq!(twice.warnings.iter().filter(|warning| warning.about == About::Repeated).count(), 1);
}

#[test]
fn a_name_server_has_its_own_port_and_places() {
    let given =
        Given { role: Role::Namesrv, env: &[("HOME", "/home/user"), ("NAMESRV_ADDR", "x:1")], ..NOTHING };
    let config = loaded(given);
    assert_eq!(config.server.listen_port, Port(9_876));
    assert_eq!(config.namesrv.kv_config_path.0, "/home/user/namesrv/kvConfig.json");
    assert_eq!(config.namesrv.config_store_path.0, "/home/user/namesrv/namesrv.properties");
    assert_eq!(warnings(&config), Vec::<String>::new());

    let config = loaded(Given { file: "listenPort=19876\nconfigStorePath=/x\nbrokerName=a", ..given });
    assert_eq!(config.server.listen_port, Port(19_876));
    assert_eq!(config.namesrv.config_store_path.0, "broker.conf");
    assert_eq!(
        warnings(&config),
        ["broker.conf line 3: `brokerName` is a key of the broker and ignored here"]
    );
}

#[test]
fn without_a_home_a_place_must_be_written() {
    let homeless = Given { env: &[], ..NOTHING };
    assert_eq!(
        problems(homeless),
        [
            "environment HOME: storePathRootDir=: wanted HOME, or `storePathRootDir=` and a path: without both there is no place for files"
        ]
    );
    let placed = loaded(Given { words: &["storePathRootDir=/data/store"], ..homeless });
    assert_eq!(placed.store.index_dir(), std::path::Path::new("/data/store/index"));
}

#[test]
fn a_running_server_takes_live_keys_only() {
    let mut config = file("configBlackList=configBlackList;brokerConfigPath;traceOn");
    config.update("maxMessageSize", "65536").expect("live");
    assert_eq!(config.store.max_message_size, Bytes(65_536));
    config.update("namesrvAddr", "a:1;b:2").expect("live");
    assert_eq!(config.broker.namesrv_addr, addresses("a:1;b:2"));

    for key in ["rocketmqHome", "brokerConfigPath", "configBlackList", "adminNetworks", "traceOn"] {
        let refused = config.update(key, "true").expect_err(key);
        assert_eq!(refused, UpdateError::Protected { key: key.to_owned() });
    }
    assert_eq!(config.update("brokerRole", "SLAVE"), Err(UpdateError::Restart { key: "brokerRole" }));
    let unknown = config.update("maxMesageSize", "1").expect_err("unknown");
    assert_eq!(unknown.to_string(), "unknown key `maxMesageSize`; did you mean `maxMessageSize`?");
    let unmoved = config.clone();
    let value = config.update("maxMessageSize", "1G").expect_err("value");
    assert_eq!(
        value.to_string(),
        "`maxMessageSize` cannot be `1G`: wanted a whole number (bytes) from 1 to 2147483647; units are not written, only the number"
    );
    assert_eq!(config, unmoved);
}

#[test]
fn the_export_loads_as_the_same_configuration() {
    let first = file(
        "messageDelayLevel=1s 2m 3d\nbrokerName=a\nregionId=a\\ \\u4e2d\\nb\ndeleteWhen=04;16\nnamesrvAddr=[::1]:1",
    );
    assert_eq!(first.broker.region_id, "a 中\nb");
    let text = export(&first);
    assert_eq!(properties::parse(&text).expect("export").len(), first.values().len());
    let second = file(&text);
    assert_eq!((&second.broker, &second.store, &second.server), (&first.broker, &first.store, &first.server));
    assert_eq!(warnings(&second), Vec::<String>::new());
    assert_eq!(second.store.message_delay_level.millis(), [1_000, 120_000, 259_200_000]);
}

#[test]
fn no_hour_is_a_choice_of_hours() {
    let config = file("deleteWhen=");
    assert_eq!(config.store.delete_when.0, Vec::<u8>::new());
    assert_eq!(file(&export(&config)).store, config.store);
    assert_eq!(file("brokerName=a").store.delete_when.0, [4]);
}

#[test]
fn an_update_request_is_taken_whole_or_not_at_all() {
    let mut config = file("brokerName=a");
    let changed =
        config.update_text("diskSpaceWarningLevelRatio=98\ndiskSpaceCleanForciblyRatio=95\ntraceOn=true\n");
    assert_eq!(changed, Ok(vec!["diskSpaceWarningLevelRatio", "diskSpaceCleanForciblyRatio"]));

    let before = config.clone();
    let errors = config
        .update_text("maxMessageSize=65536\nbrokerRole=SLAVE\nnope=1\nbrokerName=a")
        .expect_err("errors");
    assert_eq!(
        errors,
        [
            UpdateError::Restart { key: "brokerRole" },
            UpdateError::Unknown { key: "nope".to_owned(), nearest: None },
        ]
    );
    assert_eq!(config, before);

    let errors = config.update_text("a=\\u1").expect_err("syntax");
    assert_eq!(errors[0].to_string(), "line 1: wanted four hexadecimal digits after `\\u`");
    let flood = config.update_text(&"nope=1\n".repeat(100_000)).expect_err("too many");
    assert_eq!(
        flood.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["line 1001: wanted at most 1000 keys in one request"]
    );
    let error = config.update("diskSpaceWarningLevelRatio", "80").expect_err("rule");
    assert_eq!(
        error.to_string(),
        "`diskSpaceCleanForciblyRatio` cannot be `95`: wanted at most `diskSpaceWarningLevelRatio` (80)"
    );
    assert_eq!(config, before);
}
