//! The small files: configuration, checkpoint, and what a crash left lying about.

use super::{
    Finding, Findings, Kind, Remedy, Severity,
    layout::{Layout, exists},
};
use crate::{
    checkpoint::CHECKPOINT_LEN,
    disk::Disk,
    smallfile::{self, beside},
};
use kerolox_protocol::{
    Millis,
    body::fastjson::{self, Limits, Value},
};
use std::{collections::BTreeSet, io, path::Path};

/// Whether bytes are what a configuration file may hold.
pub(super) fn is_json(bytes: &[u8]) -> Result<(), String> {
    if bytes.is_empty() {
        return Err("is empty".into());
    }
    match fastjson::parse(bytes, Limits::FILE) {
        Ok(Value::Map(_)) => Ok(()),
        Ok(_) => Err("holds no map".into()),
        Err(why) => Err(format!("does not parse: {why}")),
    }
}

/// Looks at every configuration file and its backup.
pub(super) fn check_config(disk: &dyn Disk, layout: &Layout, found: &mut Findings) -> io::Result<()> {
    let dir = layout.paths.config();
    let stems: BTreeSet<&str> = layout
        .config_files
        .iter()
        .map(|entry| entry.name.strip_suffix(".bak").unwrap_or(&entry.name))
        .filter(|name| name.ends_with(".json"))
        .collect();
    for name in stems {
        check_json(disk, &dir.join(name), found)?;
    }
    Ok(())
}

fn check_json(disk: &dyn Disk, path: &Path, found: &mut Findings) -> io::Result<()> {
    let backup = beside(path, ".bak");
    let judge = |path: &Path| -> io::Result<Result<(), String>> {
        Ok(match smallfile::read(disk, path)? {
            None => Err("is missing".into()),
            Some(bytes) => is_json(&bytes),
        })
    };
    let has_backup = exists(disk, &backup)?;
    let (main, copy) = (judge(path)?, judge(&backup)?);
    if let Err(why) = &main {
        let finding = Finding::damage(Kind::Config, path, why.clone());
        found.push(match copy.is_ok() {
            true => finding.remedy(Remedy::RestoreBackup { path: path.display().to_string() }),
            false => finding,
        });
    }
    if let Err(why) = copy.as_ref().err().filter(|_| has_backup && main.is_ok()).map_or(Ok(()), Err) {
        let remedy = Remedy::Remove { path: backup.display().to_string() };
        found.push(Finding::damage(Kind::ConfigBackup, &backup, why.clone()).remedy(remedy));
    }
    Ok(())
}

/// Looks for files that were being written when a crash came.
pub(super) fn check_leftovers(layout: &Layout, found: &mut Findings) {
    let root = layout.root_files.iter().map(|entry| layout.paths.root.join(&entry.name));
    let config = layout.config_files.iter().map(|entry| layout.paths.config().join(&entry.name));
    for path in root.chain(config) {
        if path.extension().is_some_and(|extension| extension == "tmp") {
            let text = "was being written when a crash came; nothing reads it";
            let remedy = Remedy::Remove { path: path.display().to_string() };
            found.push(Finding::new(Severity::Leftover, Kind::Temporary, &path, text).remedy(remedy));
        }
    }
    if layout.aborted {
        let path = layout.paths.root.join("abort");
        found.push(Finding::note(
            Kind::NotStopped,
            &path,
            "is there: the store was not stopped, or is in use; the next start recovers it",
        ));
    }
}

/// Compares the original's checkpoint with the time of the last record.
pub(super) fn check_checkpoint(layout: &Layout, last_ms: Option<Millis>, found: &mut Findings) {
    let path = layout.paths.root.join("checkpoint");
    let Some((checkpoint, len)) = &layout.checkpoint else { return };
    let mut damage = |text: String| {
        found.push(Finding::damage(Kind::Checkpoint, &path, text).remedy(Remedy::ResetCheckpoint));
    };
    if *len != CHECKPOINT_LEN as u64 {
        return damage(format!("has {len} bytes instead of {CHECKPOINT_LEN}"));
    }
    let stamps = [checkpoint.physic(), checkpoint.logics(), checkpoint.index()];
    let newest = stamps.into_iter().max().unwrap_or_default();
    if stamps.iter().any(|stamp| stamp.0 < 0) {
        damage("tells a negative time".into());
    } else if newest > last_ms.unwrap_or_default() {
        damage(format!(
            "tells the time {newest}, the last record has {}; recovery would begin behind it",
            last_ms.unwrap_or_default()
        ));
    }
}

/// Names of the topics that the configuration lists.
pub(super) fn topics(disk: &dyn Disk, layout: &Layout) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    let path = layout.paths.config().join("topics.json");
    for path in [path.clone(), beside(&path, ".bak")] {
        let Some(bytes) = smallfile::read(disk, &path)? else { continue };
        let Ok(Value::Map(pairs)) = fastjson::parse(&bytes, Limits::FILE) else { continue };
        for (key, value) in pairs {
            if let (Value::Str(key), Value::Map(table)) = (key, value)
                && key == "topicConfigTable"
            {
                names.extend(table.into_iter().filter_map(|(name, _)| match name {
                    Value::Str(name) => Some(name.into_owned()),
                    _ => None,
                }));
            }
        }
    }
    if let Some(ends) = &layout.ends {
        names.extend(ends.topics.iter().map(|topic| topic.name.to_string()));
    }
    Ok(names)
}
