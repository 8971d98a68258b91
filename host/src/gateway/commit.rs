//! When what a handler staged counts.
//!
//! ```text
//!   Head:  head set --> decided --> head and body go out while they are written
//!   End:   head set --> body held until the handler is done --> decided --> out
//! ```
//!
//! Decided means: a status below 400 commits, anything else discards, unless
//! the handler asked to keep what it staged. A success is never sent before
//! its commit, and an error never before everything is given back. Whatever a
//! handler makes of data that does not fit together, or is not current any
//! more, is not sent: an error or a trap is a conflict then, too.
//!
//! `End` is for whatever is known only later: a call is kept or rolled back
//! once its whole answer is there, and an answer without a body says nothing
//! but its head, so that is sent only when the handler has returned well.

use super::headers;
use super::rescue::Refusal;
use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use lockport_engine::{Answer, AnswerBody, BodyError};
use lockport_store::Transaction;
use lockport_store::transaction::{Discarded, Nested};

/// The moment at which it is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitPoint {
    /// Before the head is sent; the body streams.
    Head,
    /// When the handler is done; the body is held.
    End,
}

/// What is decided about.
pub enum Stake<'t> {
    /// A request: its transaction is committed or ended.
    Request(&'t Transaction),
    /// A call: its savepoint is kept or rolled back.
    Call(Nested),
}

/// An answer that has come to its commit point, and is not decided yet.
#[derive(Debug)]
#[must_use = "nothing is committed until it is decided"]
pub struct Held {
    head: Parts,
    body: HeldBody,
}

/// A response's body at its commit point.
#[derive(Debug)]
pub enum HeldBody {
    /// It may still be written.
    Open(AnswerBody),
    /// It is all there.
    Whole(Bytes),
}

/// Whether an answer's body is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodySent {
    /// It is.
    Yes,
    /// It is not: the request was `HEAD`.
    No,
}

/// Brings an answer to its commit point. `held_max` is how many bytes of it
/// may be held.
pub async fn hold(
    answer: Answer,
    point: CommitPoint,
    sent: BodySent,
    held_max: u64,
) -> Result<Held, Refusal> {
    let Answer { head, body } = answer;
    if head.status.is_informational() {
        return Err(Refusal::BadStatus(head.status));
    }
    let body = if sent == BodySent::No || is_bodyless(head.status) {
        drain(body).await?;
        HeldBody::Whole(Bytes::new())
    } else {
        match point {
            CommitPoint::Head => HeldBody::Open(body),
            CommitPoint::End => {
                let whole = body.collect(held_max).await?;
                check_length(&head.headers, whole.len() as u64)?;
                HeldBody::Whole(whole)
            }
        }
    };
    Ok(Held { head, body })
}

impl Held {
    /// Its head and its body, if that is all there.
    pub fn whole(&self) -> Option<(&Parts, &Bytes)> {
        match &self.body {
            HeldBody::Whole(body) => Some((&self.head, body)),
            HeldBody::Open(_) => None,
        }
    }

    #[cfg(test)]
    pub(super) fn of_whole(response: http::Response<Bytes>) -> Self {
        let (head, body) = response.into_parts();
        let body = HeldBody::Whole(body);
        Self { head, body }
    }

    /// Commits or discards what was staged, and hands the answer out. Dropping
    /// the future may leave it unknown which of the two it was.
    pub async fn decide(self, stake: Stake<'_>) -> Result<(Parts, HeldBody), Refusal> {
        stake.decide(self.head.status).await?;
        Ok((self.head, self.body))
    }
}

/// What becomes of a run: as [`Held::decide`]; or, if the handler failed, whether
/// it did for what it has read.
pub async fn decide(
    run: Result<Held, Refusal>,
    transaction: &Transaction,
) -> Result<(Parts, HeldBody), Refusal> {
    match run {
        Ok(held) => held.decide(Stake::Request(transaction)).await,
        Err(refusal) if refusal.is_the_handlers() => {
            let discarded = transaction.discard(Discarded::Failure).await;
            discarded.map_err(Refusal::Commit)?;
            Err(refusal)
        }
        Err(refusal) => Err(refusal),
    }
}

/// Whether an answer with this status has no body, whatever its handler wrote.
fn is_bodyless(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

impl Stake<'_> {
    async fn decide(self, status: StatusCode) -> Result<(), Refusal> {
        let success = status.as_u16() < 400;
        match self {
            Self::Request(transaction) if success || transaction.kept() => {
                let committed = transaction.commit().await;
                committed.map(drop).map_err(Refusal::Commit)
            }
            Self::Request(transaction) => {
                let discarded = transaction.discard(Discarded::Answer).await;
                discarded.map_err(Refusal::Commit)
            }
            Self::Call(nested) if success => {
                nested.keep();
                Ok(())
            }
            // Dropped here: rolled back before the caller hears of it.
            Self::Call(_) => Ok(()),
        }
    }
}

/// Refuses a body that is not as long as its head says, like one that is sent
/// while it is written: it may be half of an answer.
fn check_length(head: &HeaderMap, actual: u64) -> Result<(), Refusal> {
    match headers::content_length(head) {
        Some(stated) if stated != actual => Err(Refusal::WrongLength { stated, actual }),
        _ => Ok(()),
    }
}

/// Lets the handler finish a body that nobody will see.
async fn drain(mut body: AnswerBody) -> Result<(), Refusal> {
    while let Some(frame) = body.frame().await {
        frame?;
    }
    Ok(())
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::Handler(failure) => Self::Handler(failure),
            BodyError::TooLarge { limit } => Self::HeldTooLarge { limit },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use http::header::CONTENT_LENGTH;

    #[test]
    fn a_body_that_is_not_as_long_as_its_head_says_is_refused() {
        let mut head = HeaderMap::new();
        assert!(check_length(&head, 3).is_ok(), "nothing is said");
        head.insert(CONTENT_LENGTH, HeaderValue::from_static("3"));
        assert!(check_length(&head, 3).is_ok());
        for actual in [0, 2, 4] {
            let refused = check_length(&head, actual).unwrap_err();
            assert_eq!(refused.problem().status, 500, "{actual}");
        }
    }
}
