//! Configuration: every key declared once, the kinds of value, the properties format, and the loader.
//!
//! Owns the spelling, default, range, unit and standing of every key of the original and of our own.
//! Knows no file, no clock and no environment: text and look-ups are given to [`load`].
//!
//! - [`kinds`] and [`networks`]: kinds of value, their text forms
//! - [`declare`]: the `config!` declaration and what it makes of a row
//! - [`broker`], [`store`], [`server`], [`namesrv`]: the rows, grouped by who reads them
//! - [`text`]: foreign text made safe to show, names near to a typed one
//! - [`properties`]: the text format; [`load`]: sources to checked values; [`print_all`] and [`docs_page`]: listings

pub mod broker;
pub mod declare;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod kinds;
mod load;
mod loaded;
pub mod namesrv;
pub mod networks;
mod print;
pub mod properties;
mod rules;
pub mod server;
pub mod store;
mod system_properties;
pub mod text;
mod whys;

pub use broker::BrokerConfig;
pub use declare::{KeyInfo, Outside, Range, SetError, Standing, Taken, UpdateError, When};
pub use kinds::{
    Address, Addresses, BrokerRole, Bytes, Count, DelayLevels, FlushDiskType, HourList, Hours, Kind, Millis,
    Moment, Names, Number, PathText, Paths, Percent, Port, Seconds,
};
pub use load::{File, Sources, keys_of, load};
pub use loaded::{About, Loaded, Machine, Origin, Problem, Role, Warning};
pub use namesrv::NamesrvConfig;
pub use networks::{Network, Networks};
pub use print::{docs_page, export, print_all, print_important};
pub use server::{NAMESRV_PORT, ServerConfig};
pub use store::StoreConfig;
