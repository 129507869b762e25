//! The pulling load: each connection reads one queue from its first message, or one near its end, to its last, and again.

use crate::{
    PullArgs,
    load::{self, Script},
    report::{Report, Tally},
    template::PullTemplate,
};
use anyhow::{Result, bail, ensure};
use kerolox_protocol::{
    frame::Frame,
    header::Header,
    record::{self, Entry},
    rpc::consume::PullReply,
};
use std::net::SocketAddr;

struct Puller {
    template: PullTemplate,
    offset: u64,
    /// Of the newest messages only so many.
    last: Option<u64>,
    check_every: u64,
    seen: u64,
}

impl Script for Puller {
    fn request(&mut self, number: u32, out: &mut Vec<u8>) {
        out.extend_from_slice(self.template.next(number, self.offset));
    }

    fn answer(&mut self, code: i32, frame: Frame<'_>, tally: &mut Tally) -> Result<u64> {
        match code {
            0 => {}
            // The end of the queue, or outside it: begin again.
            19..=21 => {
                let reply: PullReply = Header::decode(frame.codec, frame.header)?.fields()?;
                self.offset = start(&reply, self.last);
                return Ok(0);
            }
            other => {
                *tally.refused.entry(other).or_default() += 1;
                return Ok(0);
            }
        }
        let mut body = frame.body;
        let mut count = 0;
        while let Some(size) = body.first_chunk::<4>() {
            let size = u32::from_be_bytes(*size) as usize;
            ensure!(
                size >= record::FIXED_BYTES && size <= body.len(),
                "a record of {size} bytes in {}",
                body.len()
            );
            let (this, rest) = body.split_at(size);
            self.check(this, count)?;
            body = rest;
            count += 1;
        }
        self.offset += count;
        Ok(count)
    }
}

/// Where a round begins: at the queue's first message, or so many before its end.
fn start(reply: &PullReply, last: Option<u64>) -> u64 {
    let [min, max] = [reply.min_offset, reply.max_offset].map(|at| u64::try_from(at).unwrap_or(0));
    last.map_or(min, |last| max.saturating_sub(last).max(min))
}

impl Puller {
    /// Every message must be the next of its queue; of every n-th the body is checked too.
    fn check(&mut self, bytes: &[u8], nth: u64) -> Result<()> {
        let offset = bytes.get(20..28).and_then(|part| part.try_into().ok()).map(u64::from_be_bytes);
        if offset != Some(self.offset + nth) {
            bail!("expected queue offset {}, got {offset:?}", self.offset + nth);
        }
        self.seen += 1;
        if self.seen.is_multiple_of(self.check_every.max(1)) {
            let Entry::Message(message) = record::parse(bytes)? else { bail!("a filler in an answer") };
            ensure!(message.crc_matches(), "a body does not match its CRC");
        }
        Ok(())
    }
}

/// Runs the load against one address.
pub fn run(args: &PullArgs, addr: SocketAddr) -> Result<Report> {
    let common = &args.common;
    let scripts = (0..common.connections).map(|conn| Puller {
        template: PullTemplate::new(common.header, &common.topic, conn as u32 % common.queues, args.count),
        // Of the end the broker tells when it is asked for what lies behind it.
        offset: if args.last.is_some() { i64::MAX as u64 } else { 0 },
        last: args.last,
        check_every: args.check_every,
        seen: 0,
    });
    let mut tally = Tally::new()?;
    let (took, before, after) =
        load::run(addr, scripts.collect(), (1, None), (common.times(), None), common.server_pid, &mut tally)?;
    let load =
        format!("pull c{} {:?} {} per answer from {addr}", common.connections, common.header, args.count);
    Ok(Report::new(load, &tally, took, before, after, common.server_pid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_begins_at_the_first_message_or_near_the_end() {
        let reply = |min_offset, max_offset| PullReply {
            suggest_which_broker_id: 0,
            next_begin_offset: 0,
            min_offset,
            max_offset,
        };
        assert_eq!(start(&reply(5, 100), None), 5);
        assert_eq!(start(&reply(5, 100), Some(10)), 90);
        assert_eq!(start(&reply(95, 100), Some(10)), 95);
        assert_eq!(start(&reply(0, 3), Some(10)), 0);
    }
}
