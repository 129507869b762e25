//! The broker as its clients see it: frames in, frames out, on a disk in memory.

mod asks;
mod cold;
mod exports;
mod figures;
mod hostile;
mod judge;
mod members;
mod offsets;
mod produce;
mod protect;
mod pull;
mod relays;
mod replies;
mod retry;
mod rig;
mod rot;
mod service;
mod settings;
mod state;
mod tables;
mod transaction;
