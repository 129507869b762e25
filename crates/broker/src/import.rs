//! `config/*.json` as another broker or a person left them, taken over at the start.
//!
//! What cannot be used is passed over entry by entry, told, and kept as a copy: one odd group must not cost the offsets
//! of all others. What a file lacks goes from its table and from nothing else: no message is deleted because a
//! topic's configuration is not there.

use crate::{
    Broker,
    export::{DELAY, GROUPS, OFFSETS, TOPICS},
    groups::{GroupConfig, Groups},
    offsets::{OffsetChange, QUEUE_MAX},
    topics::{DataVersion, TopicConfig},
};
use kerolox_net::Now;
use kerolox_protocol::{
    GroupName, QueueOffset, TopicName,
    body::{
        BodyError,
        fastjson::{self, Limits, Value},
    },
};
use kerolox_store::{
    Level, Line,
    disk::Disk,
    quarantine,
    smallfile::{self, Problem, ProblemKind},
};
use std::{collections::BTreeSet, io, path::Path};

/// Odd entries that a line tells of one by one.
const TOLD_MAX: usize = 3;

/// A file: its version and its entries, not looked at yet.
struct File {
    version: DataVersion,
    entries: Vec<(String, Value<'static>)>,
}

/// What became of a file.
struct Taken {
    what: String,
    /// Entries that cannot be used, each with its reason.
    odd: Vec<String>,
}

impl File {
    /// Reads a file whose entries stand under `table`.
    fn parse(text: &[u8], table: &str) -> Result<File, BodyError> {
        let Value::Map(fields) = fastjson::parse(text, Limits::FILE)?.into_owned() else {
            return Err(BodyError::Shape("no object".into()));
        };
        let mut file = File { version: DataVersion::default(), entries: Vec::new() };
        for (key, value) in fields {
            match (text_of(key), value) {
                (key, Value::Map(entries)) if key == table => {
                    file.entries = entries_of(entries).collect();
                }
                (key, Value::Null) if key == table => {}
                (key, _) if key == table => return Err(BodyError::Shape(format!("{table} is no object"))),
                (key, value) if key == "dataVersion" => {
                    file.version = fastjson::from_value(value).unwrap_or_default();
                }
                _ => {}
            }
        }
        Ok(file)
    }
}

/// Entries of a map; those of nothing are none.
fn entries_of<'v>(entries: Vec<(Value<'v>, Value<'v>)>) -> impl Iterator<Item = (String, Value<'v>)> {
    let some = entries.into_iter().filter(|(_, value)| *value != Value::Null);
    some.map(|(key, value)| (text_of(key), value))
}

/// A key of a map: integers stand there bare.
fn text_of(key: Value<'_>) -> String {
    match key {
        Value::Str(text) => text.into_owned(),
        Value::Int(number) => number.to_string(),
        other => format!("{other:?}"),
    }
}

impl Taken {
    fn of(what: String) -> Taken {
        Taken { what, odd: Vec::new() }
    }
}

impl Broker {
    /// Takes over files that others changed. Returns a line for each, and for each that is not as it should be.
    pub(crate) fn import(&mut self, now: Now, disk: &dyn Disk, dir: &Path) -> Vec<Line> {
        let mut lines = Vec::new();
        let take = |broker: &mut Broker, file| broker.import_topics(now, file);
        self.import_one(disk, dir, (TOPICS, "topicConfigTable"), &mut lines, take);
        let take = |broker: &mut Broker, file| broker.import_groups(now, file);
        self.import_one(disk, dir, (GROUPS, "subscriptionGroupTable"), &mut lines, take);
        self.import_one(disk, dir, (OFFSETS, "offsetTable"), &mut lines, Broker::import_offsets);
        self.import_one(disk, dir, (DELAY, "offsetTable"), &mut lines, Broker::import_delay);
        lines
    }

