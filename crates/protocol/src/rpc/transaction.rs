//! RPCs of transactional producers.

use crate::{headers, rpcs};

rpcs! {
    /// Commits or rolls back a half message; the topic to be allowed for is that of the half message.
    37 EndTransaction "END_TRANSACTION": EndTransactionRequest => (), Broker, needs Publish;
    /// Checks a half message again that was given up.
    323 ResumeCheckHalfMessage "RESUME_CHECK_HALF_MESSAGE": ResumeCheckRequest => (), Broker, needs Admin;
    /// Asks a producer what became of a transaction; the body is the half message.
    39 CheckTransactionState "CHECK_TRANSACTION_STATE": CheckTransactionRequest => (), Client, needs Nothing, body Frame;
}

headers! {
    /// Reference: `EndTransactionRequestHeader`.
    pub struct EndTransactionRequest {
        /// Group of the producer.
        producer_group: String = "producerGroup",
        /// Queue offset of the half message, in messages.
        tran_state_table_offset: i64 = "tranStateTableOffset",
        /// Commit-log offset of the half message, in bytes.
        commit_log_offset: i64 = "commitLogOffset",
        /// 0 unknown, 8 commit, 12 rollback.
        commit_or_rollback: i32 = "commitOrRollback",
        /// Whether this answers a check; absent means no.
        from_transaction_check: Option<bool> = "fromTransactionCheck",
        /// Unique id of the message; absent from some clients and not needed.
        msg_id: Option<String> = "msgId",
        /// Id of the transaction; absent means none.
        transaction_id: Option<String> = "transactionId",
    }
    /// Reference: `ResumeCheckHalfMessageRequestHeader`.
    pub struct ResumeCheckRequest {
        /// Offset message id of the half message; absent finds nothing.
        msg_id: Option<String> = "msgId",
    }
    /// Reference: `CheckTransactionStateRequestHeader`.
    pub struct CheckTransactionRequest {
        /// Queue offset of the half message as it is now, in messages.
        tran_state_table_offset: i64 = "tranStateTableOffset",
        /// Commit-log offset of the half message as it is now, in bytes.
        commit_log_offset: i64 = "commitLogOffset",
        /// Unique id of the message; absent without one.
        msg_id: Option<String> = "msgId",
        /// Id of the transaction, the same as `msgId`; absent without one.
        transaction_id: Option<String> = "transactionId",
        /// Offset message id of the half message.
        offset_msg_id: Option<String> = "offsetMsgId",
    }
}
