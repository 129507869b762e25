//! What is said in the log while a test listens.

#![allow(dead_code, reason = "each test file uses its part")]

use std::{
    fmt::{Debug, Write},
    sync::{Arc, Mutex, PoisonError},
};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
    subscriber::DefaultGuard,
};

/// Lines of this thread, with their levels.
pub struct Said {
    lines: Arc<Mutex<Vec<(Level, String)>>>,
    _guard: DefaultGuard,
}

impl Said {
    /// Listens from now on.
    pub fn listen() -> Said {
        let lines = Arc::<Mutex<Vec<(Level, String)>>>::default();
        let guard = tracing::subscriber::set_default(Listener(Arc::clone(&lines)));
        Said { lines, _guard: guard }
    }

    /// All lines since the last question.
    pub fn all(&self) -> Vec<(Level, String)> {
        std::mem::take(&mut *self.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many lines of a level with a text there were since the last question.
    pub fn take(&self, level: Level, text: &str) -> usize {
        self.all().iter().filter(|(at, line)| *at == level && line.contains(text)).count()
    }
}

struct Listener(Arc<Mutex<Vec<(Level, String)>>>);

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
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(said);
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
