//! What the fuzz targets do with the state that a broker reads at its start; a bounded run of them is a test.

use crate::{Broker, Options, topics::STATE_TOPIC};
use kerolox_net::Now;
use kerolox_protocol::{Millis, QueueId, TopicName, record::Draft};
use kerolox_store::{Dispatch, Store, disk::memory::MemDisk};
use std::path::Path;

/// Takes any bytes, and panics if a promise is broken.
pub type Target = fn(&[u8]);

/// All targets by name.
pub const TARGETS: &[(&str, Target)] = &[("broker_import", import), ("broker_state", state)];

const NOW: Now = Now { wall: Millis(1_700_000_000_000), mono: Millis(0) };

/// Inputs that a target can do something with: what the original writes, and notes of ours.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    let texts: &[&str] = match target {
        "broker_import" => &[
            "\0{\"dataVersion\":{\"counter\":3,\"timestamp\":1800000000000},\"topicConfigTable\":{\"T\":{\"order\":false,\
             \"perm\":6,\"readQueueNums\":4,\"topicFilterType\":\"SINGLE_TAG\",\"topicName\":\"T\",\"topicSysFlag\":0,\
             \"writeQueueNums\":4}}}",
            "\u{1}{\"dataVersion\":{\"counter\":3,\"timestamp\":1800000000000},\"subscriptionGroupTable\":{\"g\":{\"brokerId\":0,\
             \"consumeBroadcastEnable\":true,\"consumeEnable\":true,\"groupName\":\"g\",\"retryMaxTimes\":16,\
             \"retryQueueNums\":1,\"whichBrokerWhenConsumeSlowly\":1}}}",
            "\u{2}{\"offsetTable\":{\"T@g\":{0:12,1:7},\"%RETRY%g@g\":{0:0}}}",
            "\u{3}{\"offsetTable\":{2:5,3:-1}}",
            "\u{6}{\"offsetTable\":{\"T@g\":{0:9223372036854775807,4294967295:1}}}",
        ],
        _ => &[
            "\0{\"form\":1,\"topics\":[{\"topicName\":\"T\",\"perm\":6,\"readQueueNums\":4,\"writeQueueNums\":4}],\
             \"topicsVersion\":{\"counter\":1,\"timestamp\":2}}",
            "\u{1}{\"form\":1,\"offsets\":[[\"T\",\"g\",0,12],[\"T\",\"g\",1,null]],\"delay\":[[2,5]]}",
            "\u{2}{\"form\":1,\"groups\":[{\"groupName\":\"g\"}],\"groupsGone\":[\"h\"],\"topicsGone\":[\"U\"]}",
            "\u{3}{\"form\":1,\"exports\":{\"topics.json\":[\"9-cbf43926-06d5573923c6cdfc\"]}}",
        ],
    };
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn options() -> Options {
    let mut options = Options::local();
    options.store.store_path_root_dir = "/store".into();
    options.store.mapped_file_size_commit_log.0 = 64 << 10;
    options.store.message_index_enable = false;
    options
}

/// Opens, and opens the same again; never panics, and an error says why.
fn opens(disk: &MemDisk) {
    for disk in [disk.clone(), disk.kill()] {
        match Broker::open(disk.handle(), options(), NOW) {
            Ok((broker, _)) => drop(broker),
            Err(why) => assert!(why.to_string().len() > 20, "{why}"),
        }
    }
}

/// A file of the original's `config` directory, or its `.bak`: the first byte chooses.
pub fn import(bytes: &[u8]) {
    let Some((which, rest)) = bytes.split_first() else { return };
    let names = ["topics.json", "subscriptionGroup.json", "consumerOffset.json", "delayOffset.json"];
    let Some(name) = names.get(usize::from(*which) % 4) else { return };
    let disk = MemDisk::new();
    let dir = Path::new("/store/config");
    let ending = if which & 4 == 0 { "" } else { ".bak" };
    disk.plant(&dir.join(format!("{name}{ending}")), rest).expect("a faultless disk");
    if which & 8 != 0 {
        // The sound one of two is taken.
        disk.plant(&dir.join(name), b"{\"offsetTable\":{").expect("a faultless disk");
    }
    opens(&disk);
}

/// A note of the state topic with any body; the first byte chooses its tag.
pub fn state(bytes: &[u8]) {
    let Some((which, rest)) = bytes.split_first() else { return };
    let disk = MemDisk::new();
    let tag = ["delta", "snapshot", "part", "end"][usize::from(*which) % 4];
    let properties = format!("TAGS\u{1}{tag}\u{2}");
    let (mut store, _) =
        Store::open(disk.handle(), options().for_store(), NOW.wall).expect("an empty directory");
    let topic = TopicName::new(STATE_TOPIC).expect("a name");
    let slot = store.slot(&topic, QueueId(0));
    let host = ([127, 0, 0, 1], 1).into();
    let draft = Draft::plain(host, STATE_TOPIC, QueueId(0), rest, properties.as_bytes());
    let dispatch = Dispatch::of(STATE_TOPIC, 0, properties.as_bytes());
    if store.append(NOW.wall, &draft, slot, &dispatch).is_err() {
        return;
    }
    store.commit().expect("a faultless disk");
    drop(store);
    opens(&disk.kill());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_state_is_taken_or_refused_with_a_reason() {
        for (name, target) in TARGETS {
            kerolox_smoke::on_mutations(name, target, &seeds(name), 150);
        }
    }
}
