//! What `kerolox dev` is told.

use anyhow::{Result, bail};
use std::{net::IpAddr, path::PathBuf};

/// Options of `kerolox dev`.
#[derive(Debug, clap::Args)]
pub struct Dev {
    /// Where data is kept; made if it is not there. Default: `.kerolox/dev` in the home directory.
    #[arg(long)]
    pub store: Option<PathBuf>,
    /// Port of the name server.
    #[arg(long, default_value_t = 9876)]
    pub namesrv_port: u16,
    /// Port of the broker; the port two below is served too, for clients that use the VIP channel.
    #[arg(long, default_value_t = 10911)]
    pub broker_port: u16,
    /// Address to listen on and to tell clients. With 0.0.0.0 the broker listens on all, and tells clients one of this
    /// machine's, or what `brokerIP1` says.
    #[arg(long, default_value = "127.0.0.1")]
    pub bind: IpAddr,
    /// Say more: repeat for still more.
    #[arg(short, long, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Any key of `broker.conf`, as `flushDiskType=SYNC_FLUSH`.
    pub settings: Vec<String>,
}

impl Dev {
    /// The store's directory.
    pub fn store_dir(&self) -> Result<PathBuf> {
        if let Some(dir) = &self.store {
            return Ok(dir.clone());
        }
        match std::env::var_os("HOME") {
            Some(home) => Ok(PathBuf::from(home).join(".kerolox/dev")),
            None => bail!("there is no home directory to keep data in; name one with --store DIR"),
        }
    }
}
