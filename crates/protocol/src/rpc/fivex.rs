//! RPCs that only 5.x remoting clients, tools, brokers and controllers know and that no other area owns. Most
//! are answered "not supported", which those clients act on at once; silence would cost them a time-out.

use crate::{headers, rpcs};

rpcs! {
    /// Settings of a client.
    47 GetClientConfig "GET_CLIENT_CONFIG": () => (), Broker, needs Admin;
    /// Progress of the timer wheel; slaves ask.
    60 GetTimerCheckPoint "GET_TIMER_CHECK_POINT": () => (), Broker, needs Cluster;
    /// Figures of the timer wheel.
    61 GetTimerMetrics "GET_TIMER_METRICS": () => (), Broker, needs Inspect;
    /// Compares two kinds of consume queue.
    354 CheckRocksdbCqWriteProgress "CHECK_ROCKSDB_CQ_WRITE_PROGRESS": () => (), Broker, needs Admin;
    /// Writes settings kept in a database to JSON files.
    355 ExportRocksdbConfigToJson "EXPORT_ROCKSDB_CONFIG_TO_JSON": () => (), Broker, needs Admin;
    /// Sets whether a group pulls or pops a topic; the body says which.
    401 SetMessageRequestMode "SET_MESSAGE_REQUEST_MODE": () => (), Broker, needs Admin;
    /// All such settings; slaves ask.
    402 GetAllMessageRequestMode "GET_ALL_MESSAGE_REQUEST_MODE": () => (), Broker, needs Cluster;
    /// The addresses of one broker name.
    901 GetBrokerMemberGroup "GET_BROKER_MEMBER_GROUP": MemberGroupRequest => (), Namesrv, needs Cluster;
    /// Starts a broker in a container; never served: no request may start a process.
    902 AddBroker "ADD_BROKER": () => (), Broker, needs Admin;
    /// Stops a broker in a container; never served.
    903 RemoveBroker "REMOVE_BROKER": () => (), Broker, needs Admin;
    /// A broker says that it is alive, without its topics.
    904 BrokerHeartbeat "BROKER_HEARTBEAT": () => (), Namesrv, needs Cluster;
    /// Tells brokers which of them has the smallest id.
    905 NotifyMinBrokerIdChange "NOTIFY_MIN_BROKER_ID_CHANGE": () => (), Broker, needs Cluster;
    /// Two brokers tell each other their replication addresses.
    906 ExchangeBrokerHaInfo "EXCHANGE_BROKER_HA_INFO": () => (), Broker, needs Cluster;
    /// State of replication.
    907 GetBrokerHaStatus "GET_BROKER_HA_STATUS": () => (), Broker, needs Inspect;
    /// Tells a slave how far its master has flushed.
    908 ResetMasterFlushOffset "RESET_MASTER_FLUSH_OFFSET": () => (), Broker, needs Cluster;
    /// Changes who is in sync.
    1001 ControllerAlterSyncStateSet "CONTROLLER_ALTER_SYNC_STATE_SET": () => (), Controller, needs Cluster;
    /// Elects a master.
    1002 ControllerElectMaster "CONTROLLER_ELECT_MASTER": () => (), Controller, needs Cluster;
    /// Registers a broker with the controller.
    1003 ControllerRegisterBroker "CONTROLLER_REGISTER_BROKER": () => (), Controller, needs Cluster;
    /// Who is master and who is in sync.
    1004 ControllerGetReplicaInfo "CONTROLLER_GET_REPLICA_INFO": () => (), Controller, needs Cluster;
    /// State of the controllers.
    1005 ControllerGetMetadataInfo "CONTROLLER_GET_METADATA_INFO": () => (), Controller, needs Inspect;
    /// Who is in sync, for several brokers.
    1006 ControllerGetSyncStateData "CONTROLLER_GET_SYNC_STATE_DATA": () => (), Controller, needs Inspect;
    /// Epochs a broker knows.
    1007 GetBrokerEpochCache "GET_BROKER_EPOCH_CACHE": () => (), Broker, needs Inspect;
    /// Tells a broker its new role.
    1008 NotifyBrokerRoleChanged "NOTIFY_BROKER_ROLE_CHANGED": () => (), Broker, needs Cluster;
    /// Changes settings of a controller.
    1009 UpdateControllerConfig "UPDATE_CONTROLLER_CONFIG": () => (), Controller, needs Admin;
    /// Settings of a controller.
    1010 GetControllerConfig "GET_CONTROLLER_CONFIG": () => (), Controller, needs Admin;
    /// Forgets a broker.
    1011 CleanBrokerData "CLEAN_BROKER_DATA": () => (), Controller, needs Admin;
    /// The next free broker id.
    1012 ControllerGetNextBrokerId "CONTROLLER_GET_NEXT_BROKER_ID": () => (), Controller, needs Cluster;
    /// Takes a broker id.
    1013 ControllerApplyBrokerId "CONTROLLER_APPLY_BROKER_ID": () => (), Controller, needs Cluster;
    /// Limits groups that read old data.
    2001 UpdateColdDataFlowCtrConfig "UPDATE_COLD_DATA_FLOW_CTR_CONFIG": () => (), Broker, needs Admin;
    /// Lifts such a limit.
    2002 RemoveColdDataFlowCtrConfig "REMOVE_COLD_DATA_FLOW_CTR_CONFIG": () => (), Broker, needs Admin;
    /// Such limits and their state.
    2003 GetColdDataFlowCtrInfo "GET_COLD_DATA_FLOW_CTR_INFO": () => (), Broker, needs Inspect;
    /// Sets how the commit log is read.
    2004 SetCommitlogReadMode "SET_COMMITLOG_READ_MODE": () => (), Broker, needs Admin;
    /// Creates an account.
    3001 AuthCreateUser "AUTH_CREATE_USER": () => (), Broker, needs Admin;
    /// Changes an account.
    3002 AuthUpdateUser "AUTH_UPDATE_USER": () => (), Broker, needs Admin;
    /// Deletes an account.
    3003 AuthDeleteUser "AUTH_DELETE_USER": () => (), Broker, needs Admin;
    /// Shows an account.
    3004 AuthGetUser "AUTH_GET_USER": () => (), Broker, needs Admin;
    /// Lists accounts.
    3005 AuthListUser "AUTH_LIST_USER": () => (), Broker, needs Admin;
    /// Creates a policy.
    3006 AuthCreateAcl "AUTH_CREATE_ACL": () => (), Broker, needs Admin;
    /// Changes a policy.
    3007 AuthUpdateAcl "AUTH_UPDATE_ACL": () => (), Broker, needs Admin;
    /// Deletes a policy.
    3008 AuthDeleteAcl "AUTH_DELETE_ACL": () => (), Broker, needs Admin;
    /// Shows a policy.
    3009 AuthGetAcl "AUTH_GET_ACL": () => (), Broker, needs Admin;
    /// Lists policies.
    3010 AuthListAcl "AUTH_LIST_ACL": () => (), Broker, needs Admin;
    /// Reads messages of any queue and hides them from others for a while.
    200050 PopMessage "POP_MESSAGE": PopRequest => PopReply, Broker, needs Subscribe;
    /// Says that a popped message is done.
    200051 AckMessage "ACK_MESSAGE": AckRequest => (), Broker, needs Subscribe;
    /// Says that popped messages are done; the body lists them.
    200151 BatchAckMessage "BATCH_ACK_MESSAGE": () => (), Broker, needs Subscribe;
    /// Reads messages without taking them.
    200052 PeekMessage "PEEK_MESSAGE": () => (), Broker, needs Subscribe;
    /// Hides a popped message longer.
    200053 ChangeMessageInvisibletime "CHANGE_MESSAGE_INVISIBLETIME": ChangeInvisibleRequest => (), Broker, needs Subscribe;
    /// Waits until there is something to pop.
    200054 Notification "NOTIFICATION": () => (), Broker, needs Subscribe;
    /// How many pops wait.
    200055 PollingInfo "POLLING_INFO": () => (), Broker, needs Subscribe;
    /// Gives up what was popped.
    200056 PopRollback "POP_ROLLBACK": () => (), Broker, needs Subscribe;
}

