//! Random changes of frames that real clients sent, over sockets, from a seed.
//!
//! `KEROLOX_MUTATE_SECONDS` makes it longer, `KEROLOX_MUTATE_SEED` repeats one run.

use super::{Target, To, all};
use crate::harness::{Dir, Wire};
use kerolox_store::disk::memory::Rng;
use std::{
    fs,
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Requests of unmodified clients, and the curated ones.
fn seeds() -> Vec<(To, Vec<u8>)> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol/testdata/golden");
    let mut seeds = Vec::new();
    for client in fs::read_dir(&golden)
        .expect("the golden frames")
        .map_while(Result::ok)
        .filter(|entry| entry.path().is_dir())
    {
        for file in fs::read_dir(client.path()).expect("a client's frames").map_while(Result::ok) {
            let name = file.file_name().to_string_lossy().into_owned();
            let to = match &name {
                name if name.starts_with("to-broker-") => To::Broker,
                name if name.starts_with("to-namesrv-") => To::Namesrv,
                _ => continue,
            };
            seeds.push((to, fs::read(file.path()).expect("a frame")));
        }
    }
    assert!(seeds.len() > 80, "only {} golden requests", seeds.len());
    // Large ones would only be slow.
    seeds.extend(
        all().into_iter().map(|case| (case.to, case.pieces.concat())).filter(|(_, bytes)| bytes.len() < 4096),
    );
    // The order of a directory is the system's; a seed must choose the same frames everywhere.
    seeds.sort_by(|(_, a), (_, b)| a.cmp(b));
    seeds
}

/// Changes a frame. Most keep the length fields right, so that the change reaches the parts behind them.
fn mutate(bytes: &mut Vec<u8>, random: &mut Rng) {
    const NUMBERS: [&[u8]; 12] = [
        b"-1",
        b"0",
        b"2147483647",
        b"-2147483648",
        b"9223372036854775807",
        b"4294967296",
        b"null",
        b"{}",
        b"[]",
        b"\"\"",
        b"1e9",
        b"true",
    ];
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        match random.below(7) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
            1 if !bytes.is_empty() => bytes[at] = random.next_u64() as u8,
            2 => bytes.truncate(at),
            3 => {
                let end = (at + random.below(32)).min(bytes.len());
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            4 => {
                let end = (at + random.below(8)).min(bytes.len());
                bytes.drain(at..end);
            }
            5 => {
                let number = NUMBERS[random.below(NUMBERS.len())];
                let digits =
                    bytes[at.min(bytes.len())..].iter().position(u8::is_ascii_digit).map(|from| from + at);
                if let Some(from) = digits {
                    let run = bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
                    bytes.splice(from..from + run, number.iter().copied());
                }
            }
            _ => {
                let value = [i32::MIN, -1, 0, 1, i32::MAX][random.below(5)].to_be_bytes();
                if let Some(place) = bytes.get_mut(at..at + 4) {
                    place.copy_from_slice(&value);
                }
            }
        }
    }
    if random.below(8) > 0 && bytes.len() >= 8 {
        repair(bytes);
    }
}

/// Makes the total length right, and the header's if it no longer fits.
fn repair(bytes: &mut [u8]) {
    let total = (bytes.len() - 4) as u32;
    bytes[..4].copy_from_slice(&total.to_be_bytes());
    let header = u32::from_be_bytes([0, bytes[5], bytes[6], bytes[7]]).min(total - 4);
    bytes[4] &= 1;
    bytes[5..8].copy_from_slice(&header.to_be_bytes()[1..]);
}

#[test]
fn random_changes_of_real_frames_do_no_harm() {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let seconds = number("KEROLOX_MUTATE_SECONDS").unwrap_or(3);
    let fresh = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_nanos() as u64);
    // Short runs are the gate's and always the same; long ones look for something new.
    let seed =
        number("KEROLOX_MUTATE_SEED").unwrap_or_else(|| if seconds > 3 { fresh() } else { 20_240_613 });
    println!("KEROLOX_MUTATE_SEED={seed}");
    let mut random = Rng::new(seed);
    let seeds = seeds();
    let dir = Dir::new();
    let mut target = Target::start(&dir);
    let before = target.dev.server.anonymous_bytes();
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut tried = 0u64;
    while Instant::now() < until {
        let (to, frame) = &seeds[random.below(seeds.len())];
        let mut sent = Vec::new();
        for _ in 0..=random.below(3) {
            let mut frame = frame.clone();
            mutate(&mut frame, &mut random);
            sent.extend_from_slice(&frame);
            tried += 1;
        }
        let mut wire = Wire::connect(target.addr(*to));
        wire.send(&sent);
        wire.finish();
        // Answers are looked at only for being frames; the end comes once all are written.
        while wire.next().is_some() {}
        if let Err(why) = target.is_well_at_all(*to) {
            panic!("seed {seed}, after {tried} frames: {why}; the last bytes were {sent:02x?}");
        }
    }
    let grown = target.dev.server.anonymous_bytes().saturating_sub(before);
    println!("{tried} changed frames, {} MiB more memory", grown >> 20);
    assert!(tried > 100, "only {tried} frames");
    assert!(grown < 2 * super::GROWTH_MAX, "memory grew by {grown} bytes");
    super::restart_and_check(target, &dir);
}

impl Target {
    /// A changed frame may well have deleted the topic or taken a permission: any answer is a sign of life.
    fn is_well_at_all(&mut self, to: To) -> Result<(), String> {
        if !self.dev.server.is_running() {
            return Err(format!("the server is gone: {:#?}", self.dev.server.log()));
        }
        let mut wire = Wire::connect(self.addr(to));
        wire.send(&super::good(to));
        wire.next().map(drop).ok_or_else(|| "the good request got no answer".to_owned())
    }
}
