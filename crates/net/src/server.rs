//! A server from outside: its options, its start, its handle.
//!
//! Owns no socket beyond the start; the loop of [`crate::driver`] does.

use crate::{
    ConnId, Job, Listeners, Now, Outbox, Service, clock::Clock, driver::Driver, limits::Limits,
    mailbox::Mailbox,
};
use std::{
    fmt, io,
    net::SocketAddr,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
};

/// Options of one server.
#[derive(Debug, Clone)]
pub struct Options {
    /// Short name for threads and log lines, as `broker`. Thread names show 15 bytes.
    pub name: &'static str,
    /// What connections may cost.
    pub limits: Limits,
    /// Bytes read at once; one such buffer per loop.
    pub read_bytes: usize,
    /// Threads that read cold files.
    pub readers: usize,
    /// Microseconds for which a loop with nothing to do looks again before it sleeps, while that pays; 0: never.
    pub busy_poll_micros: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            name: "net",
            limits: Limits::default(),
            read_bytes: 256 * 1024,
            readers: 2,
            busy_poll_micros: 0,
        }
    }
}

/// Something another thread has for the loop.
pub(crate) enum Message<S: Service> {
    /// End gracefully.
    Stop,
    /// A job has run.
    Done(<S::Job as Job>::Done),
    /// A cold answer is ready.
    Filled(ConnId, Vec<u8>),
    /// The addresses of a link's name.
    Resolved(u64, Result<Vec<SocketAddr>, String>),
    /// A question or an order from inside the process.
    Call(Call<S>),
}

/// What [`Handle::ask`] runs in the loop.
pub(crate) type Call<S> = Box<dyn FnOnce(&mut S, Now, &mut Outbox<<S as Service>::Job>) + Send>;

/// A service with its sockets, ready to run.
pub struct Server<S: Service, C: Clock> {
    driver: Driver<S, C>,
    handle: Handle<S>,
    name: &'static str,
}

impl<S: Service, C: Clock> Server<S, C> {
    /// Puts a service behind listening sockets. Nothing is accepted before [`Server::run`].
    pub fn new(listeners: Listeners, options: Options, clock: C, service: S) -> io::Result<Server<S, C>> {
        let mailbox = Arc::new(Mailbox::new()?);
        let name = options.name;
        let driver = Driver::new(listeners, options, clock, service, mailbox.clone())?;
        Ok(Server { driver, handle: Handle { mailbox }, name })
    }

    /// A handle to stop or ask the server from other threads.
    pub fn handle(&self) -> Handle<S> {
        self.handle.clone()
    }

    /// Serves on this thread until stopped; gives the service back.
    ///
    /// An error is the event queue's and means that the process cannot go on serving. A panic of the service
    /// aborts the process.
    pub fn run(self) -> io::Result<S> {
        let result = self.driver.run();
        // Whoever still waits for an answer learns that there will be none.
        self.handle.mailbox.close();
        result
    }

    /// Serves on a thread of its own.
    pub fn spawn(self) -> io::Result<Running<S>> {
        let handle = self.handle();
        let thread = thread::Builder::new().name(format!("{}-loop", self.name)).spawn(move || self.run())?;
        Ok(Running { handle, thread })
    }
}

impl<S: Service, C: Clock> fmt::Debug for Server<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A server on its own thread.
#[derive(Debug)]
pub struct Running<S: Service> {
    /// Its handle.
    pub handle: Handle<S>,
    thread: JoinHandle<io::Result<S>>,
}

impl<S: Service> Running<S> {
    /// Stops it gracefully and waits for its end.
    pub fn stop(self) -> io::Result<S> {
        self.handle.stop();
        self.join()
    }

    /// Waits for its end.
    pub fn join(self) -> io::Result<S> {
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the server loop panicked")))
    }
}

/// Reaches a running server from any thread.
pub struct Handle<S: Service> {
    mailbox: Arc<Mailbox<Message<S>>>,
}

impl<S: Service> Handle<S> {
    /// Asks for a graceful stop: no new connections, the service's last jobs, all answers written, all within
    /// [`Limits::stop_timeout`]. Returns at once; asking twice is the same as once.
    pub fn stop(&self) {
        self.mailbox.post(Message::Stop);
    }

    /// Runs `question` on the service between two groups of frames and waits for its result; `None` if the
    /// server has ended. Must not be called from the server's own threads.
    pub fn ask<R: Send + 'static>(
        &self,
        question: impl FnOnce(&mut S, Now, &mut Outbox<S::Job>) -> R + Send + 'static,
    ) -> Option<R> {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.tell(move |service, now, out| {
            // The asker may have gone, which is its own business.
            let _ = sender.send(question(service, now, out));
        });
        receiver.recv().ok()
    }

    /// Runs `order` on the service between two groups of frames, without waiting.
    pub fn tell(&self, order: impl FnOnce(&mut S, Now, &mut Outbox<S::Job>) + Send + 'static) {
        self.mailbox.post(Message::Call(Box::new(order)));
    }
}

impl<S: Service> Clone for Handle<S> {
    fn clone(&self) -> Self {
        Handle { mailbox: self.mailbox.clone() }
    }
}

impl<S: Service> fmt::Debug for Handle<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}
