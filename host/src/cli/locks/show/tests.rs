//! Tests of how locks look.

use super::*;

fn seconds(seconds: i64) -> Option<WireDuration> {
    Some(WireDuration { seconds, nanos: 0 })
}

fn holder(holder: &str) -> Holder {
    Holder {
        holder: holder.to_owned(),
        principal: "anonymous".to_owned(),
        kind: HolderKind::Caller.into(),
        fencing_token: 41,
        held: seconds(75),
        remaining: seconds(12),
        ..Holder::default()
    }
}

fn held(name: &str) -> Lock {
    Lock {
        name: name.to_owned(),
        mode: Mode::Exclusive.into(),
        holders: vec![holder("me")],
        last_fencing_token: 41,
        holder_count: 1,
        ..Lock::default()
    }
}

#[test]
fn a_list_is_an_aligned_table() {
    let list = ListResponse {
        locks: vec![held("a"), held("order/47")],
        next_page_token: String::new(),
    };
    assert_eq!(
        locks(&list),
        "NAME      MODE       HOLDERS  WAITING  TOKEN  HELD   LEFT  HOLDER\n\
         a         exclusive  1        0        41     1m15s  12s   me\n\
         order/47  exclusive  1        0        41     1m15s  12s   me\n"
    );
    assert_eq!(
        locks(&ListResponse::default()),
        "no lock is held or waited for\n"
    );
}

#[test]
fn a_lock_shows_its_holders_and_who_waits_in_order() {
    let waiter = |holder: &str| Waiter {
        holder: holder.to_owned(),
        mode: Mode::Permits.into(),
        waited: seconds(1),
        remaining: seconds(7_260),
        ..Waiter::default()
    };
    let lock = Lock {
        mode: Mode::Permits.into(),
        permits: 3,
        holder_count: 101,
        waiter_count: 2,
        waiters: vec![waiter("first"), waiter("second")],
        ..held("a")
    };
    let text = super::lock(&GetResponse { lock: Some(lock) });
    assert!(text.contains("mode     permits of 3\n"), "{text}");
    assert!(text.contains("101, of which 1 are listed"), "{text}");
    let first = text.find("first  ").expect("it is listed");
    assert!(first < text.find("second").expect("it is listed"), "{text}");
    assert!(text.contains("2h01m"), "{text}");
}

#[test]
fn a_free_lock_is_free() {
    let lock = Lock {
        name: "a".to_owned(),
        ..Lock::default()
    };
    let text = super::lock(&GetResponse { lock: Some(lock) });
    assert_eq!(text, "name     a\nmode     free\n");
}

#[test]
fn what_others_wrote_moves_no_cursor() {
    let list = ListResponse {
        locks: vec![Lock {
            holders: vec![holder("\u{1b}[2Jme\n")],
            ..held("a")
        }],
        next_page_token: String::new(),
    };
    let text = locks(&list);
    assert!(text.contains("\\u{1b}[2Jme\\n"), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn an_event_is_a_line_and_a_gap_says_so() {
    let event = Event {
        revision: 7,
        kind: event::Kind::Granted.into(),
        names: vec!["a".to_owned(), "b".to_owned()],
        fencing_token: 41,
        holder: "me".to_owned(),
        event_time: Some(Timestamp {
            seconds: 0,
            nanos: 0,
        }),
        ..Event::default()
    };
    let item = Some(watch_response::Item::Event(event));
    assert_eq!(
        told(&WatchResponse { item }),
        "7        1970-01-01T00:00:00Z granted  a, b token 41 by me\n"
    );
    let item = Some(watch_response::Item::Gap(lockport_client::api::Gap {
        revision: 9,
    }));
    assert!(told(&WatchResponse { item }).contains("missed"));
}

#[test]
fn durations_have_two_units_at_most() {
    for (millis, text) in [
        (0, "0ms"),
        (250, "250ms"),
        (59_999, "59s"),
        (60_000, "1m00s"),
        (3_600_000, "1h00m"),
        (90_000_000, "1d01h"),
    ] {
        assert_eq!(human(Duration::from_millis(millis)), text);
    }
}
