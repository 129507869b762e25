//! One file that is written whole: at most one write under way, and one answer per change that it covers.

use super::Reply;
use crate::disk::{Files, Save, What};
use kerolox_net::{ConnId, Outbox};
use kerolox_protocol::{code, header::Header};
use std::{path::PathBuf, sync::Arc};

/// Who waits for a write.
#[derive(Debug)]
pub struct Waiter {
    /// The connection of the request.
    pub conn: ConnId,
    /// How to answer it.
    pub reply: Reply,
}

/// Answers that may wait for one write; more changes at once are refused by [`Saver::is_full`].
const WAITERS_MAX: usize = 1024;

/// The state of one file.
#[derive(Debug)]
pub struct Saver {
    what: What,
    path: PathBuf,
    files: Arc<dyn Files>,
    /// Changes that no write covers yet.
    dirty: bool,
    waiting: Vec<Waiter>,
    /// Whether a write is under way, and who waits for it.
    running: bool,
    covered: Vec<Waiter>,
}

impl Saver {
    /// A file that holds what is known now.
    pub fn new(what: What, path: PathBuf, files: Arc<dyn Files>) -> Saver {
        let (waiting, covered) = (Vec::new(), Vec::new());
        Saver { what, path, files, dirty: false, waiting, running: false, covered }
    }

    /// Whether no more answers can wait.
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= WAITERS_MAX
    }

    /// Notes a change; it is answered when a later write is done.
    pub fn wait(&mut self, waiter: Waiter) {
        self.dirty = true;
        self.waiting.push(waiter);
    }

    /// A connection is gone: its changes are saved, but nobody waits for that.
    pub fn forget(&mut self, conn: ConnId) {
        self.waiting.retain(|waiter| waiter.conn != conn);
        self.covered.retain(|waiter| waiter.conn != conn);
    }

    /// Starts the next write if one is due and none is under way.
    pub fn start(&mut self, text: impl FnOnce() -> String, out: &mut Outbox<Save>) {
        if self.running || !self.dirty {
            return;
        }
        self.running = true;
        self.dirty = false;
        self.covered = std::mem::take(&mut self.waiting);
        let (files, path) = (self.files.clone(), self.path.clone());
        out.job(Save { files, what: self.what, path, text: text() });
    }

    /// The write is done: answers those whose changes it covered.
    pub fn done(&mut self, result: &Result<(), String>, out: &mut Outbox<Save>) {
        self.running = false;
        for Waiter { conn, reply } in self.covered.drain(..) {
            let Some((codec, opaque)) = reply else { continue };
            let header = match result {
                Ok(()) => Header::answer(code::SUCCESS, opaque),
                Err(why) => {
                    let mut header = Header::answer(code::SYSTEM_ERROR, opaque);
                    header.remark = Some(format!(
                        "the change is in effect but a restart of the name server loses it, saving failed: {why}"
                    ));
                    header
                }
            };
            out.send(conn, |buffer| header.write_frame(codec, &[], buffer));
        }
    }

    /// Whether everything is saved, or was tried.
    pub fn is_idle(&self) -> bool {
        !self.running && !self.dirty
    }
}
