//! A room of its own for a campaign: mounts, loop devices and processes that end with it, however it ends.
//!
//! Owns the question whether this system can cut its power at all, and the mount and process namespaces in which
//! that is done. When the process inside ends, or the one outside does (interrupted or killed), the kernel ends
//! all processes of the room, then its mounts, then the loop devices under them: nothing is left to clean.

use anyhow::{Context, Result};
use std::{
    ffi::OsStr,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
};

/// Set in the environment of what runs inside.
const INSIDE: &str = "KEROLOX_POWERCUT_INSIDE";
/// Names the directory for what runs inside.
pub const DIR: &str = "KEROLOX_POWERCUT_DIR";
/// Exit status inside when the process outside is gone.
const ABANDONED: i32 = 3;
/// Programs that are needed, and the Debian package of each.
const TOOLS: [(&str, &str); 5] = [
    ("unshare", "util-linux"),
    ("mount", "mount"),
    ("umount", "mount"),
    ("losetup", "mount"),
    ("mkfs.ext4", "e2fsprogs"),
];

/// What is missing here to cut the power, with what to do about it; empty if nothing is.
pub fn missing() -> Vec<String> {
    let mut missing = Vec::new();
    if !rustix::process::geteuid().is_root() {
        missing.push("root: run as root, since file systems are mounted".to_owned());
    }
    for device in ["/dev/fuse", "/dev/loop-control"] {
        let opened = std::fs::OpenOptions::new().read(true).write(true).open(device);
        if let Err(why) = opened {
            missing.push(format!(
                "{device} ({why}): load the kernel's module, or give the container the device"
            ));
        }
    }
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    for file_system in ["ext4", "fuse"] {
        if !known.split_whitespace().any(|word| word == file_system) {
            missing.push(format!("{file_system} in /proc/filesystems: `modprobe {file_system}`"));
        }
    }
    for (tool, package) in TOOLS {
        if find(tool).is_none() {
            missing.push(format!("{tool}: install the package {package}"));
        }
    }
    missing
}

/// Where a program is. Administrators' directories are looked at too: not every root has them in `PATH`.
fn find(tool: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(usual).map(|dir| dir.join(tool)).find(|file| file.is_file())
}

/// A command for one of the tools.
pub(crate) fn tool(name: &str) -> Command {
    Command::new(find(name).unwrap_or_else(|| name.into()))
}

/// Something that runs inside.
pub struct Room {
    child: Child,
    /// Closed when this process ends, which tells the one inside.
    _held: Option<ChildStdin>,
}

impl Room {
    /// Runs a program inside, for a directory that it finds in [`DIR`]; what it says goes to a file, or where
    /// ours goes.
    pub fn open<A: AsRef<OsStr>>(
        program: &Path,
        args: impl IntoIterator<Item = A>,
        dir: &Path,
        said: Option<&Path>,
    ) -> Result<Room> {
        let mut command = tool("unshare");
        if let Some(said) = said {
            let file = File::create(said).with_context(|| format!("make {}", said.display()))?;
            command.stdout(file.try_clone()?).stderr(file);
        }
        let mut child = command
            .args([
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "--propagation",
                "private",
                "--",
            ])
            .arg(program)
            .args(args)
            .env(INSIDE, "1")
            .env(DIR, dir)
            .stdin(Stdio::piped())
            .spawn()
            .context("start unshare")?;
        let held = child.stdin.take();
        Ok(Room { child, _held: held })
    }

    /// Waits until it has ended by itself; whether all went well.
    pub fn wait(mut self) -> Result<bool> {
        Ok(self.child.wait().context("wait for what runs inside")?.success())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // Ended already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether this process is one that runs inside. If so it ends, from now on, when the one outside does.
pub fn is_inside() -> bool {
    let is_inside = std::env::var_os(INSIDE).is_some();
    if is_inside {
        std::thread::spawn(|| {
            // The end of the pipe, whatever comes before it.
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            std::process::exit(ABANDONED);
        });
    }
    is_inside
}
