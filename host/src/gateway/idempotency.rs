//! Requests that may be sent again: `Idempotency-Key` on POST and PATCH (an IETF
//! draft), for every component.
//!
//! ```text
//!   body whole -> lock of the key -> answered before?
//!                      |                |-- yes, the same body:    that answer
//!                      |                |-- yes, another body:     422
//!                      |                '-- no: run, and keep the answer
//!                      '-- somebody has it: 409                    by its commit
//! ```
//!
//! The answer of a request that was committed is kept by the same commit, under
//! the lock of its key. So there is an answer if and only if there is an effect,
//! and a commit that comes late, after its client has asked again, is fenced. A
//! request that was not committed is run anew.
//!
//! A key is its client's: its scope is the component, the method, the path and
//! who asks. Answers are kept for a while (`idempotency.keep`) and then swept, some
//! at a time.

mod kept;

use super::commit::Held;
use super::intake::{AGAIN_BYTES, Intake, IntakeError, Pump};
use super::rescue::Refusal;
use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderName};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response};
use http_body::Body;
use http_body_util::BodyExt;
use kept::Kept;
use lockport_store::store::{AcquireError, CommitError, Order, Query, Store};
use lockport_store::transaction::{Limits, LockError, StateError};
use lockport_store::{Collection, Key, LockName, Time, Transaction};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;

/// The header that carries a key.
pub const HEADER: HeaderName = HeaderName::from_static("idempotency-key");

/// The longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 255;

/// The largest body of an answer that can be kept, in bytes: it has to go into a
/// commit.
pub const ANSWER_BYTES_MAX: u64 = 512 << 10;

/// How many answers one sweep removes at most. The next goes on.
pub const SWEPT_MAX: usize = 256;

/// How often answers are swept.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// What is added to an answer that was given before.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Where answers are kept.
pub struct Answers {
    store: Arc<dyn Store>,
    /// For how long.
    keep: Duration,
    /// Key -> answer.
    answers: Collection,
    /// Time and key of each, so that the oldest are found.
    times: Collection,
}

/// A request with a key, whose body is there.
pub struct Keyed {
    /// The scope and the key, hashed.
    key: Key,
    /// SHA-256 of the body.
    body: [u8; 32],
}

/// What is known of a request with a key that nobody else has.
pub enum Known {
    /// It was answered before.
    Answer(Response<Bytes>),
    /// It was not, or so long ago that it is as if it was not: the place of that
    /// answer, which is then replaced.
    Nothing(Option<Key>),
}

/// Whether the head of a request has a key that counts.
pub fn has_key(parts: &Parts) -> bool {
    [Method::POST, Method::PATCH].contains(&parts.method) && parts.headers.contains_key(HEADER)
}

/// Says of an answer that it was given before.
pub fn mark_replayed(headers: &mut HeaderMap) {
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
}

impl Keyed {
    /// Reads the body of a request that has a key to its end. One that cannot be
    /// read again is too large.
    pub async fn read<B>(
        component: &str,
        parts: &Parts,
        intake: &mut Intake<B>,
    ) -> Result<Self, Refusal>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: std::fmt::Display,
    {
        let key = scoped(component, parts)?;
        let too_large = || IntakeError::TooLarge {
            limit: AGAIN_BYTES as u64,
        };
        let mut body = intake.body().ok_or_else(too_large)?;
        let mut hash = Sha256::new();
        while let Some(Ok(frame)) = Pump::alongside(&mut intake.pump, body.frame()).await? {
            hash.update(frame.data_ref().map_or(&[][..], |it| it));
            if !intake.is_there_again() {
                return Err(too_large().into());
            }
        }
        Ok(Self {
            key,
            body: hash.finalize().into(),
        })
    }

    fn lock(&self) -> LockName {
        LockName::internal("answer", self.key.as_str())
    }
}

/// The key of a request within its scope.
fn scoped(component: &str, parts: &Parts) -> Result<Key, Refusal> {
    let mut keys = parts.headers.get_all(HEADER).iter();
    let key = match (keys.next(), keys.next()) {
        (Some(key), None) => key.as_bytes(),
        _ => return Err(Refusal::IdempotencyKey("there is more than one")),
    };
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        return Err(Refusal::IdempotencyKey("it has 1 to 255 bytes"));
    }
    let asker = parts.headers.get(AUTHORIZATION);
    let scope = [
        component.as_bytes(),
        parts.method.as_str().as_bytes(),
        parts.uri.path().as_bytes(),
        asker.map_or(&[][..], HeaderValue::as_bytes),
        key,
    ];
    let mut hash = Sha256::new();
    for part in scope {
        // So that no part passes for the end of another.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let text = hex(&hash.finalize());
    // It is not empty, not long, and has no control characters.
    Key::new(text).map_err(|_| Refusal::Panicked)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|it| format!("{it:02x}")).collect()
}

