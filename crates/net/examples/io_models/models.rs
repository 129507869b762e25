//! The servers that are compared. Each one answers all requests of a read with one write, and touches one
//! shared state per read, as a commit log would be.

use crate::echo;
use kerolox_net::{
    ConnId, Judgement, LinkEvent, Listeners, NoJob, Now, Options, Outbox, Peer, Server, Service,
    SocketOptions, System,
};
use kerolox_protocol::{
    Millis,
    frame::{FRAME_BYTES_MAX, Frame, Opening, Split, split},
};
use std::{
    io::{self, Read, Write},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime,
    task::LocalSet,
};

/// What `compare` compares.
pub const NAMES: [&str; 4] = ["loop", "tokio-multi", "tokio-per-core", "tokio-one"];
/// Threads of the models that have several.
const CORES: usize = 2;
/// Bytes a tokio connection reads at once.
const READ_BYTES: usize = 64 * 1024;

/// Stands for the one log.
type Log = Arc<Mutex<u64>>;

/// Serves `model` on a free port until standard input ends.
pub fn serve(model: &str) -> io::Result<()> {
    match model {
        "loop" => serve_loop(),
        "tokio-multi" => {
            let runtime = runtime::Builder::new_multi_thread().worker_threads(CORES).enable_io().build()?;
            let listener = announce(runtime.block_on(TcpListener::bind(any()))?)?;
            runtime.block_on(async move {
                let log = Log::default();
                loop {
                    let (socket, _) = listener.accept().await?;
                    tokio::spawn(connection(socket, log.clone()));
                }
            })
        }
        "tokio-per-core" => serve_per_core(CORES),
        "tokio-one" => serve_per_core(1),
        other => Err(io::Error::other(format!("no model {other}; there are {NAMES:?}"))),
    }
}

fn any() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn announce(listener: TcpListener) -> io::Result<TcpListener> {
    tell(listener.local_addr()?)?;
    Ok(listener)
}

/// Prints the address, and ends the process with the one that started it.
fn tell(addr: SocketAddr) -> io::Result<()> {
    println!("{addr}");
    io::stdout().flush()?;
    std::thread::spawn(|| {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    Ok(())
}

/// One connection of the tokio models.
async fn connection(mut socket: TcpStream, log: Log) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let (mut read, mut held) = (vec![0; READ_BYTES], 0);
    let mut out = Vec::new();
    loop {
        let n = socket.read(&mut read[held..]).await?;
        if n == 0 {
            return Ok(());
        }
        held += n;
        let mut taken = 0;
        while let Split::Whole(frame, bytes) =
            split(&read[taken..held], FRAME_BYTES_MAX).map_err(io::Error::other)?
        {
            echo::answer(&frame, &mut out);
            taken += bytes;
        }
        read.copy_within(taken..held, 0);
        held -= taken;
        *log.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        socket.write_all(&out).await?;
        out.clear();
    }
}

/// Current-thread runtimes, connections dealt out in turn.
fn serve_per_core(cores: usize) -> io::Result<()> {
    let log = Log::default();
    let start = |_| {
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel::<std::net::TcpStream>();
        let log = log.clone();
        std::thread::spawn(move || -> io::Result<()> {
            let runtime = runtime::Builder::new_current_thread().enable_io().build()?;
            runtime.block_on(LocalSet::new().run_until(async move {
                while let Some(socket) = receiver.recv().await {
                    tokio::task::spawn_local(connection(TcpStream::from_std(socket)?, log.clone()));
                }
                Ok(())
            }))
        });
        sender
    };
    let runtimes: Vec<_> = (0..cores).map(start).collect();
    let listener = std::net::TcpListener::bind(any())?;
    tell(listener.local_addr()?)?;
    for runtime in runtimes.iter().cycle() {
        let (socket, _) = listener.accept()?;
        socket.set_nonblocking(true)?;
        runtime.send(socket).map_err(|_| io::Error::other("a runtime has ended"))?;
    }
    Ok(())
}

/// The production loop.
fn serve_loop() -> io::Result<()> {
    let listeners = Listeners::bind(&[any()], &SocketOptions::default()).map_err(io::Error::other)?;
    let addr = listeners.addrs()[0];
    let server = Server::new(listeners, Options::default(), System::new(), Echo { groups: 0 })?;
    tell(addr)?;
    server.run().map(drop)
}

struct Echo {
    groups: u64,
}

impl Service for Echo {
    type Job = NoJob;
    fn judge(&mut self, _: Now, _: &Peer, _: &Opening<'_>) -> Judgement {
        Judgement::Take
    }
    fn on_frame(&mut self, _: Now, peer: &Peer, frame: Frame<'_>, out: &mut Outbox<NoJob>) {
        out.send(peer.conn, |bytes| echo::answer(&frame, bytes));
    }
    fn on_batch_end(&mut self, _: Now, _: &mut Outbox<NoJob>) {
        self.groups += 1;
    }
    fn on_closed(&mut self, _: Now, _: ConnId, _: &mut Outbox<NoJob>) {}
    fn on_link(&mut self, _: Now, _: &str, _: LinkEvent<'_>, _: &mut Outbox<NoJob>) {}
    fn on_done(&mut self, _: Now, done: NoJob, _: &mut Outbox<NoJob>) {
        match done {}
    }
    fn on_timer(&mut self, _: Now, _: &mut Outbox<NoJob>) {}
    fn next_timer(&self) -> Option<Millis> {
        None
    }
    fn on_stop(&mut self, _: Now, _: &mut Outbox<NoJob>) {}
    fn is_stopped(&self) -> bool {
        true
    }
}
