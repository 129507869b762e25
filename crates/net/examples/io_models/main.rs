//! Measures what an I/O model costs: one framed echo, the same requests and answers, several servers.
//!
//! ```text
//! io_models compare [ROUNDS] [SECONDS] [MODEL,…]   everything, as a table (default 5 rounds of 2 s)
//! io_models server MODEL                           one server; prints its address; ends with its standard input
//! io_models load ADDR CONNECTIONS IN_FLIGHT SECONDS
//! ```
//! A request is a `SEND_MESSAGE_V2` with a JSON header and a 1 KiB body; an answer has about 110 bytes. Servers
//! run as processes of their own, so that their processor time is their own.

mod compare;
mod echo;
mod load;
mod models;

use std::{io, time::Duration};

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse().map_err(|_| io::Error::other(format!("{text} is not a number")));
    match args.as_slice() {
        ["server", model] => models::serve(model),
        ["load", addr, connections, in_flight, seconds] => {
            let addr = addr.parse().map_err(io::Error::other)?;
            let seconds = Duration::from_secs(number(seconds)?);
            let (connections, in_flight) = (number(connections)?, number(in_flight)?);
            let run = load::run(addr, usize::try_from(connections).unwrap_or(1), in_flight, seconds)?;
            println!("{run:?}");
            Ok(())
        }
        ["compare", rest @ ..] => {
            let rounds = rest.first().map_or(Ok(5), |text| number(text))?;
            let seconds = rest.get(1).map_or(Ok(2), |text| number(text))?;
            let models: Vec<&str> =
                rest.get(2).map_or(models::NAMES.to_vec(), |text| text.split(',').collect());
            compare::run(rounds, Duration::from_secs(seconds), &models)
        }
        _ => Err(io::Error::other("io_models compare|server|load, see the head of its source")),
    }
}
