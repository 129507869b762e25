//! The repository's own rules, as code: what no lint of the compiler can see.
//!
//! * dependency arrows between crates are those of `ARCHITECTURE.md`;
//! * every module opens by saying what it owns;
//! * crates that decide something carry their list of banned calls;
//! * no file grows beyond the ratchet without being named here.

use crate::run::Count;
use anyhow::{Context, Result, bail};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Which of our crates each crate may use. An arrow that is not here is refused; adding one is a decision.
const ARROWS: &[(&str, &[&str])] = &[
    ("planted", &[]),
    ("protocol", &[]),
    ("said", &[]),
    ("config", &[]),
    ("filter", &["protocol"]),
    ("store", &["planted", "protocol"]),
    ("net", &["protocol"]),
    ("namesrv", &["config", "net", "planted", "protocol"]),
    ("broker", &["config", "filter", "net", "planted", "protocol", "store"]),
    ("client", &["protocol"]),
    ("admin", &["client", "protocol"]),
    ("bench", &["protocol"]),
    ("sim", &["broker", "config", "filter", "namesrv", "net", "protocol", "said", "store"]),
    ("kerolox", &["admin", "bench", "broker", "config", "namesrv", "net", "protocol", "store"]),
    ("crash", &["protocol", "store"]),
    ("powercut", &["crash", "store"]),
    ("smoke", &[]),
    ("xtask", &[]),
];

/// Crates that decide: they may read no clock, no randomness, no file and spawn nothing by themselves.
const DECIDING: &[&str] = &["protocol", "config", "filter", "store", "namesrv", "broker", "sim"];

/// Beyond this a file is probably two rooms.
const LINES_MAX: usize = 1200;

/// Checks every rule; the count has one entry per rule and file.
pub fn check(root: &Path) -> Result<Count> {
    let mut findings = Vec::new();
    let mut passed = 0;
    for (name, allowed) in ARROWS {
        passed += 1;
        findings.extend(arrows(root, name, allowed)?);
    }
    for name in DECIDING {
        passed += 1;
        findings.extend(bans(root, name)?);
    }
    for file in sources(&root.join("crates"))? {
        passed += 1;
        let text = fs::read_to_string(&file)?;
        let shown = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        findings.extend(module_head(&shown, &text));
        findings.extend(too_long(&shown, &text));
    }
    findings.extend(crates_without_arrows(root)?);
    for finding in &findings {
        println!("tidy: {finding}");
    }
    let failed = findings.len() as u64;
    Ok(Count { passed: u64::saturating_sub(passed, failed), failed, skipped: 0 })
}

/// Whether a crate that decides has the list of bans, and no other.
fn bans(root: &Path, name: &str) -> Result<Option<String>> {
    let list = root.join("crates/deciding.clippy.toml");
    let wanted = fs::read_to_string(&list).with_context(|| format!("read {}", list.display()))?;
    let has = fs::read_to_string(root.join("crates").join(name).join("clippy.toml")).ok();
    let wrong = has.as_ref() != Some(&wanted);
    Ok(wrong.then(|| {
        format!("crates/{name}/clippy.toml is not a link to ../deciding.clippy.toml, the list of bans")
    }))
}

fn arrows(root: &Path, name: &str, allowed: &[&str]) -> Result<Vec<String>> {
    let manifest = root.join("crates").join(name).join("Cargo.toml");
    let text = fs::read_to_string(&manifest).with_context(|| format!("read {}", manifest.display()))?;
    let used = dependencies(&text);
    Ok(used
        .into_iter()
        .filter(|used| !allowed.contains(&used.as_str()))
        .map(|used| format!("crates/{name} depends on {used}: that arrow is not in the architecture"))
        .collect())
}

/// Our crates that a manifest names outside its dev-dependencies.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut section = "";
    let mut found = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        } else if section == "[dependencies]"
            && let Some(rest) = line.strip_prefix("kerolox-")
            && let Some(end) = rest.find(['.', ' ', '='])
        {
            found.push(rest[..end].to_owned());
        }
    }
    found
}

fn crates_without_arrows(root: &Path) -> Result<Vec<String>> {
    let known: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    let mut findings = Vec::new();
    for entry in fs::read_dir(root.join("crates"))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() && !known.contains_key(name.as_str()) {
            findings.push(format!("crates/{name} has no row in the table of arrows"));
        }
    }
    Ok(findings)
}

fn module_head(shown: &str, text: &str) -> Option<String> {
    let is_test = shown.contains("/tests/") || shown.contains("/examples/") || shown.contains("/benches/");
    let headed = text.starts_with("//!") || text.starts_with("#!") || text.trim().is_empty();
    (!headed && !is_test).then(|| format!("{shown} does not open by saying what it owns (//!)"))
}

fn too_long(shown: &str, text: &str) -> Option<String> {
    let lines = text.lines().count();
    (lines > LINES_MAX).then(|| format!("{shown} has {lines} lines: is it one room with one owner?"))
}

fn sources(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            if !path.ends_with("target") {
                found.extend(sources(&path)?);
            }
        } else if path.extension().is_some_and(|ext| ext == "rs") {
            found.push(path);
        }
    }
    if found.is_empty() && dir.ends_with("crates") {
        bail!("no sources below {}", dir.display());
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forbidden_arrow_is_seen_and_a_test_dependency_is_none() {
        let manifest = "[package]\nname = \"kerolox-store\"\n[dependencies]\nkerolox-net.workspace = true\n\
            kerolox-protocol = { path = \"x\" }\n[dev-dependencies]\nkerolox-sim.workspace = true\n";
        assert_eq!(dependencies(manifest), ["net", "protocol"]);
    }

    #[test]
    fn another_list_of_bans_is_seen_and_a_missing_one_too() {
        let root = std::env::temp_dir().join(format!("kerolox-tidy-{}", std::process::id()));
        for name in ["same", "other", "none"] {
            fs::create_dir_all(root.join("crates").join(name)).unwrap();
        }
        fs::write(root.join("crates/deciding.clippy.toml"), "a = 1\n").unwrap();
        fs::write(root.join("crates/same/clippy.toml"), "a = 1\n").unwrap();
        fs::write(root.join("crates/other/clippy.toml"), "").unwrap();
        let found = ["same", "other", "none"].map(|name| bans(&root, name).unwrap().is_some());
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(found, [false, true, true]);
    }

    #[test]
    fn a_module_without_a_head_is_named() {
        assert!(module_head("crates/x/src/a.rs", "use std::fmt;\n").is_some());
        assert!(module_head("crates/x/src/a.rs", "//! Owns x.\n").is_none());
    }
}
