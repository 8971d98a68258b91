//! Tests of how long a client may take.

use super::*;

fn patience() -> Patience {
    Patience {
        header: Duration::from_millis(100),
        idle: Duration::from_millis(200),
        write: Duration::from_millis(300),
    }
}

/// Progress on a connection that began `millis` ago.
fn after(millis: u64) -> Arc<Progress> {
    let progress = Progress::unwatched();
    let began = progress.began.checked_sub(Duration::from_millis(millis));
    Arc::new(Progress {
        began: began.unwrap(),
        ..progress
    })
}

#[test]
fn a_connection_may_be_idle_for_so_long() {
    assert_eq!(after(150).is_too_slow(&patience()), None);
    assert_eq!(after(250).is_too_slow(&patience()), Some(Slow::Idle));
}

#[test]
fn a_head_may_take_so_long_from_its_first_byte() {
    let progress = after(150);
    progress.has_read();
    let first = progress.head_since.load(Ordering::Relaxed);
    assert!(first >= 151, "counted from when the first byte came");
    progress.head_since.store(1, Ordering::Relaxed);
    progress.has_read();
    assert_eq!(progress.is_too_slow(&patience()), Some(Slow::Head));
}

#[test]
fn while_a_request_is_handled_only_its_deadline_counts() {
    let progress = after(1_000);
    let busy = Busy::new(&progress);
    progress.has_read();
    assert_eq!(progress.is_too_slow(&patience()), None);
    drop(busy);
    // Idle from now on, not from the beginning.
    assert_eq!(progress.is_too_slow(&patience()), None);
}

#[test]
fn a_client_that_does_not_read_its_answer_is_cut_even_while_one_is_handled() {
    let progress = after(1_000);
    let _busy = Busy::new(&progress);
    progress.is_blocked();
    assert_eq!(progress.is_too_slow(&patience()), None);
    progress.blocked_since.store(1, Ordering::Relaxed);
    progress.is_blocked();
    assert_eq!(progress.is_too_slow(&patience()), Some(Slow::Answer));
    progress.has_written();
    assert_eq!(progress.is_too_slow(&patience()), None);
}

#[test]
fn bytes_between_requests_of_http2_are_not_half_a_head() {
    let progress = after(150);
    progress.has_read();
    assert_ne!(progress.head_since.load(Ordering::Relaxed), 0);
    progress.has_streams();
    progress.has_read();
    assert_eq!(progress.head_since.load(Ordering::Relaxed), 0);
    // It is idle from when it was known.
    assert_eq!(progress.is_too_slow(&patience()), None);
}

/// A body that has chunks, then waits.
struct Chunks(u32);

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.0.checked_sub(1) {
            Some(left) => {
                self.0 = left;
                Poll::Ready(Some(Ok(Frame::data("chunk".into()))))
            }
            None => Poll::Pending,
        }
    }
}

#[test]
fn an_answer_waits_for_its_reader_only_while_it_has_something() {
    let progress = after(1_000);
    let slow = || {
        progress.moved_at.store(1, Ordering::Relaxed);
        progress.is_too_slow(&patience())
    };
    let mut body = Tracked::by_its_reader(Chunks(1), Busy::new(&progress));
    assert_eq!(progress.is_too_slow(&patience()), None, "it has just come");
    assert_eq!(slow(), Some(Slow::Answer), "nobody asked for it");
    let mut context = Context::from_waker(std::task::Waker::noop());
    let mut poll = |body: &mut Tracked<Chunks>| Pin::new(body).poll_frame(&mut context).is_ready();
    assert!(poll(&mut body));
    assert_eq!(slow(), Some(Slow::Answer), "nobody asks for the next chunk");
    assert!(!poll(&mut body));
    assert_eq!(slow(), None, "it has nothing more to say yet");
    let other = Tracked::by_its_reader(Chunks(1), Busy::new(&progress));
    assert_eq!(slow(), Some(Slow::Answer));
    drop(other);
    assert_eq!(slow(), None);
}

#[test]
fn on_http1_an_answer_is_waited_for_as_long_as_writes_go_on() {
    let progress = after(1_000);
    let _body = Tracked::to_its_end(Chunks(1), Busy::new(&progress));
    progress.moved_at.store(1, Ordering::Relaxed);
    assert_eq!(progress.is_too_slow(&patience()), None);
}
