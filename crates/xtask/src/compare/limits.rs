//! Limits of the disk, measured between the pairs.

use anyhow::{Context, Result};
use std::{fs::File, os::unix::fs::FileExt, path::Path, time::Instant};

const BLOCK: usize = 4096;
const FILE_BYTES: usize = 16 << 20;
const ROUNDS: usize = 1500;

/// Syncs per second of 4 KiB each into a file whose blocks are written: what one group commit can cost at best.
pub fn fdatasync(dir: &Path) -> Result<f64> {
    let path = dir.join("fdatasync.probe");
    let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    let zeros = vec![0; 1 << 20];
    for at in (0..FILE_BYTES).step_by(zeros.len()) {
        file.write_all_at(&zeros, at as u64)?;
    }
    file.sync_all()?;
    let began = Instant::now();
    for n in 0..ROUNDS {
        file.write_all_at(&[1; BLOCK], (n * BLOCK % FILE_BYTES) as u64)?;
        file.sync_data()?;
    }
    let rate = ROUNDS as f64 / began.elapsed().as_secs_f64();
    std::fs::remove_file(&path)?;
    Ok(rate)
}
