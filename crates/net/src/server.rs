//! A server from outside: its options, its start, its handle.
//!
//! Owns no socket beyond the start; the loop of [`crate::driver`] does.

use crate::{
    Listeners, Now, Outbox, Service, clock::Clock, driver::Driver, mailbox::Mailbox, message::Message,
    options::Options,
};
use std::{
    fmt, io,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
};

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
    /// [`crate::Limits::stop_timeout`]. Returns at once; asking twice is the same as once.
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
