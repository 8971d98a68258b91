//! The lock API as gRPC.

use crate::access::Caller;
use crate::failure::Failure;
use crate::service::Service;
use crate::session::SessionStream;
use crate::statistics::{Method, Transport};
use crate::watch::Watcher;
use futures_util::stream::{BoxStream, StreamExt};
use lockport_proto::Reason;
use lockport_proto::lock as proto;
use lockport_proto::lock::lock_service_server::LockService;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use tonic::codegen::http::HeaderMap;
use tonic::{Request, Response, Status, Streaming};

/// The header with how long a client waits for an answer.
const TIMEOUT: &str = "grpc-timeout";

/// The lock API as gRPC.
#[derive(Clone)]
pub(crate) struct Grpc(pub(crate) Arc<Service>);

#[tonic::async_trait]
impl LockService for Grpc {
    type WatchStream = BoxStream<'static, Result<proto::WatchResponse, Status>>;
    type SessionStream = SessionStream;

    async fn acquire(
        &self,
        request: Request<proto::AcquireRequest>,
    ) -> Result<Response<proto::AcquireResponse>, Status> {
        let (caller, deadline, request) = open(request)?;
        let answer = self.0.acquire(&caller, request, None);
        self.answer(Method::Acquire, deadline, answer).await
    }

    async fn cancel(
        &self,
        request: Request<proto::CancelRequest>,
    ) -> Result<Response<proto::CancelResponse>, Status> {
        let (caller, deadline, request) = open(request)?;
        let answer = self.0.cancel(&caller, request);
        self.answer(Method::Cancel, deadline, answer).await
    }

    async fn renew(
        &self,
        request: Request<proto::RenewRequest>,
    ) -> Result<Response<proto::RenewResponse>, Status> {
        let (caller, deadline, request) = open(request)?;
        let answer = self.0.renew(&caller, request);
        self.answer(Method::Renew, deadline, answer).await
    }

    async fn release(
        &self,
        request: Request<proto::ReleaseRequest>,
    ) -> Result<Response<proto::ReleaseResponse>, Status> {
        let (caller, deadline, request) = open(request)?;
        let answer = self.0.release(&caller, request);
        self.answer(Method::Release, deadline, answer).await
    }

    async fn get(
        &self,
        request: Request<proto::GetRequest>,
    ) -> Result<Response<proto::GetResponse>, Status> {
        let (caller, deadline, request) = open(request)?;
        let answer = self.0.get(&caller, request);
        self.answer(Method::Get, deadline, answer).await
    }

    async fn list(
        &self,
        request: Request<proto::ListRequest>,
    ) -> Result<Response<proto::ListResponse>, Status> {
        let (caller, deadline, request) = open(request)?;
        let answer = self.0.list(&caller, request);
        self.answer(Method::List, deadline, answer).await
    }

    async fn force_release(
        &self,
        request: Request<proto::ForceReleaseRequest>,
    ) -> Result<Response<proto::ForceReleaseResponse>, Status> {
        let (caller, deadline, request) = open(request)?;
        let answer = self.0.force_release(&caller, request);
        self.answer(Method::ForceRelease, deadline, answer).await
    }

    async fn watch(
        &self,
        request: Request<proto::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (caller, deadline, request) = open(request)?;
        let asked = self.0.counters.ask(Method::Watch, Transport::Grpc);
        let watcher = asked.answered(Watcher::new(&self.0, &caller, request).await)?;
        let told = watcher.until(deadline).map(|it| it.map_err(Status::from));
        Ok(Response::new(told.boxed()))
    }

    async fn session(
        &self,
        request: Request<Streaming<proto::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (caller, deadline, requests) = open(request)?;
        let stream = SessionStream::new(Arc::clone(&self.0), caller, requests, deadline);
        Ok(Response::new(stream))
    }
}

impl Grpc {
    /// Waits for the answer, and counts it.
    async fn answer<T>(
        &self,
        method: Method,
        deadline: Option<Instant>,
        answer: impl Future<Output = Result<T, Failure>>,
    ) -> Result<Response<T>, Status> {
        let asked = self.0.counters.ask(method, Transport::Grpc);
        let answer = match deadline {
            None => answer.await,
            // The answer is looked for first, and a deadline of nothing is not
            // even that.
            Some(deadline) if deadline <= Instant::now() => Err(Failure::deadline()),
            Some(deadline) => match timeout_at(deadline, answer).await {
                Ok(answer) => answer,
                Err(_) if method.only_looks() => Err(Failure::deadline()),
                Err(_) => Err(Failure::outcome_unknown(method)),
            },
        };
        match asked.answered(answer) {
            Ok(answer) => Ok(Response::new(answer)),
            Err(failure) => Err(failure.into()),
        }
    }
}

/// Who asks, until when, and for what.
fn open<T>(request: Request<T>) -> Result<(Caller, Option<Instant>, T), Status> {
    let (metadata, mut extensions, message) = request.into_parts();
    let Some(caller) = extensions.remove::<Caller>() else {
        return Err(Failure::internal("a request came in past the door").into());
    };
    let deadline = deadline(metadata.as_ref())?;
    Ok((caller, deadline, message))
}

/// Until when the client waits for an answer.
fn deadline(headers: &HeaderMap) -> Result<Option<Instant>, Failure> {
    let Some(header) = headers.get(TIMEOUT) else {
        return Ok(None);
    };
    let Some(timeout) = parse_timeout(header.as_bytes()) else {
        let why = "the header `grpc-timeout` is no duration";
        return Err(Failure::new(Reason::InvalidRequest, why));
    };
    // A deadline beyond all time is none.
    Ok(Instant::now().checked_add(timeout))
}

/// Reads up to 8 digits and a unit.
fn parse_timeout(text: &[u8]) -> Option<Duration> {
    let (unit, digits) = text.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits
        .iter()
        .fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(number * 60 * 60),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_up_to_eight_digits_and_a_unit() {
        let read = |text: &str| parse_timeout(text.as_bytes());
        assert_eq!(read("0n"), Some(Duration::ZERO));
        assert_eq!(read("15m"), Some(Duration::from_millis(15)));
        assert_eq!(read("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(
            read("99999999H"),
            Some(Duration::from_secs(99_999_999 * 3600))
        );
        for wrong in ["", "S", "1", "-1S", "1.5S", "123456789S", "1s", " 1S"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
