//! The sending load.

use crate::{
    SendArgs,
    facts::Cpu,
    load::{self, Script, number_after},
    report::{Report, Tally},
    template::SendTemplate,
};
use anyhow::{Context, Result};
use kerolox_protocol::{
    frame::{Codec, Frame},
    header::Header,
    rpc::produce::SendReply,
};
use std::net::SocketAddr;

struct Sender {
    template: SendTemplate,
    queue: u32,
    queues: u32,
    batch: u64,
    answered: u64,
}

impl Script for Sender {
    fn request(&mut self, number: u32, out: &mut Vec<u8>) {
        self.queue = (self.queue + 1) % self.queues;
        out.extend_from_slice(self.template.next(number, self.queue));
    }

    fn answer(&mut self, code: i32, frame: Frame<'_>, tally: &mut Tally) -> Result<u64> {
        if code != 0 {
            *tally.refused.entry(code).or_default() += 1;
            return Ok(0);
        }
        self.answered += 1;
        // Every answer must name an offset; every 64th is read as a client reads it.
        if self.answered % 64 == 1 {
            let header = Header::decode(frame.codec, frame.header)?;
            let reply: SendReply = header.fields()?;
            anyhow::ensure!(
                reply.queue_offset >= 0 && reply.msg_id.len() >= 32,
                "impossible answer {reply:?}"
            );
        } else if frame.codec == Codec::Json {
            number_after(frame.header, b"\"queueOffset\":").context("an answer without queueOffset")?;
        }
        Ok(self.batch)
    }
}

/// Runs the load against one address.
pub fn run(args: &SendArgs, addr: SocketAddr, server_pid: Option<u32>) -> Result<Report> {
    let common = &args.common;
    // Each connection goes round all queues, from a place of its own, so that all are equally active at any time.
    let place = |conn: usize| (conn as u64 * u64::from(common.queues) / common.connections as u64) as u32;
    let scripts = (0..common.connections).map(|conn| Sender {
        template: SendTemplate::new(
            common.header,
            (&common.topic, common.queues),
            args.size,
            args.batch,
            conn,
        ),
        queue: place(conn),
        queues: common.queues,
        batch: args.batch as u64,
        answered: 0,
    });
    let mut tally = Tally::new()?;
    let (took, before, after): (_, Cpu, Cpu) = load::run(
        addr,
        scripts.collect(),
        (args.window, args.rate.map(|rate| rate / args.batch as f64)),
        (common.times(), args.messages),
        server_pid,
        &mut tally,
    )?;
    let load = format!(
        "send c{} w{} {:?} {} B batch {} over {} queues{} to {addr}",
        common.connections,
        args.window,
        common.header,
        args.size,
        args.batch,
        common.queues,
        args.rate.map_or(String::new(), |rate| format!(" at {rate} msg/s")),
    );
    Ok(Report::new(load, &tally, took, before, after, server_pid))
}