impl Answers {
    /// The answers of a store, each kept so long.
    pub fn new(store: Arc<dyn Store>, keep: Duration) -> Self {
        // No component has such a name.
        let own = |name| Collection::new(".gateway", name, None).expect("it has no slash");
        Self {
            store,
            keep,
            answers: own("answers"),
            times: own("answer_times"),
        }
    }

    /// Takes the lock of a key for a request, and looks for what was answered.
    pub async fn look(&self, keyed: &Keyed, transaction: &Transaction) -> Result<Known, Refusal> {
        match transaction.acquire_for_host(keyed.lock()).await {
            Ok(()) => {}
            Err(LockError::Acquire(AcquireError::Held(_))) => return Err(Refusal::InProgress),
            Err(error) => return Err(Refusal::Lock(error)),
        }
        let found = self.store.get(self.answers.clone(), keyed.key.clone());
        let found = found.await.map_err(|it| Refusal::Lock(it.into()))?;
        let Some(kept) = found.as_ref().and_then(|it| Kept::read(&it.value)) else {
            return Ok(Known::Nothing(None));
        };
        if self.is_over(kept.at, self.store.now()) {
            return Ok(Known::Nothing(Some(time_key(kept.at, &keyed.key))));
        }
        if kept.body != keyed.body {
            return Err(Refusal::AnotherBody);
        }
        Ok(Known::Answer(kept.response))
    }

    /// Has the commit of a transaction keep an answer, in the place of what was
    /// there too long.
    pub fn record(
        &self,
        keyed: &Keyed,
        held: &Held,
        replaced: Option<&Key>,
        transaction: &Transaction,
    ) {
        let Some((head, body)) = held.whole() else {
            return;
        };
        let at = self.store.now();
        let value = Kept::write(at, &keyed.body, head, body);
        let (answers, times) = (self.answers.clone(), self.times.clone());
        let guard = Some(keyed.lock());
        transaction.record(answers, keyed.key.clone(), Some(value), guard);
        let time = time_key(at, &keyed.key);
        if let Some(replaced) = replaced.filter(|it| **it != time) {
            transaction.record(times.clone(), replaced.clone(), None, None);
        }
        transaction.record(times, time, Some(Bytes::new()), None);
    }

    /// Removes answers that were kept for long enough; how many. They are still
    /// there if somebody else has just replaced or removed one of them.
    pub async fn sweep(&self) -> Result<usize, CommitError> {
        let label = "sweeps answers".to_owned();
        let limits = Limits::default();
        let transaction = Transaction::begin(self.store.clone(), limits, label);
        let query = Query {
            prefix: String::new(),
            after: None,
            order: Order::Ascending,
            limit: SWEPT_MAX,
        };
        let listed = self.store.list(self.times.clone(), query).await?;
        let now = self.store.now();
        let times = listed.entries.into_iter().map(|(time, _)| time);
        let over: Vec<_> = times
            .filter(|it| self.is_over(moment_of(it), now))
            .collect();
        let scope = transaction.scope();
        let mut swept = 0;
        for time in over {
            let key = time.as_str().split_once('/').map(|(_, key)| key);
            let Some(Ok(key)) = key.map(Key::new) else {
                continue;
            };
            let removed = async {
                // The answer may have been replaced since it was listed. What is
                // read is current when it is removed.
                let answer = scope.get(&self.answers, &key).await?;
                let kept = answer.and_then(|it| Kept::read(&it.value));
                scope.delete(&self.times, time.clone()).await?;
                match kept {
                    Some(kept) if !self.is_over(kept.at, now) => Ok(()),
                    _ => scope.delete(&self.answers, key).await,
                }
            };
            match removed.await {
                Ok(()) => swept += 1,
                Err(StateError::Store(error)) => return Err(error.into()),
                // Its size is bounded: there is no other limit to run into.
                Err(_) => break,
            }
        }
        transaction.commit().await.map(|_| swept)
    }

    /// Sweeps now and then, until it is dropped.
    pub async fn keep_swept(&self) {
        loop {
            tokio::time::sleep(SWEEP_EVERY.min(self.keep)).await;
            loop {
                match self.sweep().await {
                    Ok(SWEPT_MAX) => {}
                    Ok(_) => break,
                    Err(error) => {
                        tracing::debug!(%error, "answers are swept later");
                        break;
                    }
                }
            }
        }
    }

    fn is_over(&self, at: Time, now: Time) -> bool {
        at + self.keep <= now
    }
}

/// Sorts by time.
fn time_key(at: Time, key: &Key) -> Key {
    let text = format!("{:020}/{key}", at.as_micros());
    Key::new(text).expect("it is not long and has no control characters")
}

fn moment_of(time: &Key) -> Time {
    let micros = time.as_str().split('/').next();
    Time::from_micros(
        micros
            .and_then(|it| it.parse().ok())
            .unwrap_or(u64::MAX / 2),
    )
}

#[cfg(test)]
mod tests;
