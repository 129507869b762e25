//! Starting a broker: from a directory and options to a [`Broker`] with its whole state.

use crate::{
    Broker, Options,
    admin::Desk,
    again::Again,
    clients::Clients,
    delay::Delay,
    export::Export,
    groups::Groups,
    hold::Hold,
    locks::Locks,
    offsets::Offsets,
    parked::Parked,
    random::Random,
    register::Registrar,
    service,
    state::{State, StateError},
    stats::Stats,
    topics::Topics,
    transaction::Ended,
};
use kerolox_net::Now;
use kerolox_protocol::{Millis, TopicName};
use kerolox_store::{Line, OpenError, QueueSlot, Store, disk::Disk};
use std::{collections::BTreeSet, fmt, sync::Arc};

/// A broker could not be started.
#[derive(Debug)]
pub enum StartError {
    /// The store cannot be opened.
    Store(OpenError),
    /// The state in the log cannot be used.
    State(StateError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Store(why) => why.fmt(f),
            StartError::State(why) => why.fmt(f),
        }
    }
}
impl std::error::Error for StartError {}

impl Broker {
    /// A crash soon after a deletion leaves records that the store has just read again; the note in the log
    /// says that the operator did not want them any more.
    fn drop_deleted(&mut self, gone: &BTreeSet<String>) {
        for name in gone.iter().filter(|name| self.topics.get(name).is_none()) {
            if let Ok(topic) = TopicName::new(name) {
                self.store.delete_topic(&topic);
            }
        }
    }

    /// Opens the store, repairs what a crash left, and reads the state. Blocks on the disk. The lines say what
    /// was found and repaired, one each, for the log.
    pub fn open(disk: Arc<dyn Disk>, options: Options, now: Now) -> Result<(Broker, Vec<Line>), StartError> {
        let for_store = options.for_store();
        let config_dir = for_store.paths.config();
        let opened = Store::open(Arc::clone(&disk), for_store, now.wall);
        let (mut store, report) = opened.map_err(StartError::Store)?;
        let mut lines = report.lines;
        let (state, pieces) = State::load(&mut store, &mut lines).map_err(StartError::State)?;
        let ended = Ended::load(&mut store, &mut lines);
        let topics = Topics::builtin(&options);
        let interval = Millis(options.broker.flush_consumer_offset_interval.0);
        let mut broker = Broker {
            builtin_topics: topics.all().map(|topic| topic.topic_name.clone()).collect(),
            topics,
            groups: Groups::builtin(),
            offsets: Offsets::default(),
            clients: Clients::default(),
            locks: Locks::default(),
            registrar: Registrar::default(),
            stats: Stats::new(options.utc_offset),
            desk: Desk::new(Arc::clone(&disk), now),
            hold: Hold::new(options.limits.held_pulls),
            parked: Parked::default(),
            ended,
            again: Again::default(),
            delay: Delay::new(&options.delay_levels()),
            export: Export::new(Arc::clone(&disk), config_dir.clone(), now.mono + interval),
            random: Random::new(options.seed),
            opaque: 0,
            scratch: Vec::new(),
            arrivals: Vec::new(),
            schedule_slots: Vec::new(),
            // Nothing is between them before the slots are known.
            schedule_range: (QueueSlot(u32::MAX), QueueSlot(0)),
            handlers: service::handlers(),
            fields: Default::default(),
            stage: service::Stage::Running,
            now,
            state,
            store,
            options,
        };
        let mut gone = BTreeSet::new();
        for piece in pieces {
            gone.extend(piece.topics_gone.iter().cloned());
            broker.apply_piece(piece);
        }
        broker.drop_deleted(&gone);
        broker.find_schedule_slots();
        lines.extend(broker.import(now, &*disk, &config_dir));
        Ok((broker, lines))
    }
}
