//! The operations of the lock API: as calls of their own, and as messages on a
//! session's stream.

use lockport_proto::Duration as WireDuration;
use lockport_proto::lock::lock_service_client::LockServiceClient;
use lockport_proto::lock::session_request::Operation;
use lockport_proto::lock::session_response::Result as Answered;
use lockport_proto::lock::*;
use std::future::Future;
use std::time::Duration;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

/// The largest answer that is read: a page of locks whose queues are long.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A message that asks for something and is answered once.
pub(crate) trait Call: Clone + Send + 'static {
    /// What it is answered with.
    type Answer: Send + 'static;

    /// Sends it as a call of its own.
    fn send(
        request: Request<Self>,
        channel: Channel,
    ) -> impl Future<Output = Result<Response<Self::Answer>, Status>> + Send;

    /// As a message on a session's stream.
    fn operation(self) -> Operation;

    /// The answer to that message, unless it answers another.
    fn answer(answered: Answered) -> Option<Self::Answer>;
}

macro_rules! calls {
    ($($request:ident: $method:ident => $variant:ident -> $answer:ident;)+) => {$(
        impl Call for $request {
            type Answer = $answer;

            async fn send(
                request: Request<Self>,
                channel: Channel,
            ) -> Result<Response<$answer>, Status> {
                service(channel).$method(request).await
            }

            fn operation(self) -> Operation {
                Operation::$variant(self)
            }

            fn answer(answered: Answered) -> Option<$answer> {
                match answered {
                    Answered::$variant(answer) => Some(answer),
                    _ => None,
                }
            }
        }
    )+};
}

calls! {
    AcquireRequest: acquire => Acquire -> AcquireResponse;
    CancelRequest: cancel => Cancel -> CancelResponse;
    RenewRequest: renew => Renew -> RenewResponse;
    ReleaseRequest: release => Release -> ReleaseResponse;
    GetRequest: get => Get -> GetResponse;
    ListRequest: list => List -> ListResponse;
    ForceReleaseRequest: force_release => ForceRelease -> ForceReleaseResponse;
}

/// The service at the other end of a channel.
pub(crate) fn service(channel: Channel) -> LockServiceClient<Channel> {
    LockServiceClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX)
}

/// A duration as it travels. What is longer than anything that is allowed is
/// sent as such, and refused.
pub(crate) fn to_wire(duration: Duration) -> WireDuration {
    WireDuration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: duration.subsec_nanos().cast_signed(),
    }
}

/// A duration as it came in an answer. Zero if it is negative.
pub fn from_wire(duration: &WireDuration) -> Duration {
    let seconds = u64::try_from(duration.seconds).unwrap_or(0);
    let nanos = u32::try_from(duration.nanos).unwrap_or(0);
    Duration::from_secs(seconds).saturating_add(Duration::from_nanos(nanos.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_travel_both_ways() {
        for it in [
            Duration::ZERO,
            Duration::from_millis(100),
            Duration::from_nanos(1_999_999_999),
        ] {
            assert_eq!(from_wire(&to_wire(it)), it);
        }
        let negative = WireDuration {
            seconds: -1,
            nanos: -1,
        };
        assert_eq!(from_wire(&negative), Duration::ZERO);
        assert_eq!(to_wire(Duration::MAX).seconds, i64::MAX);
    }
}
