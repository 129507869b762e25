//! RPCs by which clients make themselves known, find each other and lock queues.

use crate::{headers, rpcs};

rpcs! {
    /// A client says that it lives, what it produces and what it subscribes to. The body is checked per group.
    34 HeartBeat "HEART_BEAT": () => (), Broker, needs Nothing, body List;
    /// A client leaves a group.
    35 UnregisterClient "UNREGISTER_CLIENT": UnregisterRequest => (), Broker, needs Nothing;
    /// The clients of a consumer group that this broker knows.
    38 GetConsumerListByGroup "GET_CONSUMER_LIST_BY_GROUP": ConsumerGroupRef => (), Broker, needs Subscribe;
    /// Locks queues for orderly consumption; the body names them.
    41 LockBatchMq "LOCK_BATCH_MQ": () => (), Broker, needs Subscribe, body List;
    /// Gives locks back; the body names the queues.
    42 UnlockBatchMq "UNLOCK_BATCH_MQ": () => (), Broker, needs Subscribe, body List;
    /// Whether the broker could serve a subscription; the body holds it.
    46 CheckClientConfig "CHECK_CLIENT_CONFIG": () => (), Broker, needs Nothing;
    /// Which queues of a topic a consumer shall read (5.x); the body asks.
    400 QueryAssignment "QUERY_ASSIGNMENT": () => (), Broker, needs Subscribe;
}

headers! {
    /// Reference: `UnregisterClientRequestHeader`. C++ clients send an empty text for the absent group.
    pub struct UnregisterRequest {
        /// Id of the client.
        client_id: String = "clientID",
        /// Producer group it leaves; absent or empty means none.
        producer_group: Option<String> = "producerGroup",
        /// Consumer group it leaves; absent or empty means none.
        consumer_group: Option<String> = "consumerGroup",
    }
    /// Names one consumer group.
    pub struct ConsumerGroupRef {
        /// Consumer group.
        consumer_group: String = "consumerGroup",
    }
}
