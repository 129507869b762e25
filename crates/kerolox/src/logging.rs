//! Where log lines go: standard error, one line each, quiet unless asked.

use tracing::level_filters::LevelFilter;

/// Starts logging; `verbose` 0 shows state changes and what should not happen, 1 requests, 2 everything.
pub fn start(verbose: u8) {
    let level = match verbose {
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(is_terminal)
        .with_target(false)
        .finish();
    // A second start in one process keeps the first.
    let _ = tracing::subscriber::set_global_default(subscriber);
}
