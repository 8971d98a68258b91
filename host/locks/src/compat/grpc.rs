//! The older contract as gRPC: the status message is the error string.

use super::{Compatible, Refusal};
use crate::access::Caller;
use lockport_proto::lock_manager::lock_manager_service_server::LockManagerService;
use lockport_proto::lock_manager::{LockReq, LockRes, UnlockReq, UnlockRes};
use tonic::{Request, Response, Status};

/// The older contract as gRPC.
pub(crate) struct CompatGrpc(pub(crate) Compatible);

#[tonic::async_trait]
impl LockManagerService for CompatGrpc {
    async fn lock(&self, request: Request<LockReq>) -> Result<Response<LockRes>, Status> {
        let caller = caller(&request)?;
        let id = request.into_inner().resource_id.unwrap_or_default();
        let token = self.0.lock(&caller, &id).await?;
        Ok(Response::new(LockRes {
            token: Some(token.to_string()),
        }))
    }

    async fn unlock(&self, request: Request<UnlockReq>) -> Result<Response<UnlockRes>, Status> {
        let caller = caller(&request)?;
        let UnlockReq { resource_id, token } = request.into_inner();
        let id = resource_id.unwrap_or_default();
        let token = token.unwrap_or_default();
        self.0.unlock(&caller, &id, &token).await?;
        Ok(Response::new(UnlockRes {
            response: Some(Default::default()),
        }))
    }
}

fn caller<T>(request: &Request<T>) -> Result<Caller, Refusal> {
    // The door has put it there.
    let caller = request.extensions().get::<Caller>();
    caller.cloned().ok_or(Refusal::InternalError)
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code(), refusal.text())
    }
}
