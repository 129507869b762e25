//! The sample configuration files of a release.

use kerolox_config::{About, File, Machine, Role, Sources, load};
use std::{fs, path::Path};

/// Every file below `dist/conf`, by its name from there.
fn samples() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dist/conf");
    let mut found = Vec::new();
    let mut left = vec![root.clone()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(&dir).expect("the samples").map_while(Result::ok) {
            if entry.path().is_dir() {
                left.push(entry.path());
                continue;
            }
            let name = entry.path().strip_prefix(&root).expect("below the samples").display().to_string();
            found.push((name, fs::read_to_string(entry.path()).expect("a sample")));
        }
    }
    found.sort();
    found
}

#[test]
fn every_sample_is_obeyed_without_a_warning_but_that_there_is_no_replication() {
    let samples = samples();
    let names: Vec<&str> = samples.iter().map(|(name, _)| name.as_str()).collect();
    let pairs = ["2m-2s-async", "2m-2s-sync"];
    let with_slaves =
        ["broker-a-s.properties", "broker-a.properties", "broker-b-s.properties", "broker-b.properties"];
    let mut expected: Vec<String> =
        pairs.iter().flat_map(|dir| with_slaves.map(|file| format!("{dir}/{file}"))).collect();
    expected.extend(
        ["2m-noslave/broker-a.properties", "2m-noslave/broker-b.properties", "broker.conf"].map(String::from),
    );
    assert_eq!(names, expected);
    for (name, text) in &samples {
        let file = Some(File { name, text });
        let env = |name: &str| (name == "HOME").then(|| "/home/operator".to_owned());
        let sources = Sources {
            role: Role::Broker,
            file,
            namesrv_addr: None,
            words: &[],
            env: &env,
            machine: Machine::default(),
        };
        let loaded = load(&sources).unwrap_or_else(|why| panic!("{name}: {why:?}"));
        let told =
            loaded.warnings.iter().filter(|warning| warning.about != About::Later || !name.contains("2s"));
        assert_eq!(told.count(), 0, "{name}: {:?}", loaded.warnings);
        assert_eq!(loaded.broker.broker_id.0 != 0, name.contains("-s."), "{name}");
        assert_eq!(
            loaded.broker.broker_name,
            if name.contains("broker-b") { "broker-b" } else { "broker-a" }
        );
    }
}
