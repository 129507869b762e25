//! Keys of the broker's services: who it is, whom it registers with, what it creates by itself, how it answers readers.
//!
//! Reference: `BrokerConfig` of 4.9, and the 5.x keys which people carry into 4.x files.

use crate::declare::config;
use crate::kinds::{Addresses, Bytes, Count, Millis, Moment, Names, Number, PathText, Percent, Port};
use crate::networks::Networks;
use crate::whys::{ACL, BLOOM, COMMERCIAL, CONTROLLER, NO_POOL, NO_QUEUE, SQL, STATS, TRANSACTIONS, UNUSED};

/// The largest number of the original's `int` keys.
const INT: i64 = i32::MAX as i64;

config! {
    /// Identity of a broker and the rules of its services.
    pub struct BrokerConfig {
        /// Directory of the original's installation.
        "rocketmqHome" Restart rocketmq_home: PathText = PathText::default(), meaningless("nothing is installed: one binary, no scripts and no logging files");
        /// Name servers to register with, all of them.
        "namesrvAddr" Live namesrv_addr: Addresses = Addresses::default(), obeyed, important;
        /// Address told to clients and written into message ids: an IPv4 or an IPv6 address, or a name, which is looked up once at the start.
        "brokerIP1" Restart broker_ip1: String = String::new(), obeyed, important;
        /// Address told to replicas.
        "brokerIP2" Restart broker_ip2: String = String::new(), obeyed;
        /// Name of the broker group; a master and its slaves share it. Default: the host name.
        "brokerName" Restart broker_name: String = String::from("DEFAULT_BROKER"), obeyed, important;
        /// Name of the cluster.
        "brokerClusterName" Restart broker_cluster_name: String = String::from("DefaultCluster"), obeyed, important;
        /// 0 for the master, above 0 for a slave.
        "brokerId" Restart broker_id: Number = Number(0), obeyed, important;
        /// What may be done with the topics of this broker: 2 write, 4 read, 6 both. Registered with the routes.
        "brokerPermission" Live broker_permission: Count[0..=7] = Count(6), obeyed;
        /// Queues of a topic that is created by its first message, at most.
        "defaultTopicQueueNums" Restart default_topic_queue_nums: Count[1..=65_535] = Count(8), obeyed;
        /// Create a topic when its first message arrives.
        "autoCreateTopicEnable" Live auto_create_topic_enable: bool = true, obeyed, important;
        /// Have a topic named as the cluster.
        "clusterTopicEnable" Restart cluster_topic_enable: bool = true, obeyed;
        /// Have a topic named as the broker.
        "brokerTopicEnable" Restart broker_topic_enable: bool = true, obeyed;
        /// Create a consumer group when its first consumer arrives.
        "autoCreateSubscriptionGroup" Live auto_create_subscription_group: bool = true, obeyed, important;
        /// Classes put around the store.
        "messageStorePlugIn" Restart message_store_plug_in: String = String::new(), meaningless("Java classes cannot be loaded");
        /// Topic that traces are sent to.
        "msgTraceTopicName" Restart msg_trace_topic_name: String = String::from("RMQ_SYS_TRACE_TOPIC"), obeyed, important;
        /// Have the trace topic.
        "traceTopicEnable" Restart trace_topic_enable: bool = false, obeyed, important;
        /// Threads for sends. Default: processors, at most 4.
        "sendMessageThreadPoolNums" Restart send_message_thread_pool_nums: Count = Count(4), meaningless(NO_POOL);
        /// Threads that finish sends. Default: processors, at most 4.
        "putMessageFutureThreadPoolNums" Restart put_message_future_thread_pool_nums: Count = Count(4), meaningless(NO_POOL);
        /// Threads for pulls. Default: 16 and twice the processors.
        "pullMessageThreadPoolNums" Restart pull_message_thread_pool_nums: Count = Count(24), meaningless(NO_POOL);
        /// Threads for replies. Default: 16 and twice the processors.
        "processReplyMessageThreadPoolNums" Restart process_reply_message_thread_pool_nums: Count = Count(24), meaningless(NO_POOL);
        /// Threads for queries. Default: 8 and the processors.
        "queryMessageThreadPoolNums" Restart query_message_thread_pool_nums: Count = Count(12), meaningless(NO_POOL);
        /// Threads for administration.
        "adminBrokerThreadPoolNums" Restart admin_broker_thread_pool_nums: Count = Count(16), meaningless(NO_POOL);
        /// Threads for the client registry.
        "clientManageThreadPoolNums" Restart client_manage_thread_pool_nums: Count = Count(32), meaningless(NO_POOL);
        /// Threads for consumer lists and offsets.
        "consumerManageThreadPoolNums" Restart consumer_manage_thread_pool_nums: Count = Count(32), meaningless(NO_POOL);
        /// Threads for heartbeats. Default: processors, at most 32.
        "heartbeatThreadPoolNums" Restart heartbeat_thread_pool_nums: Count = Count(4), meaningless(NO_POOL);
        /// Threads that end transactions. Default: the larger of 8 and twice the processors, and four times the send threads.
        "endTransactionThreadPoolNums" Restart end_transaction_thread_pool_nums: Count = Count(16), meaningless(NO_POOL);
        /// Pause between two saves of the consumer offsets.
        "flushConsumerOffsetInterval" Restart flush_consumer_offset_interval: Millis[1..=INT] = Millis(5_000), obeyed;
        /// Pause between two saves of an offset history.
        "flushConsumerOffsetHistoryInterval" Restart flush_consumer_offset_history_interval: Millis = Millis(60_000), meaningless(UNUSED);
        /// Refuse prepared messages of transactions.
        "rejectTransactionMessage" Live reject_transaction_message: bool = false, obeyed, important;
        /// Ask an HTTP server for the list of name servers when `namesrvAddr` is not set.
        "fetchNamesrvAddrByAddressServer" Restart fetch_namesrv_addr_by_address_server: bool = false, later("name server discovery over HTTP; name them in `namesrvAddr`"), important;
        /// Sends that may wait for a thread.
        "sendThreadPoolQueueCapacity" Restart send_thread_pool_queue_capacity: Count = Count(10_000), meaningless(NO_QUEUE);
        /// Finished sends that may wait for a thread.
        "putThreadPoolQueueCapacity" Restart put_thread_pool_queue_capacity: Count = Count(10_000), meaningless(NO_QUEUE);
        /// Pulls that may wait for a thread.
        "pullThreadPoolQueueCapacity" Restart pull_thread_pool_queue_capacity: Count = Count(100_000), meaningless(NO_QUEUE);
        /// Replies that may wait for a thread.
        "replyThreadPoolQueueCapacity" Restart reply_thread_pool_queue_capacity: Count = Count(10_000), meaningless(NO_QUEUE);
        /// Queries that may wait for a thread.
        "queryThreadPoolQueueCapacity" Restart query_thread_pool_queue_capacity: Count = Count(20_000), meaningless(NO_QUEUE);
        /// Client registrations that may wait for a thread.
        "clientManagerThreadPoolQueueCapacity" Restart client_manager_thread_pool_queue_capacity: Count = Count(1_000_000), meaningless(NO_QUEUE);
        /// Offset requests that may wait for a thread.
        "consumerManagerThreadPoolQueueCapacity" Restart consumer_manager_thread_pool_queue_capacity: Count = Count(1_000_000), meaningless(NO_QUEUE);
        /// Heartbeats that may wait for a thread.
        "heartbeatThreadPoolQueueCapacity" Restart heartbeat_thread_pool_queue_capacity: Count = Count(50_000), meaningless(NO_QUEUE);
        /// Ends of transactions that may wait for a thread.
        "endTransactionPoolQueueCapacity" Restart end_transaction_pool_queue_capacity: Count = Count(100_000), meaningless(NO_QUEUE);
        /// Filter server processes to start.
        "filterServerNums" Restart filter_server_nums: Count = Count(0), meaningless("no request and no key starts a process; the filter server left the original too");
        /// Hold pulls that find nothing until a message arrives.
        "longPollingEnable" Live long_polling_enable: bool = true, obeyed;
        /// How long a pull that finds nothing is held when `longPollingEnable` is false.
        "shortPollingTimeMills" Live short_polling_time_mills: Millis[0..=INT] = Millis(1_000), obeyed;
        /// Tell the consumers of a group when one joins or leaves.
        "notifyConsumerIdsChangedEnable" Live notify_consumer_ids_changed_enable: bool = true, obeyed;
        /// Has no meaning in 4.9 any more.
        "highSpeedMode" Restart high_speed_mode: bool = false, meaningless(UNUSED);
        /// Billing statistics.
        "commercialEnable" Restart commercial_enable: bool = true, meaningless(COMMERCIAL);
        /// Billing statistics.
        "commercialTimerCount" Restart commercial_timer_count: Count = Count(1), meaningless(COMMERCIAL);
        /// Billing statistics.
        "commercialTransCount" Restart commercial_trans_count: Count = Count(1), meaningless(COMMERCIAL);
        /// Billing statistics.
        "commercialBigCount" Restart commercial_big_count: Count = Count(1), meaningless(COMMERCIAL);
        /// Billing statistics.
        "commercialBaseCount" Restart commercial_base_count: Count = Count(1), meaningless(COMMERCIAL);
        /// Copy pulled messages into the heap before they are sent.
        "transferMsgByHeap" Live transfer_msg_by_heap: bool = true, meaningless("there is no heap of a virtual machine: an answer is a range of the log");
        /// Has no meaning in 4.9 any more.
        "maxDelayTime" Restart max_delay_time: Count = Count(40), meaningless(UNUSED);
        /// Region told to producers in answers to sends, for their traces.
        "regionId" Live region_id: String = String::from("DefaultRegion"), obeyed;
        /// How long a registration may take at one name server.
        "registerBrokerTimeoutMills" Live register_broker_timeout_mills: Millis[1..=INT] = Millis(6_000), obeyed;
        /// Send slow readers to a slave.
        "slaveReadEnable" Live slave_read_enable: bool = false, obeyed;
        /// Switch off groups which lag by more than `consumerFallbehindThreshold`.
        "disableConsumeIfConsumerReadSlowly" Live disable_consume_if_consumer_read_slowly: bool = false, later("switching off slow groups; the lag of every group is listed by consumerProgress");
        /// The lag from which a group counts as slow.
        "consumerFallbehindThreshold" Live consumer_fallbehind_threshold: Bytes = Bytes(16 << 30), later("switching off slow groups");
        /// Refuse requests which waited too long for a thread.
        "brokerFastFailureEnable" Live broker_fast_failure_enable: bool = true, meaningless(NO_QUEUE);
        /// Longest wait of a send for a thread.
        "waitTimeMillsInSendQueue" Live wait_time_mills_in_send_queue: Millis = Millis(200), meaningless(NO_QUEUE);
        /// Longest wait of a pull for a thread.
        "waitTimeMillsInPullQueue" Live wait_time_mills_in_pull_queue: Millis = Millis(5_000), meaningless(NO_QUEUE);
        /// Longest wait of a heartbeat for a thread.
        "waitTimeMillsInHeartbeatQueue" Live wait_time_mills_in_heartbeat_queue: Millis = Millis(31_000), meaningless(NO_QUEUE);
        /// Longest wait of the end of a transaction for a thread.
        "waitTimeMillsInTransactionQueue" Live wait_time_mills_in_transaction_queue: Millis = Millis(3_000), meaningless(NO_QUEUE);
        /// Refuse sends before this moment.
        "startAcceptSendRequestTimeStamp" Live start_accept_send_request_time_stamp: Moment = Moment(0), obeyed;
        /// Told to producers in answers to sends: whether they may trace.
        "traceOn" Live trace_on: bool = true, obeyed;
        /// Note at the time of storing which groups want a message.
        "enableCalcFilterBitMap" Live enable_calc_filter_bit_map: bool = false, meaningless(BLOOM);
        /// Groups that filter bit maps are made for.
        "expectConsumerNumUseFilter" Restart expect_consumer_num_use_filter: Count = Count(32), meaningless(BLOOM);
        /// Wrong hits that filter bit maps may have.
        "maxErrorRateOfBloomFilter" Restart max_error_rate_of_bloom_filter: Percent = Percent(20), meaningless(BLOOM);
        /// How long the filter of a group without consumers is kept.
        "filterDataCleanTimeSpan" Live filter_data_clean_time_span: Millis = Millis(86_400_000), later(SQL);
        /// Apply filters to retried messages too.
        "filterSupportRetry" Live filter_support_retry: bool = false, later(SQL);
        /// Allow SQL92 filters.
        "enablePropertyFilter" Live enable_property_filter: bool = false, later(SQL);
        /// Compress the body of registrations.
        "compressedRegister" Live compressed_register: bool = false, obeyed;
        /// Register in every period, changed or not.
        "forceRegister" Live force_register: bool = true, obeyed;
        /// Pause between two registrations; the original keeps it between 10 s and 60 s.
        "registerNameServerPeriod" Restart register_name_server_period: Millis clamp(10_000..=60_000) = Millis(30_000), obeyed;
        /// Age from which a prepared message is checked.
        "transactionTimeOut" Live transaction_time_out: Millis = Millis(6_000), later(TRANSACTIONS), important;
        /// Checks after which a prepared message is given up.
        "transactionCheckMax" Live transaction_check_max: Count = Count(15), later(TRANSACTIONS), important;
        /// Pause between two rounds of checks.
        "transactionCheckInterval" Restart transaction_check_interval: Millis[1..=i64::MAX] = Millis(60_000), later(TRANSACTIONS), important;
        /// Check signatures and permissions of `plain_acl.yml`.
        "aclEnable" Restart acl_enable: bool = false, later(ACL), important;
        /// Store the replies of request-reply messages.
        "storeReplyMessageEnable" Live store_reply_message_enable: bool = true, obeyed;
        /// Count per queue, not only per topic.
        "enableDetailStat" Restart enable_detail_stat: bool = true, later(STATS);
        /// Drop the statistics of deleted topics and groups.
        "autoDeleteUnusedStats" Live auto_delete_unused_stats: bool = false, later(STATS);
        /// A directory of logs per broker.
        "isolateLogEnable" Restart isolate_log_enable: bool = false, meaningless("one log stream per process, on its standard output");
        /// Keys which an update over the network must not change (4.9.8).
        "configBlackList" Restart config_black_list: Names = Names::of(&["configBlackList", "brokerConfigPath"]), obeyed;

        /// Host of the HTTP server which knows the name servers; no setter in the original, but read from the file.
        "rmqAddressServerDomain" Restart rmq_address_server_domain: String = String::from("jmenv.tbsite.net"), later("name server discovery over HTTP");
        /// Last part of the path asked at that server.
        "rmqAddressServerSubGroup" Restart rmq_address_server_sub_group: String = String::from("nsaddr"), later("name server discovery over HTTP");
        /// Elect the master by controllers (5.x).
        "enableControllerMode" Restart enable_controller_mode: bool = false, later(CONTROLLER);
        /// Controllers to register with (5.x).
        "controllerAddr" Restart controller_addr: Addresses = Addresses::default(), later(CONTROLLER);
        /// Networks whose requests of administration are answered while no access control is configured; ours.
        "adminNetworks" Restart admin_networks: Networks = Networks::local(), obeyed;
        /// Port of the console, metrics and health pages; ours.
        "httpPort" Restart http_port: Port = Port(8082), later("the HTTP side");
    }
}
