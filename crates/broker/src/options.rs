//! What the operator chose, as the broker needs it.
//!
//! Owns the three configuration structs by value (live keys are changed in place by the admin side) and the
//! facts that only the start knows. Reads no file and no environment.

use kerolox_config::{BrokerConfig, FlushDiskType, ServerConfig, StoreConfig};
use kerolox_protocol::Millis;
use kerolox_store::{Flush, Retention, disk::Paths};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
};

/// Everything a broker is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Keys of the broker.
    pub broker: BrokerConfig,
    /// Keys of the store.
    pub store: StoreConfig,
    /// Keys of the network.
    pub server: ServerConfig,
    /// The address clients reach this broker at: `brokerIP1` and `listenPort`, as really bound. Part of every
    /// offset message id and of the registration.
    pub store_host: SocketAddr,
    /// Seed of all randomness.
    pub seed: u64,
    /// Bytes of memory of the machine, for the rule which reads count as cold.
    pub ram_bytes: u64,
    /// Queue files held open at most.
    pub queue_files_open_max: usize,
    /// What to add to Unix time for the local time of `deleteWhen`.
    pub utc_offset: Millis,
    /// The same for any Unix time: asked every hour, since summer time comes and goes.
    pub utc_offset_at: fn(Millis) -> Millis,
    /// The file the broker was started with; changed settings are kept in it.
    pub config_file: Option<PathBuf>,
    /// Own limits.
    pub limits: Limits,
    /// Finer than the keys can say, for a world whose hours are seconds.
    pub pace: Option<Pace>,
}

/// Times of the store that no key tells, or none so short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Instead of `fileReservedTime`, in ms.
    pub keep: Millis,
    /// Longest pause between two checkpoints.
    pub checkpoint_interval: Millis,
    /// Bytes of the log's newest part that stay in memory for readers.
    pub tail_bytes: usize,
}

/// Limits of what a broker keeps for others; full means the busy code, at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Pulls waiting for messages.
    pub held_pulls: usize,
    /// Answers waiting for the log.
    pub parked_answers: usize,
    /// Bytes that synchronous sends may be ahead of the disk.
    pub unflushed_bytes: u64,
    /// Messages of one pull answer, whatever the keys say.
    pub pull_count: u32,
    /// Bytes of one pull answer, whatever the keys say; a frame holds 16 MiB.
    pub pull_bytes: u32,
    /// Longest time a pull is held, whatever the client asks for, in milliseconds.
    pub hold_ms: i64,
    /// Messages of one batch.
    pub batch_count: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            held_pulls: 200_000,
            parked_answers: 200_000,
            unflushed_bytes: 512 << 20,
            pull_count: 10_000,
            pull_bytes: 8 << 20,
            hold_ms: 10 * 60 * 1_000,
            batch_count: 100_000,
        }
    }
}

impl Options {
    /// Options from the keys. `advertised` is what `brokerIP1` means: whoever starts the broker knows how names
    /// are looked up.
    pub fn new(
        broker: BrokerConfig,
        store: StoreConfig,
        server: ServerConfig,
        advertised: IpAddr,
    ) -> Options {
        let store_host = SocketAddr::new(advertised, server.listen_port.0);
        Options {
            broker,
            store,
            server,
            store_host,
            seed: 0,
            ram_bytes: 8 << 30,
            queue_files_open_max: 512,
            utc_offset: Millis(0),
            utc_offset_at: |_| Millis(0),
            config_file: None,
            limits: Limits::default(),
            pace: None,
        }
    }

    /// Defaults on loopback, for tests and the simulator.
    pub fn local() -> Options {
        let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Options::new(BrokerConfig::default(), StoreConfig::default(), ServerConfig::default(), ip)
    }

    /// What the store is told.
    pub fn for_store(&self) -> kerolox_store::Options {
        let keys = &self.store;
        let mut paths = Paths::under(keys.store_path_root_dir.as_path());
        paths.commit_log = keys.commit_log_dirs();
        let percent = |percent: kerolox_config::Percent| u32::from(percent.0);
        let mut options = kerolox_store::Options {
            segment_bytes: keys.mapped_file_size_commit_log.0,
            queue_file_bytes: keys.consume_queue_file_size(),
            flush: if self.sync_flush() { Flush::Sync } else { Flush::Async },
            flush_interval: Millis(keys.flush_interval_commit_log.0),
            behind_interval: Millis(keys.flush_interval_consume_queue.0),
            message_bytes_max: usize::try_from(keys.max_message_size.0).unwrap_or(usize::MAX),
            retention: Retention {
                keep: Millis(i64::from(keys.file_reserved_time.0) * 3_600_000),
                hours: keys.delete_when.0.clone(),
                utc_offset: self.utc_offset,
                used_max_percent: percent(keys.disk_max_used_space_ratio),
                clean_percent: percent(keys.disk_space_clean_forcibly_ratio),
                refuse_percent: percent(keys.disk_space_warning_level_ratio),
                forcibly: keys.clean_file_forcibly_enable,
                interval: Millis(keys.clean_resource_interval.0),
            },
            index: keys.message_index_enable,
            index_slots: keys.max_hash_slot_num.0,
            index_max: keys.max_index_num.0,
            delay_levels: self.delay_levels(),
            ram_bytes: self.ram_bytes,
            queue_files_open_max: self.queue_files_open_max,
            memory_percent: percent(keys.access_message_in_memory_max_ratio),
            ..kerolox_store::Options::new(paths)
        };
        if let Some(pace) = self.pace {
            options.retention.keep = pace.keep;
            options.checkpoint_interval = pace.checkpoint_interval;
            options.tail_bytes = pace.tail_bytes;
        }
        options
    }

    /// Delays of the levels 1, 2, …
    pub fn delay_levels(&self) -> Vec<Millis> {
        self.store.message_delay_level.millis().iter().copied().map(Millis).collect()
    }

    /// Whether a send waits for the disk.
    pub fn sync_flush(&self) -> bool {
        self.store.flush_disk_type == FlushDiskType::SyncFlush
    }

    /// Whether clients may read.
    pub fn readable(&self) -> bool {
        self.broker.broker_permission.0 & 4 != 0
    }

    /// Whether clients may write.
    pub fn writable(&self) -> bool {
        self.broker.broker_permission.0 & 2 != 0
    }
}
