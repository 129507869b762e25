//! Codes that 4.9 defines and nobody serves: rows all the same, so that a listing shows every number and each
//! is answered "not supported" by name.

use crate::rpcs;

rpcs! {
    /// Defined and never served.
    13 QueryBrokerOffset "QUERY_BROKER_OFFSET": () => (), Broker, needs Admin;
    /// Defined and never served.
    22 GetTopicConfigList "GET_TOPIC_CONFIG_LIST": () => (), Broker, needs Admin;
    /// Defined and never served.
    23 GetTopicNameList "GET_TOPIC_NAME_LIST": () => (), Broker, needs Admin;
    /// Defined and never served.
    27 TriggerDeleteFiles "TRIGGER_DELETE_FILES": () => (), Broker, needs Admin;
    /// Defined and never served.
    209 SuspendConsumer "SUSPEND_CONSUMER": () => (), Broker, needs Admin;
    /// Defined and never served.
    210 ResumeConsumer "RESUME_CONSUMER": () => (), Broker, needs Admin;
    /// Defined and never served.
    211 ResetConsumerOffsetInConsumer "RESET_CONSUMER_OFFSET_IN_CONSUMER": () => (), Broker, needs Admin;
    /// Defined and never served.
    212 ResetConsumerOffsetInBroker "RESET_CONSUMER_OFFSET_IN_BROKER": () => (), Broker, needs Admin;
    /// Defined and never served.
    213 AdjustConsumerThreadPool "ADJUST_CONSUMER_THREAD_POOL": () => (), Broker, needs Admin;
    /// Defined and never served.
    214 WhoConsumeTheMessage "WHO_CONSUME_THE_MESSAGE": () => (), Broker, needs Admin;
    /// Filter servers are no more; never served.
    301 RegisterFilterServer "REGISTER_FILTER_SERVER": () => (), Broker, needs Admin;
    /// Uploaded code to run in the broker; never served.
    302 RegisterMessageFilterClass "REGISTER_MESSAGE_FILTER_CLASS": () => (), Broker, needs Admin;
}
