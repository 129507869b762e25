//! Configuration: every key declared once, the kinds of value, the properties format, and the loader.
//!
//! Owns the spelling, default, range, unit and standing of every key of the original and of our own.
//! Knows no file, no clock and no environment: text and look-ups are given to [`load`].
//!
//! - [`kinds`] and [`networks`]: kinds of value, their text forms
//! - [`declare`]: the `config!` declaration and what it makes of a row
//! - [`broker`], [`store`], [`server`], [`namesrv`]: the rows, grouped by who reads them

pub mod broker;
pub mod declare;
pub mod kinds;
pub mod namesrv;
pub mod networks;
pub mod server;
pub mod store;
mod text;
mod whys;

pub use broker::BrokerConfig;
pub use declare::{KeyInfo, Outside, Range, SetError, Standing, Taken, UpdateError, When};
pub use kinds::{
    Address, Addresses, BrokerRole, Bytes, Count, DelayLevels, FlushDiskType, HourList, Hours, Kind, Millis,
    Moment, Names, Number, PathText, Paths, Percent, Port, Seconds,
};
pub use namesrv::NamesrvConfig;
pub use networks::{Network, Networks};
pub use server::{NAMESRV_PORT, ServerConfig};
pub use store::StoreConfig;
