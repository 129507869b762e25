//! The few files of a name server, and the jobs that write them.
//!
//! Owns how a small file is read and replaced. Knows nothing of what is in it. The service only ever sees
//! [`Files`], so that tests and the simulator keep files in memory and make them fail.

use kerolox_net::service::{Job, Lane};
use std::{
    collections::BTreeMap,
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// Small text files.
pub trait Files: Send + Sync + fmt::Debug {
    /// The whole text; `None` when there is no such file.
    fn read(&self, path: &Path) -> io::Result<Option<String>>;
    /// Replaces the whole text, durably: after an error or a crash either the old or the new text is there.
    fn replace(&self, path: &Path, text: &str) -> io::Result<()>;
}

/// Which of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The key-value configuration.
    Kv,
    /// The settings that were changed by requests.
    Settings,
}

/// Writes one file, on a thread that may block.
#[derive(Debug)]
pub struct Save {
    pub(crate) files: Arc<dyn Files>,
    pub(crate) what: What,
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

/// A [`Save`] has run.
#[derive(Debug)]
pub struct Saved {
    pub(crate) what: What,
    pub(crate) result: Result<(), String>,
}

impl Job for Save {
    type Done = Saved;

    fn lane(&self) -> Lane {
        Lane::Background
    }

    fn run(self) -> Saved {
        let result = if self.path.as_os_str().is_empty() {
            let key = match self.what {
                What::Kv => "kvConfigPath",
                What::Settings => "configStorePath",
            };
            Err(format!("{key} is not set"))
        } else {
            let result = self.files.replace(&self.path, &self.text);
            result.map_err(|why| format!("{}: {why}", self.path.display()))
        };
        Saved { what: self.what, result }
    }
}

/// Files of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealFiles;

#[expect(
    clippy::disallowed_methods,
    reason = "the one place of this crate that touches files, behind the trait"
)]
impl Files for RealFiles {
    fn read(&self, path: &Path) -> io::Result<Option<String>> {
        match std::fs::read_to_string(path) {
            Ok(text) => Ok(Some(text)),
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(why) => Err(why),
        }
    }

    fn replace(&self, path: &Path, text: &str) -> io::Result<()> {
        use io::Write;
        let dir = match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        std::fs::create_dir_all(dir)?;
        let mut aside = path.as_os_str().to_owned();
        aside.push(".tmp");
        // Write aside, sync, rename, sync the directory: a crash at any point leaves one whole file.
        let mut file = std::fs::File::create(&aside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&aside, path)?;
        std::fs::File::open(dir)?.sync_all()
    }
}

/// Files in memory, for tests and the simulator.
#[derive(Debug, Default)]
pub struct MemoryFiles(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    files: BTreeMap<PathBuf, String>,
    failing: bool,
}

impl MemoryFiles {
    /// Makes every replacement fail, as a full disk does, or work again.
    pub fn set_failing(&self, failing: bool) {
        self.lock().failing = failing;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Files for MemoryFiles {
    fn read(&self, path: &Path) -> io::Result<Option<String>> {
        Ok(self.lock().files.get(path).cloned())
    }

    fn replace(&self, path: &Path, text: &str) -> io::Result<()> {
        let mut memory = self.lock();
        if memory.failing {
            return Err(io::ErrorKind::StorageFull.into());
        }
        memory.files.insert(path.to_owned(), text.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "looks at what the real implementation left")]
    fn a_file_is_replaced_as_a_whole_in_a_directory_that_is_made() {
        let dir = std::env::temp_dir().join(format!("kerolox-namesrv-disk-{}", std::process::id()));
        let path = dir.join("deep/kvConfig.json");
        assert_eq!(RealFiles.read(&path).unwrap(), None);
        for text in ["a longer first text", "short"] {
            RealFiles.replace(&path, text).unwrap();
            assert_eq!(RealFiles.read(&path).unwrap().as_deref(), Some(text));
        }
        let names: Vec<_> =
            std::fs::read_dir(dir.join("deep")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["kvConfig.json"], "nothing is left aside");
        // A directory at the place of the file: an error, and nothing is lost.
        assert!(RealFiles.replace(&dir.join("deep"), "x").is_err());
        assert_eq!(RealFiles.read(&path).unwrap().as_deref(), Some("short"));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
