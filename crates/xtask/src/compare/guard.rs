//! What keeps a comparison honest and the machine clean: room on the disk, memory that is really there, and servers
//! that end with this process however it ends.
//!
//! Knows processes by number and directories by name; knows no row.

use anyhow::{Context, Result, bail};
use std::{
    fs::File,
    io::{Read, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{ChildStdin, Command, Stdio},
    sync::{Mutex, PoisonError},
};

/// Kills what it was told of when its input ends, as it does when the process that started it is gone. `SIGKILL`
/// also ends what `SIGSTOP` has stopped.
const GUARDIAN: &str = r#"
trap '' INT TERM HUP
words=
while read -r verb word; do
  case $verb in
    add) words="$words $word" ;;
    gone) words=$(for w in $words; do [ "$w" = "$word" ] || printf ' %s' "$w"; done) ;;
  esac
done
for w in $words; do
  if [ -d "$w" ]; then
    for f in "$w"/*.pid; do [ -e "$f" ] && kill -KILL "$(cat "$f")"; done
  else
    kill -KILL "$w"
  fi
done 2>/dev/null
"#;

static TOLD: Mutex<Option<ChildStdin>> = Mutex::new(None);

/// From now on `word` ends with this process: a process by its number, or those named by `*.pid` in a directory.
pub fn watch(word: &str) -> Result<()> {
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    if told.is_none() {
        let mut child = Command::new("sh")
            .args(["-c", GUARDIAN])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .context("start the guardian")?;
        *told = child.stdin.take();
    }
    let input = told.as_mut().context("the guardian's input")?;
    writeln!(input, "add {word}").context("tell the guardian")
}

/// `word` has ended.
pub fn forget(word: &str) {
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(input) = told.as_mut() {
        // Without a guardian there is nobody to tell.
        let _ = writeln!(input, "gone {word}");
    }
}

/// Share of the disk, percent, at which brokers begin to delete what nobody has read.
const CLEANED_PERCENT: u64 = 85;

/// Refuses a row for which the disk has no room.
pub fn room(dir: &Path, row: &str, gib: u64) -> Result<()> {
    let (used, free) = disk_gib(dir)?;
    let percent = (used + gib) * 100 / (used + free).max(1);
    if free < gib || percent >= CLEANED_PERCENT {
        bail!(
            "{row} needs {gib} GiB of free disk in {}, and at {CLEANED_PERCENT} % of use brokers delete files: {free} \
             GiB are free, {used} used. Make room or name another place with --dir",
            dir.display()
        );
    }
    Ok(())
}

/// GiB in use, and GiB that may still be used.
fn disk_gib(dir: &Path) -> Result<(u64, u64)> {
    let output =
        Command::new("df").args(["--output=used,avail", "-B1G"]).arg(dir).output().context("run df")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut words = text.lines().nth(1).unwrap_or_default().split_whitespace().map(str::parse);
    match (words.next(), words.next()) {
        (Some(Ok(used)), Some(Ok(free))) => Ok((used, free)),
        _ => bail!("df told no room for {}", dir.display()),
    }
}

/// Memory that a virtual machine gave back to its host is slow at its first touch, and a page cache that grows
/// touches it all the time. While this lives, the page cache is full of pages that can be taken at once: those of a
/// file without blocks, which costs no disk.
pub struct Filled(PathBuf);

impl Filled {
    /// Fills what is free but for a rest.
    pub fn new(dir: &Path) -> Result<Filled> {
        const REST_MIB: u64 = 1024;
        let meminfo = std::fs::read_to_string("/proc/meminfo")?;
        let free_kib = meminfo
            .lines()
            .find_map(|line| line.strip_prefix("MemFree:")?.split_whitespace().next()?.parse::<u64>().ok())
            .context("MemFree")?;
        let mib = (free_kib / 1024).saturating_sub(REST_MIB);
        let filled = Filled(dir.join("memory.fill"));
        let file = File::create(&filled.0).with_context(|| format!("create {}", filled.0.display()))?;
        file.set_len(mib << 20)?;
        let mut file = File::open(&filled.0)?;
        let mut block = vec![0; 1 << 20];
        while file.read(&mut block)? > 0 {}
        println!("   {mib} MiB of memory touched");
        Ok(filled)
    }
}

impl Drop for Filled {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Takes the files below a directory out of the page cache, once they are on the disk.
pub fn drop_cached(dir: &Path) -> Result<()> {
    let mut entries: Vec<PathBuf> = vec![dir.to_owned()];
    Command::new("sync").status().context("run sync")?;
    while let Some(path) = entries.pop() {
        if path.is_dir() {
            for entry in std::fs::read_dir(&path)? {
                entries.push(entry?.path());
            }
        } else if std::fs::metadata(&path).is_ok_and(|found| found.len() > 0) {
            let (input, how) =
                (format!("if={}", path.display()), ["iflag=nocache", "count=0", "status=none"]);
            Command::new("dd").arg(input).args(how).stdout(Stdio::null()).status().context("run dd")?;
        }
    }
    Ok(())
}

/// MB per second at which files that are not in memory are read: the first past the page cache, the second through it.
/// Not the same one: what lies below this machine remembers what it has just read.
pub fn read_limit(one: &Path, other: &Path) -> Result<(f64, f64)> {
    let rate = |file: &Path, flag: &str, block: &str| -> Result<f64> {
        let began = std::time::Instant::now();
        let input = format!("if={}", file.display());
        let mut dd = Command::new("dd");
        dd.arg(input).args(["of=/dev/null", block, "count=1024M", "status=none"]).arg(flag);
        if !dd.status().context("run dd")?.success() {
            bail!("dd cannot read {}", file.display());
        }
        let bytes = std::fs::metadata(file)?.len().min(1 << 30);
        Ok(bytes as f64 / began.elapsed().as_secs_f64() / 1e6)
    };
    let direct = rate(one, "iflag=count_bytes,direct", "bs=8M")?;
    let buffered = rate(other, "iflag=count_bytes", "bs=1M")?;
    drop_cached(other)?;
    Ok((direct, buffered))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_without_room_is_refused_with_the_figures() {
        let dir = std::env::temp_dir();
        let (used, free) = disk_gib(&dir).unwrap();
        assert!(used + free > 0);
        let refusal = room(&dir, "P11", 1 << 30).unwrap_err().to_string();
        assert!(refusal.contains("P11 needs 1073741824 GiB"), "{refusal}");
    }
}
