//! The threads that read. Each has a connection of its own and sees the latest
//! commit as of the moment it begins; none waits for the writer.

use super::{OpenError, schema};
use crate::store::StoreError;
use rusqlite::Connection;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// How many threads read. A read is mostly a look into memory; more threads
/// than this help only against a slow disk.
const READERS: usize = 4;

/// How many reads may be queued; who comes after waits for room.
const QUEUED_MAX: usize = 1024;

/// The threads, and what they have to do. Dropping it ends them.
pub(super) struct Readers {
    queue: Arc<Queue>,
    room: Arc<Semaphore>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<QueueState>,
    changed: Condvar,
}

#[derive(Default)]
struct QueueState {
    jobs: VecDeque<Job>,
    is_closed: bool,
}

struct Job {
    run: Box<dyn FnOnce(&Connection) + Send>,
    _room: OwnedSemaphorePermit,
}

impl Readers {
    pub(super) fn start(database: &Path) -> Result<Self, OpenError> {
        let mut readers = Self {
            queue: Arc::default(),
            room: Arc::new(Semaphore::new(QUEUED_MAX)),
            threads: Vec::with_capacity(READERS),
        };
        for number in 0..READERS {
            let connection = schema::open_reader(database)?;
            let queue = readers.queue.clone();
            let builder = std::thread::Builder::new().name(format!("lockport-read-{number}"));
            let thread = builder.spawn(move || {
                while let Some(job) = queue.next() {
                    (job.run)(&connection);
                }
            });
            readers.threads.push(thread.map_err(OpenError::Thread)?);
        }
        Ok(readers)
    }

    /// Has one of the threads do `read`. If nobody waits for the answer by the
    /// time it is its turn, it is not done.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let gone = || StoreError::Unavailable("it was closed".to_owned());
        let room = self.room.clone().acquire_owned().await;
        let (reply, answer) = oneshot::channel();
        self.queue.push(Job {
            _room: room.map_err(|_| gone())?,
            run: Box::new(move |connection| {
                if !reply.is_closed() {
                    drop(reply.send(read(connection)));
                }
            }),
        });
        let answer = answer.await.map_err(|_| gone())?;
        answer.map_err(|error| StoreError::Unavailable(error.to_string()))
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.queue.lock().is_closed = true;
        self.queue.changed.notify_all();
        for thread in self.threads.drain(..) {
            // A reader that panicked has said so itself.
            drop(thread.join());
        }
    }
}

impl Queue {
    fn push(&self, job: Job) {
        self.lock().jobs.push_back(job);
        self.changed.notify_one();
    }

    /// Waits for something to do; `None` once it is closed.
    fn next(&self) -> Option<Job> {
        let state = self.lock();
        let is_idle = |it: &mut QueueState| it.jobs.is_empty() && !it.is_closed;
        let woken = self.changed.wait_while(state, is_idle);
        woken
            .expect("nothing panics while it holds the lock")
            .jobs
            .pop_front()
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}
