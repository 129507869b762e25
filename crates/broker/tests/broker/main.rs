//! The broker as its clients see it: frames in, frames out, on a disk in memory.

mod asks;
mod produce;
mod pull;
mod retry;
mod rig;
mod service;
mod state;
