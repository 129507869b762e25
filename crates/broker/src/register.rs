//! Telling every name server what this broker has.
//!
//! Knows addresses of name servers and when to speak; the links are the driver's.

use crate::{call::Out, groups::Groups, options::Options, topics::Topics};
use kerolox_net::{LinkEvent, Now};
use kerolox_protocol::{Millis, TopicName};

/// What is registered.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Names, addresses, period.
    pub options: &'a Options,
    /// Topics.
    pub topics: &'a Topics,
    /// Groups.
    pub groups: &'a Groups,
}

/// Speaks to the name servers.
#[derive(Debug, Clone, Default)]
pub struct Registrar {}

impl Registrar {
    /// Registers what is due: at the start, and every period.
    pub fn tick(&mut self, _now: Now, _facts: Facts<'_>, _out: &mut Out) {}

    /// Topics changed: tell every name server at once, one-way, before the request that changed them is
    /// answered.
    pub fn topics_changed(&mut self, _now: Now, _changed: &[TopicName], _facts: Facts<'_>, _out: &mut Out) {}

    /// Something came over the link to a name server.
    pub fn on_link(
        &mut self,
        _now: Now,
        _addr: &str,
        _event: &LinkEvent<'_>,
        _facts: Facts<'_>,
        _out: &mut Out,
    ) {
    }

    /// Takes leave of every name server.
    pub fn stop(&mut self, _now: Now, _facts: Facts<'_>, _out: &mut Out) {}

    /// When [`Registrar::tick`] wants to be called, monotonic.
    pub fn next_timer(&self) -> Option<Millis> {
        None
    }
}
