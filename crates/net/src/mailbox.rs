//! How other threads reach the loop: messages behind a short lock, and an event that wakes it.
//!
//! Knows nothing of what the messages mean.

use rustix::{
    event::{EventfdFlags, eventfd},
    fd::{AsFd, BorrowedFd, OwnedFd},
};
use std::{
    io,
    sync::{Mutex, MutexGuard, PoisonError},
};

#[derive(Debug)]
struct State<M> {
    messages: Vec<M>,
    open: bool,
}

/// Messages of many threads for one.
#[derive(Debug)]
pub(crate) struct Mailbox<M> {
    state: Mutex<State<M>>,
    event: OwnedFd,
}

impl<M> Mailbox<M> {
    pub(crate) fn new() -> io::Result<Mailbox<M>> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Mailbox { state: Mutex::new(State { messages: Vec::new(), open: true }), event })
    }

    /// Leaves a message and wakes the loop. A message for a loop that has ended is dropped.
    pub(crate) fn post(&self, message: M) {
        let mut state = self.lock();
        if !state.open {
            return;
        }
        let wake = state.messages.is_empty();
        state.messages.push(message);
        drop(state);
        // One wake-up is enough for all messages that are there when the loop comes to look.
        if wake {
            // Fails only if the counter is full, and then the loop is awake.
            let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
        }
    }

    /// Takes all messages into `into`, which must be empty.
    pub(crate) fn take(&self, into: &mut Vec<M>) {
        // The event first: a message that comes in between is taken now and its event wakes for nothing,
        // while the other order would lose it.
        let _ = rustix::io::read(&self.event, &mut [0u8; 8]);
        std::mem::swap(&mut self.lock().messages, into);
    }

    /// Refuses messages from now on, and drops those that are there.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.open = false;
        let dropped = std::mem::take(&mut state.messages);
        drop(state);
        drop(dropped);
    }

    fn lock(&self) -> MutexGuard<'_, State<M>> {
        // Nothing in the critical sections can leave the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M> AsFd for Mailbox<M> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
