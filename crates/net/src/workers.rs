//! Threads that may block: one per lane of jobs, some for reading cold files, one for resolving names.
//!
//! Knows no connection and no service state; results go back by mail. A thread starts with its first work, so
//! that a small server stays small, and all of them end when this is dropped.

use crate::{ConnId, Fill, Job, Lane, Service, mailbox::Mailbox, message::Message};
use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
};

/// Aborts the process when the thread it stands in panics: a service or store whose invariant broke must not
/// go on answering.
pub(crate) struct AbortOnPanic(pub(crate) &'static str);

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            let text =
                format!("{} panicked, the process ends rather than go on with a broken invariant\n", self.0);
            // One write, so that it is one line among those of other threads; nobody is left to hear of a failure.
            let _ = io::Write::write_all(&mut io::stderr(), text.as_bytes());
            std::process::abort();
        }
    }
}

/// Work for one kind of thread; the threads end when the sender goes.
struct Pool<W> {
    sender: mpsc::Sender<W>,
    threads: Vec<JoinHandle<()>>,
}

impl<W: Send + 'static> Pool<W> {
    fn start(name: &str, threads: usize, run: impl Fn(W) + Clone + Send + 'static) -> io::Result<Pool<W>> {
        let (sender, receiver) = mpsc::channel::<W>();
        let receiver = Arc::new(Mutex::new(receiver));
        let start = |n: usize| {
            let (receiver, run) = (receiver.clone(), run.clone());
            let name = if threads > 1 { format!("{name}{n}") } else { name.to_owned() };
            thread::Builder::new().name(name).spawn(move || {
                let _abort = AbortOnPanic("a worker thread");
                loop {
                    let next = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(work) = next else { break };
                    run(work);
                }
            })
        };
        Ok(Pool { sender, threads: (0..threads).map(start).collect::<io::Result<_>>()? })
    }
}

struct ColdRead {
    conn: ConnId,
    fill: Box<dyn Fill>,
}

struct Lookup {
    link: u64,
    addr: String,
}

/// All threads of one loop.
pub(crate) struct Workers<S: Service> {
    name: &'static str,
    readers: usize,
    mailbox: Arc<Mailbox<Message<S>>>,
    flush: Option<Pool<S::Job>>,
    background: Option<Pool<S::Job>>,
    ahead: Option<Pool<S::Job>>,
    reads: Option<Pool<S::Job>>,
    cold: Option<Pool<ColdRead>>,
    lookup: Option<Pool<Lookup>>,
}

impl<S: Service> Workers<S> {
    pub(crate) fn new(name: &'static str, readers: usize, mailbox: Arc<Mailbox<Message<S>>>) -> Workers<S> {
        let readers = readers.max(1);
        Workers {
            name,
            readers,
            mailbox,
            flush: None,
            background: None,
            ahead: None,
            reads: None,
            cold: None,
            lookup: None,
        }
    }

    /// Runs a job on its lane; [`Message::Done`] comes back.
    pub(crate) fn job(&mut self, job: S::Job) -> io::Result<()> {
        let (pool, suffix) = match job.lane() {
            Lane::Flush => (&mut self.flush, "flush"),
            Lane::Background => (&mut self.background, "back"),
            Lane::Ahead => (&mut self.ahead, "ahead"),
            Lane::Read => (&mut self.reads, "cold"),
        };
        let (name, mailbox) = (self.name, &self.mailbox);
        hand(pool, job, || {
            let mailbox = mailbox.clone();
            Pool::start(&format!("{name}-{suffix}"), 1, move |job: S::Job| {
                if job.lane() == Lane::Ahead {
                    yield_to_others();
                }
                mailbox.post(Message::Done(job.run()))
            })
        })
    }

    /// Fills an answer; [`Message::Filled`] comes back.
    pub(crate) fn fill(&mut self, conn: ConnId, fill: Box<dyn Fill>) -> io::Result<()> {
        let (name, readers, mailbox) = (self.name, self.readers, &self.mailbox);
        hand(&mut self.cold, ColdRead { conn, fill }, || {
            let mailbox = mailbox.clone();
            Pool::start(&format!("{name}-read"), readers, move |read: ColdRead| {
                let mut frames = Vec::new();
                fill_now(&*read.fill, &mut frames);
                mailbox.post(Message::Filled(read.conn, frames));
            })
        })
    }

    /// Resolves `host:port`; [`Message::Resolved`] comes back.
    pub(crate) fn resolve(&mut self, link: u64, addr: &str) -> io::Result<()> {
        let (name, mailbox) = (self.name, &self.mailbox);
        hand(&mut self.lookup, Lookup { link, addr: addr.to_owned() }, || {
            let mailbox = mailbox.clone();
            Pool::start(&format!("{name}-dns"), 1, move |lookup: Lookup| {
                mailbox.post(Message::Resolved(lookup.link, resolve(&lookup.addr)));
            })
        })
    }
}

/// Lets all other threads go before this one. What it does saves time only where there is time to spare.
fn yield_to_others() {
    // Of the thread, not the process, on Linux. A refusal changes nothing but speed.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 19);
}

/// Gives work to a pool, starting it if this is its first.
fn hand<W: Send + 'static>(
    pool: &mut Option<Pool<W>>,
    work: W,
    start: impl FnOnce() -> io::Result<Pool<W>>,
) -> io::Result<()> {
    let pool = match pool {
        Some(pool) => pool,
        None => pool.insert(start()?),
    };
    // The receiver lives as long as its threads, and these end only after the sender.
    pool.sender.send(work).map_err(|_| io::Error::other("the worker threads have ended"))
}

impl<S: Service> Drop for Workers<S> {
    fn drop(&mut self) {
        let mut threads = Vec::new();
        // All senders go first, so that the threads end side by side.
        [self.flush.take(), self.background.take(), self.ahead.take(), self.reads.take()]
            .into_iter()
            .flatten()
            .for_each(|p| threads.extend(p.threads));
        self.cold.take().into_iter().for_each(|pool| threads.extend(pool.threads));
        // A lookup may hang for as long as the system's resolver likes, and nothing depends on it: its thread
        // ends by itself, and is not waited for.
        drop(self.lookup.take());
        for thread in threads {
            let _ = thread.join();
        }
    }
}

/// As [`fill_now`], if no device is needed for it; else `false`, and nothing is appended.
pub(crate) fn fill_if_warm(fill: &dyn Fill, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let result = fill.try_fill(out);
    if !matches!(result, Ok(true)) {
        out.truncate(start);
    }
    match result {
        Ok(filled) => filled,
        Err(why) => {
            fill.failed(&why, out);
            true
        }
    }
}

/// Appends the frame of `fill`, or the one that reports why it cannot be had.
pub(crate) fn fill_now(fill: &dyn Fill, out: &mut Vec<u8>) {
    let start = out.len();
    if let Err(why) = fill.fill(out) {
        out.truncate(start);
        fill.failed(&why, out);
    }
}

fn resolve(addr: &str) -> Result<Vec<SocketAddr>, String> {
    let found: Vec<SocketAddr> = match addr.to_socket_addrs() {
        Ok(found) => found.collect(),
        Err(why) => return Err(format!("cannot resolve {addr}: {why}")),
    };
    if found.is_empty() { Err(format!("{addr} has no address")) } else { Ok(found) }
}
