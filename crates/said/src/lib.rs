//! What is said in the log while a test or a simulated run listens.
//!
//! Owns the one listener of a process, and for each thread the lines that somebody wants to hear. Knows nobody who
//! says or wants anything.
//!
//! **Why one for the process.** Whether a place in the code is worth being asked is remembered with it, for all
//! listeners there are. With one per thread, what one thread says for the first time while another begins to listen, or
//! ends it, may be taken for what nobody wants to hear, and is missed for good. The one here is there for ever and wants
//! everything.

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

/// To be called before anything is said, by who does not listen but says: others may listen to their threads later.
pub fn prepare() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Listener).expect("the only one"));
}

/// Lines of this thread, with their levels; nothing any more when it is dropped.
#[derive(Debug)]
pub struct Said(());

impl Said {
    /// Listens from now on. Who listened before on this thread hears nothing any more.
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
        LINES.with_borrow_mut(|lines| {
            // Most runs say much and listen to nothing.
            let Some(lines) = lines else { return };
            let mut line = Line::default();
            event.record(&mut line);
            lines.push((*event.metadata().level(), line.0));
        });
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

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::{debug, warn};

    fn speak(number: u32) {
        warn!(number, "of one place");
    }

    #[test]
    fn a_place_that_spoke_to_nobody_is_heard_later() {
        prepare();
        speak(1);
        let said = Said::listen();
        speak(2);
        debug!("as well");
        let expected = [(Level::WARN, "message=of one place number=2 "), (Level::DEBUG, "message=as well ")];
        assert_eq!(said.all(), expected.map(|(level, line)| (level, line.to_owned())));
        assert_eq!(said.all(), []);
    }

    #[test]
    fn each_thread_hears_itself_until_it_has_heard_enough() {
        let said = Said::listen();
        std::thread::spawn(|| {
            let other = Said::listen();
            speak(3);
            assert_eq!(other.take(Level::WARN, "number=3"), 1);
        })
        .join()
        .unwrap();
        assert_eq!(said.all(), []);
        speak(4);
        drop(said);
        speak(5);
        assert_eq!(Said::listen().all(), []);
    }
}
