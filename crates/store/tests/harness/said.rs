//! What is said in the log while a test listens.

#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    cell::RefCell,
    fmt::{Debug, Write},
    sync::Once,
};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

thread_local! {
    /// Lines since the last question, while somebody listens on this thread.
    static LINES: RefCell<Option<Vec<(Level, String)>>> = const { RefCell::new(None) };
}

/// To be called before anything is said: what is said for the first time on one thread while another begins to listen
/// would be taken for what nobody wants to hear.
pub fn prepare() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Listener).expect("the only one"));
}

/// Lines of this thread, with their levels.
pub struct Said(());

impl Said {
    /// Listens from now on.
    pub fn listen() -> Said {
        prepare();
        LINES.set(Some(Vec::new()));
        Said(())
    }

    /// All lines since the last question.
    pub fn all(&self) -> Vec<(Level, String)> {
        LINES.replace(Some(Vec::new())).unwrap_or_default()
    }

    /// How many lines of a level with a text there were since the last question.
    pub fn take(&self, level: Level, text: &str) -> usize {
        self.all().iter().filter(|(at, line)| *at == level && line.contains(text)).count()
    }
}

impl Drop for Said {
    fn drop(&mut self) {
        LINES.set(None);
    }
}

struct Listener;

impl Subscriber for Listener {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let said = (*event.metadata().level(), line.0);
        LINES.with_borrow_mut(|lines| lines.as_mut().map(|lines| lines.push(said)));
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a string cannot fail.
        let _ = write!(self.0, "{}={value:?} ", field.name());
    }
}
