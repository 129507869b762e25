//! Starting servers: sockets first, then the service, then the loop; one boot line when it serves.
//!
//! Owns the wiring and the order of stopping. A port that cannot be had, a store that cannot be opened or a
//! file that cannot be read ends the start with one line that says what to do.

use crate::{
    addresses::{self, Candidate},
    dev::Dev,
    settings,
};
use anyhow::{Context, Result, bail};
use kerolox_broker::Broker;
use kerolox_config::{Loaded, Role, ServerConfig};
use kerolox_namesrv::{Namesrv, RealFiles};
use kerolox_net::{
    Bound, Clock, Handle, Limits, Listeners, Options, Running, Server, Service, SocketOptions, System,
};
use kerolox_protocol::Millis;
use kerolox_store::{Level, disk::real::RealDisk};
use rustix::process::{Resource, getrlimit};
use std::{
    io::Write,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};
use tracing::{error, info, warn};

/// Runs a name server until it is stopped.
pub fn namesrv(loaded: Loaded) -> Result<()> {
    report(&loaded);
    let signals = Signals::catch()?;
    let server = start_namesrv(loaded, IpAddr::V4(Ipv4Addr::UNSPECIFIED))?;
    signals.stop_at_signal(&server.running.handle);
    announce("The Name Server boot success. serializeType=JSON");
    server.running.join().context("serve")?;
    Ok(())
}

/// Runs a broker until it is stopped.
pub fn broker(loaded: Loaded) -> Result<()> {
    report(&loaded);
    let signals = Signals::catch()?;
    let server = start_broker(loaded, IpAddr::V4(Ipv4Addr::UNSPECIFIED))?;
    signals.stop_at_signal(&server.running.handle);
    announce(&server.boot_line);
    server.running.join().context("serve")?;
    Ok(())
}

/// Runs a name server and a broker in this process until they are stopped.
pub fn dev(dev: &Dev) -> Result<()> {
    let store = dev.store_dir()?;
    let ns_words = [
        format!("listenPort={}", dev.namesrv_port),
        format!("kvConfigPath={}", store.join("namesrv/kvConfig.json").display()),
        format!("configStorePath={}", store.join("namesrv/namesrv.properties").display()),
    ];
    let ns_loaded = settings::load(Role::Namesrv, None, None, &ns_words)?;
    let signals = Signals::catch()?;
    let ns = start_namesrv(ns_loaded, dev.bind)?;
    announce("The Name Server boot success. serializeType=JSON");
    let ns_ip = if dev.bind.is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { dev.bind };
    let mut words = vec![
        "brokerName=broker-a".to_owned(),
        format!("listenPort={}", dev.broker_port),
        format!("storePathRootDir={}", store.display()),
        format!("namesrvAddr={}", SocketAddr::new(ns_ip, ns.addr.port())),
    ];
    // Who listens on all addresses has clients on other machines in mind: they are told what `kerolox broker` would tell.
    if !dev.bind.is_unspecified() {
        words.extend(["brokerIP1", "brokerIP2"].map(|key| format!("{key}={}", dev.bind)));
    }
    words.extend(dev.settings.iter().cloned());
    let started = settings::load(Role::Broker, None, None, &words).and_then(|loaded| {
        report(&loaded);
        start_broker(loaded, dev.bind)
    });
    let broker = match started {
        Ok(broker) => broker,
        Err(why) => {
            // The name server must not be left running behind the error.
            ns.running.stop().context("stop the name server")?;
            return Err(why);
        }
    };
    signals.stop_at_signal(&broker.running.handle);
    announce(&broker.boot_line);
    announce(&format!("Data is kept in {}. Stop with Ctrl-C.", store.display()));
    // The broker goes first, so that its last word still reaches the name server.
    let stopped = broker.running.join().context("serve as broker");
    ns.running.stop().context("serve as name server")?;
    stopped.map(drop)
}

