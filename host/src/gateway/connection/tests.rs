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
    let progress = Progress::new();
    let began = progress.began.checked_sub(Duration::from_millis(millis));
    Arc::new(Progress {
        began: began.unwrap(),
        ..progress
    })
}

#[test]
fn a_connection_may_be_idle_for_so_long() {
    assert_eq!(after(150).is_too_slow(&patience()), None);
    assert_eq!(after(250).is_too_slow(&patience()), Some("it is idle"));
}

#[test]
fn a_head_may_take_so_long_from_its_first_byte() {
    let progress = after(150);
    progress.has_read();
    let first = progress.head_since.load(Ordering::Relaxed);
    assert!(first >= 151, "counted from when the first byte came");
    progress.head_since.store(1, Ordering::Relaxed);
    progress.has_read();
    assert_eq!(
        progress.is_too_slow(&patience()),
        Some("it does not finish a request's head")
    );
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
    assert_eq!(
        progress.is_too_slow(&patience()),
        Some("it does not read its answer")
    );
    progress.has_written();
    assert_eq!(progress.is_too_slow(&patience()), None);
}
