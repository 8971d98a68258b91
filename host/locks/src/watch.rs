//! What happens to locks, told to whoever watches.

use crate::access::Caller;
use crate::convert;
use crate::failure::Failure;
use crate::list::check_prefix;
use crate::service::Service;
use crate::statistics::Open;
use futures_util::stream::{self, Stream};
use lockport_proto::Reason;
use lockport_proto::lock as proto;
use lockport_store::store::{Watch, WatchQuery};
use std::sync::Arc;
use tokio::time::{Instant, timeout_at};

/// One who watches. Dropping it ends that.
pub(crate) struct Watcher {
    service: Arc<Service>,
    caller: Caller,
    watch: Watch,
    /// When it is told that nothing happened, unless something does: at first,
    /// at once.
    progress: Instant,
    _open: Open,
}

impl Watcher {
    /// `LockService.Watch`.
    pub(crate) async fn new(
        service: &Arc<Service>,
        caller: &Caller,
        request: proto::WatchRequest,
    ) -> Result<Self, Failure> {
        service.drain.check_brief()?;
        check_prefix(&request.prefix)?;
        let query = WatchQuery {
            prefix: request.prefix,
            after: (request.from_revision != 0).then_some(request.from_revision),
        };
        Ok(Self {
            watch: service.store.watch(query).await?,
            service: Arc::clone(service),
            caller: caller.clone(),
            progress: Instant::now(),
            _open: Open::new(&service.counters.watches),
        })
    }

    /// The next thing to tell. Dropping the future misses nothing.
    pub(crate) async fn next(&mut self) -> Result<proto::WatchResponse, Failure> {
        loop {
            if self.progress <= Instant::now() {
                return Ok(self.told(convert::of_progress(self.watch.revision())));
            }
            // It has passed if nothing happened until then.
            let Ok(watched) = timeout_at(self.progress, self.watch.next()).await else {
                continue;
            };
            let Some(watched) = watched else {
                let why = "the store has been closed";
                return Err(Failure::new(Reason::StoreUnavailable, why));
            };
            if let Some(response) = convert::of_watched(&self.caller, watched) {
                return Ok(self.told(response));
            }
        }
    }

    /// All there is to tell until the node ends, or until `deadline`: the last
    /// item says why there is no more.
    pub(crate) fn until(
        self,
        deadline: Option<Instant>,
    ) -> impl Stream<Item = Result<proto::WatchResponse, Failure>> + Send + use<> {
        stream::unfold(Some(self), move |watcher| async move {
            let mut watcher = watcher?;
            let service = Arc::clone(&watcher.service);
            let item = service.drain.unless_ending(watcher.next_by(deadline)).await;
            let item = item.and_then(|it| it);
            let goes_on = item.is_ok();
            Some((item, goes_on.then_some(watcher)))
        })
    }

    async fn next_by(
        &mut self,
        deadline: Option<Instant>,
    ) -> Result<proto::WatchResponse, Failure> {
        match deadline {
            None => self.next().await,
            // Looked at first, for there may always be something to tell.
            Some(deadline) if deadline <= Instant::now() => Err(Failure::deadline()),
            Some(deadline) => match timeout_at(deadline, self.next()).await {
                Ok(item) => item,
                Err(_) => Err(Failure::deadline()),
            },
        }
    }

    fn told(&mut self, response: proto::WatchResponse) -> proto::WatchResponse {
        self.progress = Instant::now() + self.service.limits.progress;
        response
    }
}
