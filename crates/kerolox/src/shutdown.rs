//! `mqshutdown broker|namesrv`: tells running servers of this user to stop.
//!
//! Owns telling our servers from other processes, by the words they were started with, as the original's script does.
//! Knows nothing of what a server does when it is told. Only processes of the user who asks are looked at, root's
//! included: what another user runs is not ours to stop.

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, geteuid, getpid, kill_process};
use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

/// Where the system shows its processes.
const PROC: &str = "/proc";
/// What the original's script ends with when nothing runs.
const NOTHING_RUNS: i32 = 255;

/// Runs as the original's script; lines and exit status are its own.
pub fn run(words: &[String]) -> Result<()> {
    let Some(name) = words.first().and_then(|word| server_name(word)) else {
        println!("Useage: mqshutdown broker | namesrv");
        return Ok(());
    };
    let found = running(Path::new(PROC), name)
        .with_context(|| format!("look for {name} in {PROC}; mount it, or send the signal with kill"))?;
    if found.is_empty() {
        println!("No {name} running.");
        std::process::exit(NOTHING_RUNS);
    }
    let shown = found.iter().map(|pid| pid.as_raw_nonzero().to_string()).collect::<Vec<_>>().join(" ");
    println!("The {name}({shown}) is running...");
    stop(&found, name)?;
    println!("Send shutdown request to {name}({shown}) OK");
    Ok(())
}

/// The server that a word of the script means.
fn server_name(word: &str) -> Option<&'static str> {
    match word {
        "broker" => Some("mqbroker"),
        "namesrv" => Some("mqnamesrv"),
        _ => None,
    }
}

/// Processes of this user that were started as that server, by number.
fn running(proc: &Path, name: &str) -> io::Result<Vec<Pid>> {
    let (me, user) = (getpid(), geteuid().as_raw());
    let mut found = Vec::new();
    for entry in fs::read_dir(proc)? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw)
        else {
            continue;
        };
        // A process may be gone by now; then it need not be stopped.
        let Ok(owner) = entry.metadata().map(|entry| entry.uid()) else { continue };
        let Ok(words) = fs::read(entry.path().join("cmdline")) else { continue };
        if owner == user && pid != me && server_of(&words) == Some(name) {
            found.push(pid);
        }
    }
    found.sort_unstable_by_key(|pid| pid.as_raw_nonzero());
    Ok(found)
}

/// Which server a process is, by the words it was started with, each ended by a zero byte.
fn server_of(words: &[u8]) -> Option<&'static str> {
    let mut words = words.split(|byte| *byte == 0).filter_map(|word| std::str::from_utf8(word).ok());
    let program = Path::new(words.next()?).file_name()?.to_str()?;
    let name = if program == "kerolox" { words.next()? } else { program };
    match name {
        "mqbroker" => Some("mqbroker"),
        "mqnamesrv" => Some("mqnamesrv"),
        "broker" if program == "kerolox" => Some("mqbroker"),
        "namesrv" if program == "kerolox" => Some("mqnamesrv"),
        _ => None,
    }
}

fn stop(found: &[Pid], name: &str) -> Result<()> {
    for pid in found {
        match kill_process(*pid, Signal::TERM) {
            // It ended by itself meanwhile.
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(why) => {
                return Err(io::Error::from(why))
                    .with_context(|| format!("send the signal to {name}({})", pid.as_raw_nonzero()));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        os::unix::process::{CommandExt, ExitStatusExt},
        process::{Child, Command, Stdio},
    };

    /// Waits for input that does not come, under the name of a server.
    fn pretend(name: &str) -> Child {
        let mut cat = Command::new("cat");
        let child = cat.arg0(name).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("cat");
        // It runs before the system tells its words.
        let words = Path::new(PROC).join(child.id().to_string()).join("cmdline");
        while std::fs::read(&words).is_ok_and(|words| words.is_empty()) {
            std::thread::yield_now();
        }
        child
    }

    fn pid_of(child: &Child) -> Pid {
        Pid::from_child(child)
    }

    #[test]
    fn a_server_is_told_by_its_first_words() {
        let server = |words: &[&str]| server_of((words.join("\0") + "\0").as_bytes());
        for broker in [
            &["/opt/kerolox/bin/mqbroker", "-n", "a:9876"][..],
            &["mqbroker"],
            &["kerolox", "mqbroker", "-c", "x"],
            &["./kerolox", "broker"],
        ] {
            assert_eq!(server(broker), Some("mqbroker"), "{broker:?}");
        }
        assert_eq!(server(&["/bin/kerolox", "namesrv"]), Some("mqnamesrv"));
        assert_eq!(server(&["mqnamesrv"]), Some("mqnamesrv"));
        for other in [
            &["sh", "bin/mqbroker"][..],
            &["vim", "mqbroker"],
            &["kerolox", "dev"],
            &["kerolox"],
            &["broker"],
            &["mqshutdown", "broker"],
            &["kerolox", "mqshutdown", "broker"],
            &[""],
        ] {
            assert_eq!(server(other), None, "{other:?}");
        }
        assert_eq!(server_of(b""), None);
        assert_eq!(server_of(b"\xff\0broker\0"), None);
    }

    #[test]
    fn a_running_server_is_found_and_ends_by_the_signal() {
        let (mut broker, mut namesrv) = (pretend("/any/where/mqbroker"), pretend("mqnamesrv"));
        let brokers = running(Path::new(PROC), "mqbroker").expect("the processes");
        assert!(brokers.contains(&pid_of(&broker)) && !brokers.contains(&pid_of(&namesrv)), "{brokers:?}");
        // Others may run here, too; only ours is told.
        stop(&[pid_of(&broker)], "mqbroker").expect("told");
        assert_eq!(broker.wait().expect("its end").signal(), Some(Signal::TERM.as_raw()));
        stop(&[pid_of(&broker)], "mqbroker").expect("gone is as good");
        drop(namesrv.stdin.take());
        assert!(namesrv.wait().expect("its end").success(), "the other one goes on to its own end");
    }

    #[test]
    fn what_the_script_is_asked_names_a_server() {
        assert_eq!((server_name("broker"), server_name("namesrv")), (Some("mqbroker"), Some("mqnamesrv")));
        assert_eq!(server_name("mqbroker"), None);
    }
}
