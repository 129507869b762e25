//! What the operator chose, as the broker needs it.
//!
//! Owns the three configuration structs by value (live keys are changed in place by the admin side) and the
//! facts that only the start knows. Reads no file and no environment.

use kerolox_config::{BrokerConfig, FlushDiskType, ServerConfig, StoreConfig};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

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
    /// Own limits.
    pub limits: Limits,
}

/// Limits of what a broker keeps for others; full means the busy code, at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Pulls waiting for messages.
    pub held_pulls: usize,
    /// Answers waiting for the log.
    pub parked_answers: usize,
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
            pull_count: 10_000,
            pull_bytes: 8 << 20,
            hold_ms: 10 * 60 * 1_000,
            batch_count: 100_000,
        }
    }
}

impl Options {
    /// Options from the keys. `advertised` is used unless `brokerIP1` names an address.
    pub fn new(
        broker: BrokerConfig,
        store: StoreConfig,
        server: ServerConfig,
        advertised: IpAddr,
    ) -> Options {
        let ip = broker.broker_ip1.trim().parse().unwrap_or(advertised);
        let store_host = SocketAddr::new(ip, server.listen_port.0);
        Options { broker, store, server, store_host, seed: 0, ram_bytes: 8 << 30, limits: Limits::default() }
    }

    /// Defaults on loopback, for tests and the simulator.
    pub fn local() -> Options {
        let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Options::new(BrokerConfig::default(), StoreConfig::default(), ServerConfig::default(), ip)
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
