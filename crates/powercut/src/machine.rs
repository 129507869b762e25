//! A machine with one disk: ext4 on a loop device on our file system, and a boot id.
//!
//! Owns the mounts and what must be undone when the power goes. Knows nothing of brokers. To be used inside a
//! [`Room`](crate::isolate::Room): the boot id of the whole namespace is ours.

use crate::{fuse::image::Image, isolate::tool, platter::Platter};
use anyhow::{Context, Result, bail};
use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

/// Where processes ask whether this is still the boot they knew.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Longest wait until the file system lets go of a dead disk.
const PATIENCE: Duration = Duration::from_secs(20);

/// A machine whose power can be cut.
pub struct Machine {
    dir: PathBuf,
    platter: Arc<Platter>,
    image: Image,
    /// A new file system.
    blank: Vec<u8>,
    boots: u64,
}

impl Machine {
    /// Builds one in a directory, with a disk of so many bytes; its power is on, its file system not mounted.
    pub fn new(dir: &Path, bytes: u64) -> Result<Machine> {
        let blank = blank(&dir.join("blank"), bytes)?;
        let platter = Arc::new(Platter::new(blank.clone()));
        let image = Image::mount(platter.clone(), &dir.join("device"))?;
        std::fs::create_dir_all(dir.join("root"))?;
        let machine = Machine { dir: dir.to_owned(), platter, image, blank, boots: 0 };
        std::fs::write(machine.boot_id(), "")?;
        run(tool("mount").arg("--bind").arg(machine.boot_id()).arg(BOOT_ID))?;
        Ok(machine)
    }

    /// Its disk.
    pub fn platter(&self) -> &Platter {
        &self.platter
    }

    /// Its disk, for another thread.
    pub fn platter_handle(&self) -> Arc<Platter> {
        self.platter.clone()
    }

    /// Where its file system is when it is mounted.
    pub fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// Makes its disk a new one. Not while it is mounted.
    pub fn new_disk(&self) {
        self.platter.replace(&self.blank);
    }

    /// Boots it: gives it power and a boot id, and mounts its file system, which replays its journal.
    pub fn boot(&mut self) -> Result<()> {
        self.boots += 1;
        std::fs::write(self.boot_id(), format!("00000000-0000-4000-8000-{:012x}\n", self.boots))?;
        self.platter.power_on();
        run(tool("mount")
            .args(["-t", "ext4", "-o", "loop,errors=remount-ro,noatime"])
            .arg(self.image.path())
            .arg(self.root()))
    }

    /// Takes the file system away, after a cut as well as in order. Nothing may use it any more.
    pub fn halt(&self) -> Result<()> {
        let began = Instant::now();
        while let Err(why) = run(tool("umount").arg(self.root())) {
            // What held it was killed a moment ago.
            if began.elapsed() > PATIENCE {
                return Err(why);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Looks at the file system of a machine that was halted in order: a disk that breaks ext4 would break more
    /// than it may.
    pub fn check_file_system(&self) -> Result<()> {
        let copy = self.dir.join("checked");
        self.platter.save(&copy)?;
        run(tool("e2fsck").args(["-f", "-n"]).arg(&copy)).context("the disk broke its file system")?;
        Ok(std::fs::remove_file(copy)?)
    }

    /// Share of its mounted file system that is used.
    pub fn used_percent(&self) -> Result<u64> {
        let found = rustix::fs::statvfs(self.root()).context("look at the file system")?;
        Ok((found.f_blocks - found.f_bfree) * 100 / found.f_blocks.max(1))
    }

    /// Where its boot id is written.
    fn boot_id(&self) -> PathBuf {
        self.dir.join("boot_id")
    }
}

/// A new file system's bytes.
fn blank(path: &Path, bytes: u64) -> Result<Vec<u8>> {
    std::fs::File::create(path).and_then(|file| file.set_len(bytes)).context("make the disk")?;
    run(tool("mkfs.ext4")
        .args(["-q", "-F", "-b", "4096", "-m", "0", "-J", "size=4"])
        .args(["-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"])
        .arg(path))?;
    let blank = std::fs::read(path)?;
    std::fs::remove_file(path)?;
    Ok(blank)
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("start {command:?}"))?;
    if !output.status.success() {
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        bail!("{command:?}: {}: {out}{err}", output.status);
    }
    Ok(())
}