    fn import_one(
        &mut self,
        disk: &dyn Disk,
        dir: &Path,
        (name, table): (&'static str, &str),
        lines: &mut Vec<Line>,
        take: impl FnOnce(&mut Broker, File) -> Taken,
    ) {
        // The last change before a kill may not have come so far.
        self.export.look_again(name);
        let path = dir.join(name);
        let loaded = match smallfile::load(disk, &path, |text| File::parse(text, table)) {
            Ok(loaded) => loaded,
            Err(why) => {
                let line = format!("config/{name} cannot be read ({why}); the state of the log stands");
                return lines.push(Line::warn(line));
            }
        };
        for problem in &loaded.problems {
            self.export.write_anew(name);
            lines.push(Line::warn(set_aside(disk, dir, problem)));
        }
        let known = self.state.exports.get(name);
        let (Some(file), Some(digest)) = (loaded.value, loaded.digest.map(|digest| digest.to_string()))
        else {
            if loaded.problems.is_empty() && known.is_some() {
                self.export.write_anew(name);
                lines.push(Line::warn(format!("config/{name} is gone; it is written anew from the log")));
            }
            return;
        };
        if let Some(known) = known.filter(|known| known.contains(&digest)) {
            // One of ours; the last was not written any more.
            if known.last() != Some(&digest) {
                self.export.write_anew(name);
            }
            return;
        }
        let Taken { what, odd } = take(self, file);
        // From now on the log stands, also if the process ends before the next export.
        self.known_export(name, digest);
        self.state.force_snapshot();
        lines.push(Line::info(format!("config/{name} was changed by a 4.9 broker or by hand: {what}")));
        if !odd.is_empty() {
            let used = if loaded.problems.is_empty() { path } else { smallfile::beside(&path, ".bak") };
            lines.push(Line { level: Level::Warn, text: tell_odd(disk, dir, name, &used, &odd) });
        }
    }

    fn import_topics(&mut self, now: Now, file: File) -> Taken {
        if is_older(file.version, self.topics.version()) {
            return Taken::of("it is older than the log, which stands".to_owned());
        }
        let listed: BTreeSet<String> = file.entries.iter().map(|(name, _)| name.clone()).collect();
        let known = self.topics.all().map(|topic| topic.topic_name.clone());
        let gone: Vec<TopicName> = known
            .filter(|name| !listed.contains(name.as_str()) && !self.builtin_topics.contains(name))
            .collect();
        // Not a deletion, which takes messages along: whoever makes the topic again finds them.
        gone.iter().for_each(|name| self.topics.restore(name.clone(), None));
        let (mut n, mut odd) = (0, Vec::new());
        for (name, value) in file.entries {
            match fastjson::from_value::<TopicConfig>(value) {
                Ok(config) => {
                    self.topics.put(now.wall, config);
                    n += 1;
                }
                Err(why) => odd.push(format!("{name:?} ({why})")),
            }
        }
        self.topics.set_version(file.version);
        let mut what = format!("{n} topics taken over");
        if !gone.is_empty() {
            let names: Vec<&str> = gone.iter().take(TOLD_MAX).map(|name| name.as_str()).collect();
            let more = if gone.len() > TOLD_MAX { ", ..." } else { "" };
            what += &format!(
                ", {} are not in it and no topics any more, their messages stay: {}{more}",
                gone.len(),
                names.join(", ")
            );
        }
        Taken { what, odd }
    }

    fn import_groups(&mut self, now: Now, file: File) -> Taken {
        if is_older(file.version, self.groups.version()) {
            return Taken::of("it is older than the log, which stands".to_owned());
        }
        let listed: BTreeSet<String> = file.entries.iter().map(|(name, _)| name.clone()).collect();
        let known = self.groups.all().map(|(name, _)| name.clone());
        let gone: Vec<GroupName> =
            known.filter(|name| !listed.contains(name.as_str()) && !Groups::is_builtin(name)).collect();
        gone.into_iter().for_each(|name| self.groups.restore(name, None));
        let (mut n, mut odd) = (0, Vec::new());
        for (name, value) in file.entries {
            match (GroupName::new(&name), fastjson::from_value::<GroupConfig>(value)) {
                (Ok(group), Ok(config)) => {
                    self.groups.put(now.wall, group, config);
                    n += 1;
                }
                (Err(why), _) => odd.push(format!("{name:?} ({why})")),
                (_, Err(why)) => odd.push(format!("{name:?} ({why})")),
            }
        }
        self.groups.set_version(file.version);
        Taken { what: format!("{n} groups taken over"), odd }
    }

    fn import_offsets(&mut self, file: File) -> Taken {
        let (mut n, mut odd) = (0, Vec::new());
        for (key, queues) in file.entries {
            // Keys of light queues and of names that could never be committed here are passed over.
            let Some((topic, group)) = key.split_once('@') else { continue };
            let (Ok(topic), Ok(group)) = (TopicName::new(topic), GroupName::new(group)) else { continue };
            let Value::Map(queues) = queues else {
                odd.push(format!("{key:?} (no object)"));
                continue;
            };
            for (queue, offset) in entries_of(queues) {
                let place = queue.parse().ok().filter(|queue| *queue <= QUEUE_MAX);
                match (place, fastjson::from_value::<i64>(offset)) {
                    (Some(queue), Ok(offset)) if offset >= 0 => {
                        let (topic, group) = (topic.clone(), group.clone());
                        self.offsets.restore(OffsetChange { topic, group, queue, offset: Some(offset) });
                        n += 1;
                    }
                    _ => odd.push(format!("queue {queue} of {key:?}")),
                }
            }
        }
        Taken { what: format!("{n} offsets taken over"), odd }
    }

    fn import_delay(&mut self, file: File) -> Taken {
        let (mut n, mut odd) = (0, Vec::new());
        for (level, next) in file.entries {
            let next =
                fastjson::from_value::<i64>(next).ok().and_then(|next| QueueOffset::try_from(next).ok());
            match (level.parse(), next) {
                (Ok(level), Some(next)) => {
                    self.delay.restore(level, next);
                    n += 1;
                }
                _ => odd.push(format!("level {level}")),
            }
        }
        Taken { what: format!("progress of {n} delay levels taken over"), odd }
    }
}

/// Moves a file away that holds something and cannot be used: it is written anew. What to say of it.
fn set_aside(disk: &dyn Disk, dir: &Path, problem: &Problem) -> String {
    let anew = "it is written anew from the log";
    match problem.kind {
        ProblemKind::Gone | ProblemKind::Empty => format!("state file {problem}; {anew}"),
        ProblemKind::Broken | ProblemKind::Unreadable => {
            match quarantine::set_aside(disk, root_of(dir), &problem.path) {
                Ok(to) => format!("state file {problem}; it is moved to {}, and {anew}", to.display()),
                Err(why) => format!("state file {problem}, and cannot be moved away: {why}"),
            }
        }
    }
}

fn tell_odd(disk: &dyn Disk, dir: &Path, name: &str, path: &Path, odd: &[String]) -> String {
    let told: Vec<&str> = odd.iter().take(TOLD_MAX).map(String::as_str).collect();
    let more = if odd.len() > TOLD_MAX { ", ..." } else { "" };
    let kept: io::Result<_> = quarantine::keep_copy(disk, root_of(dir), path);
    let kept = match kept {
        Ok(copy) => format!("a copy of the file is {}", copy.display()),
        Err(why) => format!("no copy of the file could be made: {why}"),
    };
    format!("config/{name}: {} entries cannot be used: {}{more}; {kept}", odd.len(), told.join(", "))
}

/// Of the store.
fn root_of(config: &Path) -> &Path {
    config.parent().unwrap_or(config)
}

/// Newer wins; equal means changed by hand, which counts. A clock that was set back makes no file old that counts
/// more changes, nor does a table that was begun anew count as old for having few.
fn is_older(file: DataVersion, log: DataVersion) -> bool {
    file != log && file.timestamp <= log.timestamp && file.counter <= log.counter
}