headers! {
    /// Reference: 5.x `GetBrokerMemberGroupRequestHeader`.
    pub struct MemberGroupRequest {
        /// Cluster.
        cluster_name: String = "clusterName",
        /// Broker name.
        broker_name: String = "brokerName",
    }
    /// Reference: 5.x `PopMessageRequestHeader`.
    pub struct PopRequest {
        /// Consumer group.
        consumer_group: String = "consumerGroup",
        /// Topic.
        topic: String = "topic",
        /// Queue; -1 means any.
        queue_id: i32 = "queueId",
        /// Most messages wanted.
        max_msg_nums: i32 = "maxMsgNums",
        /// How long the messages are hidden from others, in milliseconds.
        invisible_time: i64 = "invisibleTime",
        /// How long an empty pop may be held, in milliseconds.
        poll_time: i64 = "pollTime",
        /// Client time of the request, Unix milliseconds.
        born_time: i64 = "bornTime",
        /// Where a new group starts: 0 at the oldest message, 1 at the newest.
        init_mode: i32 = "initMode",
        /// `TAG` (also when absent) or `SQL92`.
        exp_type: Option<String> = "expType",
        /// Filter expression; absent means all.
        exp: Option<String> = "exp",
        /// Whether order is kept; absent means no.
        order: Option<bool> = "order",
        /// Tells a repeated attempt from a new one; absent means none.
        attempt_id: Option<String> = "attemptId",
    }
    /// Reference: 5.x `PopMessageResponseHeader`.
    pub struct PopReply {
        /// When they were popped, Unix milliseconds.
        pop_time: i64 = "popTime",
        /// How long they are hidden, in milliseconds.
        invisible_time: i64 = "invisibleTime",
        /// Queue that revives them.
        revive_qid: i32 = "reviveQid",
        /// Messages left.
        rest_num: i64 = "restNum",
        /// First offsets by queue; absent means none.
        start_offset_info: Option<String> = "startOffsetInfo",
        /// Offsets by queue; absent means none.
        msg_offset_info: Option<String> = "msgOffsetInfo",
        /// Consume counts of ordered queues; absent without order.
        order_count_info: Option<String> = "orderCountInfo",
    }
    /// Reference: 5.x `AckMessageRequestHeader`.
    pub struct AckRequest {
        /// Consumer group.
        consumer_group: String = "consumerGroup",
        /// Topic.
        topic: String = "topic",
        /// Queue.
        queue_id: i32 = "queueId",
        /// Receipt of the pop.
        extra_info: String = "extraInfo",
        /// Queue offset of the message.
        offset: i64 = "offset",
    }
    /// Reference: 5.x `ChangeInvisibleTimeRequestHeader`.
    pub struct ChangeInvisibleRequest {
        /// Consumer group.
        consumer_group: String = "consumerGroup",
        /// Topic.
        topic: String = "topic",
        /// Queue.
        queue_id: i32 = "queueId",
        /// Receipt of the pop.
        extra_info: String = "extraInfo",
        /// Queue offset of the message.
        offset: i64 = "offset",
        /// How long it stays hidden from now, in milliseconds.
        invisible_time: i64 = "invisibleTime",
    }
}
