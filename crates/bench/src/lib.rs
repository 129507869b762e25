//! The load generator: closed and open loops over raw sockets, an echo limit, percentiles, a JSON report.
//!
//! Owns the judge of every claim about speed, so it shares no code with what it judges beyond the frame
//! layout: requests are templates with a few places patched, answers are checked where they stand. One thread,
//! one epoll, no dependency on the client crate.

mod echo;
mod facts;
mod load;
mod pull;
mod report;
mod send;
mod template;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use std::{
    net::{SocketAddr, ToSocketAddrs},
    time::Duration,
};

/// Loads a broker and reports rate, latency and what it cost.
#[derive(Debug, Args)]
pub struct Bench {
    #[command(subcommand)]
    load: Load,
}

#[derive(Debug, Subcommand)]
enum Load {
    /// Sends messages in a closed loop: so many connections, so many requests in flight on each.
    Send(SendArgs),
    /// Pulls one topic over and over, from its first message to its last.
    Pull(PullArgs),
    /// Serves the framed echo: the limit of this machine for a request shape, without a store.
    EchoServer {
        /// Port on 127.0.0.1; 0 takes a free one. The address is printed.
        #[arg(long, default_value_t = 0)]
        port: u16,
    },
}

/// How request headers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum HeaderKind {
    /// As clients do by default.
    Json,
    /// The original's binary form.
    Binary,
}

#[derive(Debug, Args)]
struct Common {
    /// Address of the broker.
    #[arg(long, default_value = "127.0.0.1:10911")]
    addr: String,
    /// Topic; must exist or be auto-creatable.
    #[arg(long, default_value = "BenchmarkTest")]
    topic: String,
    /// Connections.
    #[arg(short = 'c', long, default_value_t = 64)]
    connections: usize,
    /// Queues to spread over, evenly; the topic must have them.
    #[arg(long, default_value_t = 4)]
    queues: u32,
    /// Header form.
    #[arg(long, value_enum, default_value_t = HeaderKind::Json)]
    header: HeaderKind,
    /// Seconds that are counted.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Seconds before that.
    #[arg(long, default_value_t = 2.0)]
    warmup: f64,
    /// Process of the server, to account its CPU and memory.
    #[arg(long)]
    server_pid: Option<u32>,
    /// Print the report as JSON alone.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct SendArgs {
    #[command(flatten)]
    common: Common,
    /// Requests in flight on each connection.
    #[arg(short = 'w', long, default_value_t = 1)]
    window: usize,
    /// Body bytes of a message.
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// Messages in a request; more than one makes client-side batches.
    #[arg(long, default_value_t = 1)]
    batch: usize,
    /// Open loop: so many messages per second, whatever the answers take. Latencies count from the time at which
    /// a message was to be sent. `--window` bounds what is under way.
    #[arg(long)]
    rate: Option<f64>,
    /// End after so many counted messages, if that is before the seconds are over.
    #[arg(long)]
    messages: Option<u64>,
    /// Run the same load against the echo server first, and print what share of that limit is reached.
    #[arg(long)]
    with_echo: bool,
}

#[derive(Debug, Args)]
struct PullArgs {
    #[command(flatten)]
    common: Common,
    /// Most messages in an answer.
    #[arg(long, default_value_t = 32)]
    count: u32,
    /// Of each queue only the newest messages, so many.
    #[arg(long)]
    last: Option<u64>,
    /// Check the body CRC of every n-th message.
    #[arg(long, default_value_t = 64)]
    check_every: u64,
}

/// Runs the load that was asked for.
pub fn run(bench: Bench) -> Result<()> {
    match bench.load {
        Load::Send(args) => send(&args),
        Load::Pull(args) => {
            let addr = resolve(&args.common.addr)?;
            args.common.check()?;
            pull::run(&args, addr)?.print(args.common.json)
        }
        Load::EchoServer { port } => echo::serve(port, |addr| println!("echo server on {addr}")),
    }
}

fn send(args: &SendArgs) -> Result<()> {
    args.common.check()?;
    if args.window == 0 || args.batch == 0 {
        bail!("--window and --batch must be at least 1");
    }
    if args.rate.is_some_and(|rate| !(rate > 0.0 && rate <= 1e8)) {
        bail!("--rate must be positive");
    }
    let addr = resolve(&args.common.addr)?;
    let limit = match args.with_echo {
        true => Some(echo::Child::start()?),
        false => None,
    };
    let limit = limit.map(|child| send::run(args, child.addr, Some(child.pid()))).transpose()?;
    let mut report = send::run(args, addr, args.common.server_pid)?;
    report.limit_of(limit);
    report.print(args.common.json)
}

impl Common {
    fn check(&self) -> Result<()> {
        if self.connections == 0 || !(1..=1_000_000_000).contains(&self.queues) {
            bail!("--connections and --queues must be at least 1");
        }
        if !(self.seconds > 0.0 && self.seconds < 86_400.0 && self.warmup >= 0.0 && self.warmup < 86_400.0) {
            bail!("--seconds must be positive and --warmup not negative, both below a day");
        }
        Ok(())
    }

    fn times(&self) -> (Duration, Duration) {
        (Duration::from_secs_f64(self.warmup), Duration::from_secs_f64(self.seconds))
    }
}

fn resolve(addr: &str) -> Result<SocketAddr> {
    let mut found = addr.to_socket_addrs().with_context(|| format!("resolve {addr}"))?;
    found.next().with_context(|| format!("{addr} has no address"))
}
