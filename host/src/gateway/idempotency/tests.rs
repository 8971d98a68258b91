//! Tests of what is kept, for how long, and for whom.

use super::*;
use http::Request;
use lockport_store::Memory;
use lockport_store::clock::ManualClock;

fn head(method: &str, path: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

#[test]
fn only_what_changes_something_has_a_key() {
    let key = [("idempotency-key", "k")];
    assert!(has_key(&head("POST", "/a", &key)));
    assert!(has_key(&head("PATCH", "/a", &key)));
    assert!(!has_key(&head("PUT", "/a", &key)));
    assert!(!has_key(&head("GET", "/a", &key)));
    assert!(!has_key(&head("POST", "/a", &[])));
}

#[test]
fn a_key_is_of_its_component_method_path_and_client() {
    let key = ("idempotency-key", "k");
    let of = |component, parts: &Parts| scoped(component, parts).unwrap();
    let known = of("order", &head("POST", "/a", &[key]));
    assert_eq!(known, of("order", &head("POST", "/a?b=c", &[key])));
    let another = ("idempotency-key", "K");
    let alice = ("authorization", "Bearer alice");
    for other in [
        of("invoice", &head("POST", "/a", &[key])),
        of("order", &head("PATCH", "/a", &[key])),
        of("order", &head("POST", "/b", &[key])),
        of("order", &head("POST", "/a", &[another])),
        of("order", &head("POST", "/a", &[key, alice])),
    ] {
        assert_ne!(known, other);
    }
    // The end of one part is not the beginning of the next.
    let parted = [("authorization", "b"), key];
    let joined = [("idempotency-key", "bk")];
    assert_ne!(
        of("order", &head("POST", "/a", &parted)),
        of("order", &head("POST", "/a", &joined))
    );
}

#[test]
fn a_key_has_a_size_and_there_is_one() {
    let long = "k".repeat(KEY_BYTES_MAX + 1);
    let fits = head("POST", "/a", &[("idempotency-key", &long[1..])]);
    assert!(scoped("order", &fits).is_ok());
    for headers in [
        vec![("idempotency-key", &*long)],
        vec![("idempotency-key", "")],
        vec![("idempotency-key", "a"), ("idempotency-key", "a")],
    ] {
        let refused = scoped("order", &head("POST", "/a", &headers)).unwrap_err();
        let problem = refused.problem();
        assert_eq!(
            (problem.status.as_u16(), problem.reason),
            (400, "INVALID_IDEMPOTENCY_KEY")
        );
    }
}

#[tokio::test]
async fn an_answer_is_kept_for_its_time_and_then_swept() {
    let clock = ManualClock::new(Time::default() + Duration::from_secs(1_000));
    let store = Memory::with(
        lockport_store::core::Limits::default(),
        clock.clone().into(),
    );
    let store: Arc<dyn Store> = Arc::new(store);
    let keep = Duration::from_secs(60);
    let answers = Answers::new(store.clone(), keep);
    let keyed = |text: &str| Keyed {
        key: Key::new(text).unwrap(),
        body: [1; 32],
    };
    let begin = || Transaction::begin(store.clone(), Limits::default(), "test".to_owned());
    let look = async |text: &str| {
        let transaction = begin();
        answers.look(&keyed(text), &transaction).await
    };
    let answer = async |text: &str, replaced: Option<&Key>| {
        let transaction = begin();
        let known = answers.look(&keyed(text), &transaction).await;
        assert!(matches!(known, Ok(Known::Nothing(_))));
        let held = Held::of_whole(Response::new(Bytes::from_static(b"done")));
        answers.record(&keyed(text), &held, replaced, &transaction);
        transaction.commit().await.unwrap();
    };
    answer("a", None).await;
    clock.advance(keep / 2);
    answer("b", None).await;
    let Ok(Known::Answer(replay)) = look("a").await else {
        panic!("it was answered");
    };
    assert_eq!(replay.body(), "done");
    let other = Keyed {
        body: [2; 32],
        ..keyed("a")
    };
    let transaction = begin();
    let refused = answers.look(&other, &transaction).await;
    assert!(matches!(refused, Err(Refusal::AnotherBody)));
    let busy = look("a").await;
    assert!(matches!(busy, Err(Refusal::InProgress)), "its lock is held");
    drop(transaction);
    assert_eq!(answers.sweep().await, Ok(0));

    clock.advance(keep / 2);
    let Ok(Known::Nothing(Some(replaced))) = look("a").await else {
        panic!("its time is over, and its place is known");
    };
    assert!(matches!(look("b").await, Ok(Known::Answer(_))));
    answer("a", Some(&replaced)).await;
    assert_eq!(answers.sweep().await, Ok(0), "what was old was replaced");
    clock.advance(keep / 2);
    assert_eq!(answers.sweep().await, Ok(1), "b");
    assert!(matches!(look("a").await, Ok(Known::Answer(_))));
    clock.advance(keep);
    // One that was replaced without its time being removed, as by another
    // version: the time goes, the answer stays.
    answer("a", None).await;
    assert_eq!(answers.sweep().await, Ok(1));
    assert!(matches!(look("a").await, Ok(Known::Answer(_))));
    clock.advance(keep);
    assert_eq!(answers.sweep().await, Ok(1));
    assert!(matches!(look("a").await, Ok(Known::Nothing(None))));
}
