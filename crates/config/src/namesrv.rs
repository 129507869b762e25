//! Keys of the name server.
//!
//! Reference: `NamesrvConfig` of 4.9. Its port and limits are in [`crate::ServerConfig`].

use crate::declare::config;
use crate::kinds::{Names, PathText};
use crate::networks::Networks;

config! {
    /// Where a name server keeps its few files and what it adds to routes.
    pub struct NamesrvConfig {
        /// Directory of the original's installation.
        "rocketmqHome" Restart rocketmq_home: PathText = PathText::default(), meaningless("nothing is installed: one binary, no scripts and no logging files");
        /// File of the key-value configuration. Default: `$HOME/namesrv/kvConfig.json`.
        "kvConfigPath" Restart kv_config_path: PathText = PathText::default(), obeyed;
        /// File that updated keys are written to. Default: the file given with `-c`, else `$HOME/namesrv/namesrv.properties`.
        "configStorePath" Restart config_store_path: PathText = PathText::default(), obeyed;
        /// Name of the environment.
        "productEnvName" Restart product_env_name: String = String::from("center"), meaningless("only test clusters with `clusterTest` read it");
        /// Ask another environment for routes that are not known here.
        "clusterTest" Restart cluster_test: bool = false, meaningless("routes come from registrations only");
        /// Add the order of topics to their routes.
        "orderMessageEnable" Live order_message_enable: bool = false, obeyed;
        /// Keys which an update over the network must not change (4.9.8).
        "configBlackList" Restart config_black_list: Names = Names::of(&["configBlackList", "configStorePath", "kvConfigPath"]), obeyed;
        /// Networks whose requests of administration are answered while no access control is configured; ours.
        "adminNetworks" Restart admin_networks: Networks = Networks::local(), obeyed;
    }
}
