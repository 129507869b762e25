//! The release: one binary that needs nothing of the system, laid out as operators know it.
//!
//! ```text
//! target/dist/kerolox-VERSION/
//!   bin/kerolox                      the program
//!   bin/mqnamesrv, mqbroker, mqadmin, mqshutdown
//!                                    links to it: it answers to those names
//!   conf/                            samples, from dist/conf
//!   LICENSE, README.md
//! ```
//! Owns the layout. Knows the name of the binary and nothing of what it does.

use crate::run;
use anyhow::{Context, Result, bail};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Names that the binary answers to besides its own.
const NAMES: [&str; 4] = ["mqnamesrv", "mqbroker", "mqadmin", "mqshutdown"];

/// Builds the release and says where it is, how large, and what it links to.
pub fn build() -> Result<()> {
    let target = target();
    // The C library goes into the binary, so that it runs on any Linux of its architecture, in an empty
    // container too. The target is named, for otherwise the flag would reach procedural macros, which
    // are libraries that the compiler loads.
    let flags = format!("{} -C target-feature=+crt-static", std::env::var("RUSTFLAGS").unwrap_or_default());
    let args = ["build", "--release", "--locked", "--package", "kerolox", "--target", &target];
    run::cargo_with_env(&args, &[("RUSTFLAGS", flags.trim())])?;
    let built = run::target_dir().join(&target).join("release/kerolox");
    let dir = lay_out(&built, &version(&built)?, &run::target_dir().join("dist"))?;
    report(&dir.join("bin/kerolox"))?;
    println!("{}", dir.display());
    Ok(())
}

fn target() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

/// What the binary says it is, which also shows that it runs.
fn version(binary: &Path) -> Result<String> {
    let output = Command::new(binary).arg("--version").output().context("run the binary")?;
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = words.trim().strip_prefix("kerolox ").filter(|_| output.status.success());
    version.map(str::to_owned).with_context(|| format!("{} does not say its version", binary.display()))
}

/// Lays out the release anew; its directory.
fn lay_out(binary: &Path, version: &str, below: &Path) -> Result<PathBuf> {
    let dir = below.join(format!("kerolox-{version}"));
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))?;
    }
    fs::create_dir_all(dir.join("bin"))?;
    let program = dir.join("bin/kerolox");
    fs::copy(binary, &program).with_context(|| format!("copy {}", binary.display()))?;
    for name in NAMES {
        // Relative, so that the directory can be moved.
        std::os::unix::fs::symlink("kerolox", dir.join("bin").join(name))?;
    }
    copy_all(Path::new("dist/conf"), &dir.join("conf"))?;
    for file in ["LICENSE", "README.md"] {
        fs::copy(file, dir.join(file)).with_context(|| format!("copy {file}"))?;
    }
    Ok(dir)
}

fn copy_all(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("list {}", from.display()))? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_all(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), &to)?;
        }
    }
    Ok(())
}

/// Prints the size and refuses a binary that needs a library of the system.
fn report(binary: &Path) -> Result<()> {
    let bytes = fs::metadata(binary)?.len();
    println!("{bytes} bytes ({:.1} MiB)", bytes as f64 / f64::from(1 << 20));
    // For a static binary the status of `ldd` differs between systems; its words do not.
    let ldd = Command::new("ldd").arg(binary).output().context("run ldd")?;
    let words = [ldd.stdout, ldd.stderr].concat();
    let words = String::from_utf8_lossy(&words);
    println!("ldd: {}", words.trim());
    if words.contains("=>") {
        bail!("{} is not static", binary.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_has_links_that_move_with_it_and_all_samples() {
        std::env::set_current_dir(crate::root()).unwrap();
        let below = std::env::temp_dir().join(format!("kerolox-dist-{}", std::process::id()));
        let dir = lay_out(Path::new("README.md"), "1.2.3", &below).unwrap();
        let again = lay_out(Path::new("README.md"), "1.2.3", &below).unwrap();
        assert_eq!((&dir, &again), (&below.join("kerolox-1.2.3"), &dir));
        let moved = below.join("moved");
        fs::rename(&dir, &moved).unwrap();
        for name in NAMES {
            assert_eq!(fs::read(moved.join("bin").join(name)).unwrap(), fs::read("README.md").unwrap());
        }
        for file in ["conf/broker.conf", "conf/2m-noslave/broker-a.properties", "LICENSE"] {
            assert!(moved.join(file).is_file(), "{file}");
        }
        fs::remove_dir_all(below).unwrap();
    }
}
