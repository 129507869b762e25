//! RPCs of the name server's key-value store and of its own settings.

use crate::{headers, rpcs};

rpcs! {
    /// Sets a value.
    100 PutKvConfig "PUT_KV_CONFIG": PutKvRequest => (), Namesrv, needs Admin;
    /// Reads a value.
    101 GetKvConfig "GET_KV_CONFIG": KvRef => KvReply, Namesrv, needs Inspect;
    /// Removes a value; a missing one is no error.
    102 DeleteKvConfig "DELETE_KV_CONFIG": KvRef => (), Namesrv, needs Admin;
    /// All values of a namespace.
    219 GetKvListByNamespace "GET_KVLIST_BY_NAMESPACE": NamespaceRef => (), Namesrv, needs Inspect;
    /// Changes settings of the name server; the body is properties text.
    318 UpdateNamesrvConfig "UPDATE_NAMESRV_CONFIG": () => (), Namesrv, needs Admin, body List;
    /// Settings of the name server, as properties text.
    319 GetNamesrvConfig "GET_NAMESRV_CONFIG": () => (), Namesrv, needs Admin;
}

headers! {
    /// Reference: `PutKVConfigRequestHeader`. Fields are optional so that the original's own refusal can be given.
    pub struct PutKvRequest {
        /// Namespace; absent is refused with the original's words.
        namespace: Option<String> = "namespace",
        /// Key; absent is refused with the original's words.
        key: Option<String> = "key",
        /// Value; absent counts as empty.
        value: Option<String> = "value",
    }
    /// Names one value. Reference: `GetKVConfigRequestHeader`, `DeleteKVConfigRequestHeader`.
    pub struct KvRef {
        /// Namespace; absent is refused with the original's words.
        namespace: Option<String> = "namespace",
        /// Key; absent is refused with the original's words.
        key: Option<String> = "key",
    }
    /// Reference: `GetKVConfigResponseHeader`.
    pub struct KvReply {
        /// The value; absent if there is none.
        value: Option<String> = "value",
    }
    /// Reference: `GetKVListByNamespaceRequestHeader`.
    pub struct NamespaceRef {
        /// Namespace.
        namespace: String = "namespace",
    }
}
