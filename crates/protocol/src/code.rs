//! Response codes: an open number with known names. Reference: `ResponseCode`, `RemotingSysResponseCode`.

macro_rules! response_codes {
    ($( #[doc = $doc:literal] $code:literal $name:ident; )*) => {
        $( #[doc = $doc] pub const $name: i32 = $code; )*
        /// All known codes with name and doc.
        pub const RESPONSES: &[(i32, &str, &str)] = &[ $( ($code, stringify!($name), $doc.trim_ascii()), )* ];
        /// The name of a code, if it has one.
        pub fn name(code: i32) -> Option<&'static str> {
            RESPONSES.iter().find(|(known, _, _)| *known == code).map(|(_, name, _)| *name)
        }
    };
}

response_codes! {
    /// Done.
    0 SUCCESS;
    /// Failed for the reason in the remark.
    1 SYSTEM_ERROR;
    /// Overloaded; try again later.
    2 SYSTEM_BUSY;
    /// The code has no handler here.
    3 REQUEST_CODE_NOT_SUPPORTED;
    /// Transaction failed.
    4 TRANSACTION_FAILED;
    /// Stored, but not flushed in time.
    10 FLUSH_DISK_TIMEOUT;
    /// Stored, but no slave is in range.
    11 SLAVE_NOT_AVAILABLE;
    /// Stored, but not replicated in time.
    12 FLUSH_SLAVE_TIMEOUT;
    /// Body or properties too large, or malformed.
    13 MESSAGE_ILLEGAL;
    /// Not accepting writes now.
    14 SERVICE_NOT_AVAILABLE;
    /// The peer's version is too old.
    15 VERSION_NOT_SUPPORTED;
    /// Not allowed.
    16 NO_PERMISSION;
    /// No such topic, or no route.
    17 TOPIC_NOT_EXIST;
    /// The topic exists already.
    18 TOPIC_EXIST_ALREADY;
    /// Nothing new at that offset.
    19 PULL_NOT_FOUND;
    /// Nothing matched; pull on.
    20 PULL_RETRY_IMMEDIATELY;
    /// The offset is outside the queue.
    21 PULL_OFFSET_MOVED;
    /// Not found.
    22 QUERY_NOT_FOUND;
    /// The filter expression does not parse.
    23 SUBSCRIPTION_PARSE_FAILED;
    /// The group has no such subscription here yet.
    24 SUBSCRIPTION_NOT_EXIST;
    /// The subscription known here is older than the request's.
    25 SUBSCRIPTION_NOT_LATEST;
    /// No such consumer group.
    26 SUBSCRIPTION_GROUP_NOT_EXIST;
    /// No compiled filter.
    27 FILTER_DATA_NOT_EXIST;
    /// The compiled filter is older than the request's.
    28 FILTER_DATA_NOT_LATEST;
    /// No member of the group is connected.
    206 CONSUMER_NOT_ONLINE;
    /// The client did not answer in time.
    207 CONSUME_MSG_TIMEOUT;
    /// No message (client side).
    208 NO_MESSAGE;
    /// ACL change failed.
    209 UPDATE_AND_CREATE_ACL_CONFIG_FAILED;
    /// ACL deletion failed.
    210 DELETE_ACL_CONFIG_FAILED;
    /// Change of the global white list failed.
    211 UPDATE_GLOBAL_WHITE_ADDRS_CONFIG_FAILED;
    /// Slow down and retry.
    215 FLOW_CONTROL;
}