/// Prints a line for whoever waits for it. A server goes on when nobody does.
fn announce(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

struct Started<S: Service> {
    running: Running<S>,
    addr: SocketAddr,
    boot_line: String,
}

fn start_namesrv(loaded: Loaded, bind: IpAddr) -> Result<Started<Namesrv>> {
    let port = loaded.server.listen_port.0;
    let bound = Bound::take(&[SocketAddr::new(bind, port)], &sockets(&loaded.server))?;
    let addr = bound.addrs()[0];
    let clock = System::new();
    let options = net_options("namesrv", &loaded.server);
    let service = Namesrv::open(clock.now(), loaded, Arc::new(RealFiles))?;
    let listeners = bound.listen()?;
    log_addrs("name server", &listeners);
    let running = Server::new(listeners, options, clock, service)?.spawn()?;
    Ok(Started { running, addr, boot_line: String::new() })
}

fn start_broker(mut loaded: Loaded, bind: IpAddr) -> Result<Started<Broker>> {
    let ip = addresses::resolve(&loaded.broker.broker_ip1)?;
    if bind.is_unspecified() {
        let candidates = addresses::candidates();
        if !loaded.written.contains("brokerIP1") {
            info!(chosen = %ip, candidates = %addresses::list(&candidates), "address told to clients; set brokerIP1 to tell another");
        }
        warn_of_unreachable(ip, &candidates);
    }
    let port = loaded.server.listen_port.0;
    let vip = loaded.server.vip_port();
    let addrs: Vec<_> =
        [Some(port), vip].into_iter().flatten().map(|port| SocketAddr::new(bind, port)).collect();
    // The port first: if it is taken, the store is not touched. Clients are let in when there is somebody to serve
    // them, which a long recovery may put off; until then they are refused and ask another broker.
    let bound = Bound::take(&addrs, &sockets(&loaded.server))?;
    let addr = bound.addrs()[0];
    // Port 0 lets the system choose: the port it chose is the one that clients are told.
    loaded.server.listen_port.0 = addr.port();
    let namesrv_addr = kerolox_config::Kind::print(&loaded.broker.namesrv_addr);
    let suffix =
        if namesrv_addr.is_empty() { String::new() } else { format!(" and name server is {namesrv_addr}") };
    if namesrv_addr.is_empty() {
        warn!(
            "no name server is configured: clients cannot find this broker; set namesrvAddr or start with -n HOST:PORT"
        );
    }
    let clock = System::new();
    let net = net_options("broker", &loaded.server);
    let mut options = kerolox_broker::Options::new(loaded.broker, loaded.store, loaded.server, ip);
    // Changed settings are kept in the file, wherever the process goes to work.
    options.config_file = loaded.file.as_deref().and_then(|file| std::path::absolute(file).ok());
    options.seed = seed(clock.now().wall);
    options.ram_bytes = ram_bytes();
    options.queue_files_open_max = queue_files(kerolox_net::raise_open_files());
    options.utc_offset = utc_offset(clock.now().wall);
    options.utc_offset_at = utc_offset;
    let boot_line = format!(
        "The broker[{}, {}] boot success. serializeType=JSON{suffix}",
        options.broker.broker_name, options.store_host
    );
    check_file_size(getrlimit(Resource::Fsize).current, &options.for_store())?;
    let (service, lines) = Broker::open(Arc::new(RealDisk::new()), options, clock.now())?;
    for line in lines {
        match line.level {
            Level::Info => info!("{line}"),
            Level::Warn => warn!("{line}"),
            Level::Error => error!("{line}"),
        }
    }
    let listeners = bound.listen()?;
    log_addrs("broker", &listeners);
    let running = Server::new(listeners, net, clock, service)?.spawn()?;
    Ok(Started { running, addr, boot_line })
}

/// Clients of other machines are welcome, but would be told an address that they cannot reach.
fn warn_of_unreachable(told: IpAddr, candidates: &[Candidate]) {
    if let Some(trouble) = addresses::trouble(told, candidates) {
        warn!(candidates = %addresses::list(candidates), "the broker listens on all addresses, but clients are told {told}: {trouble}; set brokerIP1 to an address that clients can reach");
    }
}

fn report(loaded: &Loaded) {
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
}

/// The boot lines are the original's and name no port of a name server; with port 0 somebody must.
fn log_addrs(name: &str, listeners: &Listeners) {
    let addrs: Vec<String> = listeners.addrs().iter().map(ToString::to_string).collect();
    info!("{name} listens on {}", addrs.join(", "));
}

fn sockets(config: &ServerConfig) -> SocketOptions {
    let size = |bytes: u64| usize::try_from(bytes).ok().filter(|bytes| *bytes > 0);
    SocketOptions {
        backlog: i32::try_from(config.server_socket_backlog.0).unwrap_or(i32::MAX),
        send_buffer_bytes: size(config.server_socket_snd_buf_size.0),
        recv_buffer_bytes: size(config.server_socket_rcv_buf_size.0),
    }
}

fn net_options(name: &'static str, config: &ServerConfig) -> Options {
    let busy_poll_micros = u64::from(config.busy_poll_micros.0);
    Options { name, limits: limits(config), busy_poll_micros, ..Options::default() }
}

fn limits(config: &ServerConfig) -> Limits {
    let usual = Limits::default();
    Limits {
        connections_max: connections(kerolox_net::raise_open_files()).min(usual.connections_max),
        frame_bytes_max: usize::try_from(config.frame_max_length.0).unwrap_or(usize::MAX),
        idle: Millis(config.server_channel_max_idle_time_seconds.0.saturating_mul(1000)),
        connect_timeout: Millis(config.connect_timeout_millis.0),
        ..usual
    }
}

/// Ends a start with files to come that are larger than the process may make any: the system would kill it then.
fn check_file_size(allowed: Option<u64>, store: &kerolox_store::Options) -> Result<()> {
    let index = if store.index { index_file_bytes(store) } else { 0 };
    let needed = store.segment_bytes.max(store.queue_file_bytes).max(index);
    match allowed.filter(|allowed| *allowed < needed) {
        None => Ok(()),
        Some(allowed) => bail!(
            "files of this process may have {allowed} bytes, and the store's have {needed}: raise the limit (ulimit -f, \
             LimitFSIZE), or lower mappedFileSizeCommitLog and maxIndexNum"
        ),
    }
}

fn index_file_bytes(store: &kerolox_store::Options) -> u64 {
    let shape = kerolox_store::index::Shape::new(store.index_slots, store.index_max);
    shape.map_or(0, kerolox_store::index::Shape::file_len)
}

/// Connections, of so many files that the process may open. The rest is the store's: clients that connect without end
/// must not keep it from its files.
fn connections(files: u64) -> usize {
    usize::try_from(files - files / 4).unwrap_or(usize::MAX)
}

/// Queue files that are held open, of the same; log files and the index need theirs.
fn queue_files(files: u64) -> usize {
    usize::try_from(files / 8).unwrap_or(usize::MAX).clamp(16, 512)
}

/// A seed for the broker's choices of queues: any number does, it guards nothing.
fn seed(now: Millis) -> u64 {
    (now.0 as u64) ^ (u64::from(std::process::id()) << 32)
}

/// What to add to Unix time for the local time of `now`: `deleteWhen` and the figures of a day go by the
/// operator's clock. 0 where the system does not say its zone.
fn utc_offset(now: Millis) -> Millis {
    offset_in(&jiff::tz::TimeZone::system(), now)
}

fn offset_in(zone: &jiff::tz::TimeZone, now: Millis) -> Millis {
    let now = jiff::Timestamp::from_millisecond(now.0).unwrap_or_default();
    Millis(i64::from(zone.to_offset(now).seconds()) * 1_000)
}

fn ram_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram.saturating_mul(u64::from(info.mem_unit))
}

