//! RPCs about a broker as a process: its settings, its state, its housekeeping.

use crate::{headers, rpcs};

rpcs! {
    /// Changes settings of the broker; the body is properties text.
    25 UpdateBrokerConfig "UPDATE_BROKER_CONFIG": () => (), Broker, needs Admin, body List;
    /// All settings of the broker, as properties text.
    26 GetBrokerConfig "GET_BROKER_CONFIG": () => BrokerConfigReply, Broker, needs Admin;
    /// Figures about the running broker.
    28 GetBrokerRuntimeInfo "GET_BROKER_RUNTIME_INFO": () => (), Broker, needs Inspect;
    /// Deletes what is left of consume queues whose messages are gone.
    306 CleanExpiredConsumeQueue "CLEAN_EXPIRED_CONSUMEQUEUE": () => (), Broker, needs Admin;
    /// Deletes consume queues of topics that are no more.
    316 CleanUnusedTopic "CLEAN_UNUSED_TOPIC": () => (), Broker, needs Admin;
    /// Deletes commit-log files that are old enough, now.
    329 DeleteExpiredCommitLog "DELETE_EXPIRED_COMMITLOG": () => (), Broker, needs Admin;
}

headers! {
    /// Reference: `GetBrokerConfigResponseHeader`.
    pub struct BrokerConfigReply {
        /// Version of the settings, as JSON text of a DataVersion.
        version: String = "version",
    }
}
