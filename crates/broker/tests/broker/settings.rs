//! Settings by request.

use crate::{
    asks::send,
    rig::{Ask, Rig, options, text},
};
use kerolox_protocol::code;
use kerolox_store::smallfile;
use std::path::Path;

const SET: i32 = 25;
const GET: i32 = 26;
const FILE: &str = "/conf/broker.conf";

fn with_file() -> Rig {
    let mut kept = options();
    kept.config_file = Some(FILE.into());
    let rig = Rig::with(kept);
    rig.disk.handle().create_dir_all(Path::new("/conf")).unwrap();
    rig
}

fn file(rig: &Rig) -> String {
    let bytes = smallfile::read(&*rig.disk.handle(), Path::new(FILE)).unwrap();
    bytes.map(|bytes| String::from_utf8(bytes).unwrap()).unwrap_or_default()
}

#[test]
fn a_change_is_in_effect_and_in_the_file_before_it_is_answered() {
    let mut rig = with_file();
    rig.runs_jobs = false;
    let opaque = rig.group(&[Ask::json(9, SET, "regionId=north\n")])[0];
    assert!(rig.answer(9, opaque).is_none(), "the file does not hold it yet");
    rig.run_jobs();
    assert_eq!(rig.answer(9, opaque).expect("answered").code(), code::SUCCESS);
    assert!(file(&rig).contains("regionId=north\n"), "{}", file(&rig));
    let all = rig.ask(Ask::bare(9, GET));
    assert!(text(&all).contains("regionId=north\n") && text(&all).contains("brokerPermission=6\n"));
    assert!(all.field("version").starts_with(r#"{"counter":1,"#), "{}", all.field("version"));
}

#[test]
fn a_file_that_cannot_be_written_is_said() {
    let mut lost = options();
    lost.config_file = Some("/nowhere/broker.conf".into());
    let mut rig = Rig::with(lost);
    let got = rig.ask(Ask::json(9, SET, "regionId=north"));
    assert_eq!(got.code(), code::SYSTEM_ERROR);
    assert!(
        got.remark().contains("in effect") && got.remark().contains("/nowhere/broker.conf"),
        "{}",
        got.remark()
    );
}

#[test]
fn all_keys_change_or_none_and_every_error_is_named() {
    let mut rig = with_file();
    let got =
        rig.ask(Ask::json(9, SET, "regionId=north\nbrokerName=x\nbrokerPermision=4\nmaxMessageSize=-3\n"));
    assert_eq!(got.code(), code::SYSTEM_ERROR);
    for part in ["`brokerName` is read at start only", "did you mean `brokerPermission`?", "maxMessageSize"] {
        assert!(got.remark().contains(part), "{part} in {}", got.remark());
    }
    assert!(text(&rig.ask(Ask::bare(9, GET))).contains("regionId=DefaultRegion\n"));
    let listed = rig.ask(Ask::json(9, SET, "configBlackList=x\nregionId=north"));
    assert_eq!(listed.code(), code::NO_PERMISSION);
    assert!(listed.remark().starts_with("Can not update config in black list."), "{}", listed.remark());
    assert_eq!(file(&rig), "");
}

/// Name servers take topics over only under a new version of the table.
#[test]
fn a_changed_permission_is_registered_at_once_under_a_new_version() {
    let mut told = options();
    told.broker.set("namesrvAddr", "10.0.0.9:9876").unwrap();
    let mut rig = Rig::with(told);
    let (_, first) = rig.links.remove(0);
    rig.link("10.0.0.9:9876", first.header.opaque, code::SUCCESS, b"");
    rig.ask(Ask::json(9, SET, "brokerPermission=4"));
    rig.advance(0);
    let again = rig.links.iter().find(|(_, got)| got.code() == 103).expect("registered");
    assert!(text(&again.1).contains(r#""dataVersion":{"counter":1,"#), "{}", text(&again.1));
    assert!(!text(&again.1).contains(r#""perm":6"#));
}

/// The store obeys live keys, too: here what a send waits for, and how large it may be.
#[test]
fn the_store_follows_live_keys() {
    let mut rig = Rig::new();
    rig.runs_jobs = false;
    let opaque = rig.group(&[send(1, "T", "m")])[0];
    assert!(rig.answer(1, opaque).is_some(), "asynchronous: written is enough");
    rig.group(&[Ask::json(9, SET, "flushDiskType=SYNC_FLUSH\nmaxMessageSize=10\n")]);
    let opaque = rig.group(&[send(1, "T", "n")])[0];
    assert!(rig.answer(1, opaque).is_none());
    rig.run_jobs();
    assert_eq!(rig.answer(1, opaque).expect("flushed").code(), code::SUCCESS);
    rig.runs_jobs = true;
    assert_eq!(rig.ask(send(1, "T", "far too long")).code(), code::MESSAGE_ILLEGAL);
}

/// An index that is switched off for a while would have holes, and nobody would know where.
#[test]
fn what_is_read_at_the_start_is_not_changed_while_running() {
    let mut rig = Rig::new();
    let got = rig.ask(Ask::json(9, SET, "messageIndexEnable=false"));
    assert_eq!(got.code(), code::SYSTEM_ERROR);
    assert!(got.remark().contains("`messageIndexEnable` is read at start only"), "{}", got.remark());
    assert!(text(&rig.ask(Ask::bare(9, GET))).contains("messageIndexEnable=true\n"));
}
