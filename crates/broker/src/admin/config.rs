//! Settings by request: 25 and 26.
//!
//! What may change at all is declared with the keys ([`kerolox_config`]); here stands what follows from a
//! change. All keys of a request change, or none. Where the broker was started with a file, the answer waits
//! until the file holds the change.

use crate::{
    Broker,
    answer::Answer,
    call::{Call, Handle, Out, Reply, handlers},
    jobs::{BrokerJob, SaveJob, Saved},
};
use kerolox_config::{Loaded, NamesrvConfig, Role, UpdateError};
use kerolox_protocol::{
    Fail, body, code,
    rpc::config::{BrokerConfigReply, GetBrokerConfig, UpdateBrokerConfig},
};
use std::{collections::BTreeSet, sync::Arc};
use tracing::{info, warn};

handlers![UpdateBrokerConfig, GetBrokerConfig];

impl Broker {
    fn loaded(&self) -> Loaded {
        Loaded {
            role: Role::Broker,
            broker: self.options.broker.clone(),
            store: self.options.store.clone(),
            server: self.options.server.clone(),
            namesrv: NamesrvConfig::default(),
            file: None,
            written: BTreeSet::new(),
            warnings: Vec::new(),
        }
    }

    /// What follows from changed keys beyond their being read at the next use.
    fn keys_changed(&mut self, call: &Call<'_>, changed: &[&'static str]) {
        let now = call.now;
        self.store.retune(&self.options.for_store());
        for key in changed {
            match *key {
                "namesrvAddr" => self.registrar.again(now),
                // Name servers take a topic table over only under a new version.
                "brokerPermission" => {
                    self.topics.touch(now.wall);
                    self.registrar.again(now);
                }
                "autoCreateTopicEnable" => {
                    self.topics.auto_create = self.options.broker.auto_create_topic_enable;
                }
                _ => {}
            }
        }
    }

    /// The settings are in the file, or not.
    pub(crate) fn on_config_saved(&mut self, saved: Saved, out: &mut Out) {
        let Saved { to, path, result } = saved;
        let answer = match result {
            Ok(()) => Answer { code: code::SUCCESS, ext: None, remark: None, body: Vec::new() },
            Err(why) => {
                warn!(path = %path.display(), %why, "changed settings are in effect, but not kept in the file");
                let remark = format!(
                    "the change is in effect, but could not be written to {}: {why}; it is lost at the next start",
                    path.display()
                );
                Answer { ext: None, ..Answer::from(Fail::error(remark)) }
            }
        };
        answer.send(&to, out);
    }
}

impl Handle<UpdateBrokerConfig> for Broker {
    fn handle(&mut self, call: &Call<'_>, (): (), out: &mut Out) -> Result<Reply<()>, Fail> {
        let text = std::str::from_utf8(call.body).map_err(|_| Fail::error("the body is not UTF-8"))?;
        let mut loaded = self.loaded();
        let changed = loaded.update_text(text).map_err(refused)?;
        if changed.is_empty() {
            return Ok(Reply::ok(()));
        }
        info!(keys = ?changed, peer = %call.peer.addr, "settings changed by request");
        (self.options.broker, self.options.store, self.options.server) =
            (loaded.broker.clone(), loaded.store.clone(), loaded.server.clone());
        self.desk.config_version.counter += 1;
        self.desk.config_version.timestamp = call.now.wall.0;
        self.keys_changed(call, &changed);
        let Some(path) = self.options.config_file.clone() else { return Ok(Reply::ok(())) };
        let text = kerolox_config::export(&loaded);
        let disk = Arc::clone(&self.desk.disk);
        out.job(BrokerJob::SaveConfig(SaveJob { disk, path, text, to: call.ticket() }));
        Ok(Reply::Later)
    }
}

/// All errors in one answer; the code of the black list if one of them is about a protected key.
fn refused(errors: Vec<UpdateError>) -> Fail {
    let protected = errors.iter().any(|error| matches!(error, UpdateError::Protected { .. }));
    let all = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    if protected {
        return Fail::new(code::NO_PERMISSION, format!("Can not update config in black list. {all}"));
    }
    Fail::error(format!("nothing was changed: {all}"))
}

impl Handle<GetBrokerConfig> for Broker {
    fn handle(&mut self, _: &Call<'_>, (): (), _: &mut Out) -> Result<Reply<BrokerConfigReply>, Fail> {
        let version = String::from_utf8_lossy(&body::encode(&self.desk.config_version)).into_owned();
        let text = kerolox_config::export(&self.loaded());
        Ok(Reply::with_body(BrokerConfigReply { version }, text.into_bytes()))
    }
}
