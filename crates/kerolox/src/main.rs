//! The binary: arguments, logging, signals, wiring.
//!
//! The same program answers to `mqnamesrv`, `mqbroker`, `mqadmin` and `mqshutdown`, by the name it was called or as
//! `kerolox mqbroker …`, with the original's flags. Owns the process; what servers do is in their crates.

mod addresses;
mod cli;
mod dev;
mod logging;
mod original;
mod serve;
mod settings;
mod shutdown;
mod store_tools;

use std::{fmt::Display, io::Write, path::Path, process::ExitCode};

fn main() -> ExitCode {
    end_with_the_reader();
    // Every connection and every log file is one; the usual limit of 1024 is soon reached.
    kerolox_net::raise_open_files();
    let mut words: Vec<String> =
        std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let called = Path::new(words.first().map_or("", String::as_str));
    let called = called.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    // A link named like one of the original's scripts is that script.
    if original::is_name(&called) {
        words.insert(1, called);
    }
    let (result, failure) = match words.get(1).filter(|word| original::is_name(word)).cloned() {
        // The original's scripts end with 255 when a start fails.
        Some(name) => (original::run(&name, &words[2..]), 255),
        None => (cli::run(words), 1),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            // One line with the whole chain of causes; what to do stands at its end.
            say(format_args!("kerolox: {why:#}"));
            ExitCode::from(failure)
        }
    }
}

/// Says a line beside the output. How the program ends does not depend on whether somebody reads it.
fn say(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Who reads what is printed may stop reading, as `head` does: that ends this program, quietly and well. The
/// standard library makes a panic of it, which is the one place where all that prints can be met. Servers print
/// their boot lines another way.
fn end_with_the_reader() {
    let others = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let said = panic.payload_as_str().unwrap_or_default();
        if said.starts_with("failed printing to std") && said.contains("Broken pipe") {
            std::process::exit(0);
        }
        others(panic);
    }));
}
