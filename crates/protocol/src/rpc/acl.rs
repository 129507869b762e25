//! RPCs of access control as 4.x has it: accounts in a file of the broker.

use crate::{headers, rpcs};

rpcs! {
    /// Creates or changes an account.
    50 UpdateAndCreateAclConfig "UPDATE_AND_CREATE_ACL_CONFIG": AclAccountRequest => (), Broker, needs Admin;
    /// Deletes an account.
    51 DeleteAclConfig "DELETE_ACL_CONFIG": AccessKeyRef => (), Broker, needs Admin;
    /// Versions of the account files.
    52 GetBrokerClusterAclInfo "GET_BROKER_CLUSTER_ACL_INFO": () => AclInfoReply, Broker, needs Admin;
    /// Sets the addresses that need no account.
    53 UpdateGlobalWhiteAddrsConfig "UPDATE_GLOBAL_WHITE_ADDRS_CONFIG": WhiteAddrsRequest => (), Broker, needs Admin;
    /// Gave away all secret keys up to 4.9.7; never served.
    54 GetBrokerClusterAclConfig "GET_BROKER_CLUSTER_ACL_CONFIG": () => (), Broker, needs Admin;
}

headers! {
    /// Reference: `CreateAccessConfigRequestHeader`. An absent field leaves that part of the account as it is.
    pub struct AclAccountRequest {
        /// Name of the account.
        access_key: String = "accessKey",
        /// Its secret.
        secret_key: Option<String> = "secretKey",
        /// Address pattern that needs no signature.
        white_remote_address: Option<String> = "whiteRemoteAddress",
        /// Whether it may administer.
        admin: Option<bool> = "admin",
        /// Permission on topics that are not listed.
        default_topic_perm: Option<String> = "defaultTopicPerm",
        /// Permission of groups that are not listed.
        default_group_perm: Option<String> = "defaultGroupPerm",
        /// `topic=PERM`, joined by commas.
        topic_perms: Option<String> = "topicPerms",
        /// `group=PERM`, joined by commas.
        group_perms: Option<String> = "groupPerms",
    }
    /// Names one account. Reference: `DeleteAccessConfigRequestHeader`.
    pub struct AccessKeyRef {
        /// Name of the account.
        access_key: String = "accessKey",
    }
    /// Reference: `GetBrokerAclConfigResponseHeader`.
    pub struct AclInfoReply {
        /// Version of the main file, as JSON text of a DataVersion.
        version: String = "version",
        /// JSON map from file path to DataVersion; absent from old brokers.
        all_acl_file_version: Option<String> = "allAclFileVersion",
        /// Broker name.
        broker_name: String = "brokerName",
        /// Its address.
        broker_addr: String = "brokerAddr",
        /// Its cluster.
        cluster_name: String = "clusterName",
    }
    /// Reference: `UpdateGlobalWhiteAddrsConfigRequestHeader`.
    pub struct WhiteAddrsRequest {
        /// Address patterns joined by commas.
        global_white_addrs: String = "globalWhiteAddrs",
        /// File meant; absent or empty means the main one. Never used as a path.
        acl_file_full_path: Option<String> = "aclFileFullPath",
    }
}
