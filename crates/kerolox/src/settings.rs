//! The configuration of a server on this machine: its sources, and what the machine says about itself.

use crate::addresses;
use anyhow::Result;
use kerolox_config::{File, Loaded, Machine, Role, Sources};

/// Reads all sources; all problems become one error.
pub fn load(
    role: Role,
    file: Option<File<'_>>,
    namesrv_addr: Option<&str>,
    words: &[String],
) -> Result<Loaded> {
    let env = |name: &str| std::env::var(name).ok();
    let candidates = addresses::candidates();
    let machine = Machine {
        host_name: host_name(),
        address: addresses::choose(&candidates).map(|candidate| candidate.ip.to_string()),
        processors: std::thread::available_parallelism().map_or(1, |n| n.get() as u32),
    };
    kerolox_config::load(&Sources { role, file, namesrv_addr, words, env: &env, machine }).map_err(
        |problems| {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            anyhow::anyhow!("the configuration cannot be used: {}", lines.join("; "))
        },
    )
}

fn host_name() -> Option<String> {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Some(name).filter(|name| !name.is_empty())
}
