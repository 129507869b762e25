//! Accounts of access control by request: 50 to 53. There are none yet, and each answer says so.
//!
//! The original leaves 52 without an answer when access control is off, and its tools wait for their timeout.

use crate::{
    Broker,
    call::{Call, Handle, Out, Reply, handlers},
};
use kerolox_protocol::{
    Fail, code,
    rpc::acl::{
        AccessKeyRef, AclAccountRequest, AclInfoReply, DeleteAclConfig, GetBrokerClusterAclInfo,
        UpdateAndCreateAclConfig, UpdateGlobalWhiteAddrsConfig, WhiteAddrsRequest,
    },
};

handlers![UpdateAndCreateAclConfig, DeleteAclConfig, GetBrokerClusterAclInfo, UpdateGlobalWhiteAddrsConfig];

fn off(code: i32) -> Fail {
    let remark = "access control is off: this broker has no accounts, and nothing was changed; the key \
                  adminNetworks says who may administer it";
    Fail::new(code, remark)
}

impl Handle<UpdateAndCreateAclConfig> for Broker {
    fn handle(&mut self, _: &Call<'_>, _: AclAccountRequest, _: &mut Out) -> Result<Reply<()>, Fail> {
        Err(off(code::UPDATE_AND_CREATE_ACL_CONFIG_FAILED))
    }
}

impl Handle<DeleteAclConfig> for Broker {
    fn handle(&mut self, _: &Call<'_>, _: AccessKeyRef, _: &mut Out) -> Result<Reply<()>, Fail> {
        Err(off(code::DELETE_ACL_CONFIG_FAILED))
    }
}

impl Handle<GetBrokerClusterAclInfo> for Broker {
    fn handle(&mut self, _: &Call<'_>, (): (), _: &mut Out) -> Result<Reply<AclInfoReply>, Fail> {
        Err(off(code::SYSTEM_ERROR))
    }
}

impl Handle<UpdateGlobalWhiteAddrsConfig> for Broker {
    fn handle(&mut self, _: &Call<'_>, _: WhiteAddrsRequest, _: &mut Out) -> Result<Reply<()>, Fail> {
        Err(off(code::UPDATE_GLOBAL_WHITE_ADDRS_CONFIG_FAILED))
    }
}