/// What is to be done at SIGINT, SIGTERM or SIGHUP.
#[derive(Clone, Default)]
struct Signals(Arc<Mutex<Pending>>);

#[derive(Default)]
struct Pending {
    /// A signal came, perhaps before there was anything to stop.
    came: bool,
    stop: Option<Box<dyn Fn() + Send>>,
}

impl Signals {
    /// From now on a signal stops the server instead of the process.
    fn catch() -> Result<Signals> {
        let signals = Signals::default();
        let caught = signals.clone();
        ctrlc::set_handler(move || caught.with(|pending| pending.came = true)).context("catch signals")?;
        Ok(signals)
    }

    fn stop_at_signal<S: Service>(&self, handle: &Handle<S>) {
        let handle = handle.clone();
        self.with(|pending| pending.stop = Some(Box::new(move || handle.stop())));
    }

    fn with(&self, change: impl FnOnce(&mut Pending)) {
        let mut pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut pending);
        if let Some(stop) = pending.stop.as_ref().filter(|_| pending.came) {
            stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::{Offset, TimeZone};

    #[test]
    fn files_larger_than_the_process_may_make_end_the_start() {
        let mut store = kerolox_store::Options::new(kerolox_store::disk::Paths::under("store"));
        assert!(check_file_size(None, &store).is_ok() && check_file_size(Some(1 << 30), &store).is_ok());
        let why = check_file_size(Some((1 << 30) - 1), &store).unwrap_err().to_string();
        assert!(why.contains("ulimit -f") && why.contains("1073741824"), "{why}");
        store.segment_bytes = 1 << 20;
        assert!(check_file_size(Some(420_000_039), &store).is_err());
        store.index = false;
        assert!(check_file_size(Some(6_000_000), &store).is_ok());
    }

    #[test]
    fn connections_leave_the_store_its_files() {
        for files in [256, 1_024, 4_096, 1 << 20] {
            let rest = files - (connections(files) + queue_files(files)) as u64;
            assert!(rest >= files / 8 && rest >= 32, "{files}: {rest}");
        }
        assert_eq!((connections(1_024), queue_files(1_024), queue_files(1 << 20)), (768, 128, 512));
    }

    #[test]
    fn local_time_is_what_the_zone_adds() {
        let zone = |seconds| TimeZone::fixed(Offset::from_seconds(seconds).unwrap());
        assert_eq!(offset_in(&zone(-5 * 3_600), Millis(1_700_000_000_000)), Millis(-18_000_000));
        assert_eq!(offset_in(&zone(20_700), Millis(0)), Millis(20_700_000));
        // A clock that nobody set still gives an offset.
        assert_eq!(offset_in(&zone(3_600), Millis(i64::MAX)), Millis(3_600_000));
    }
}
