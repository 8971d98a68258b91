//! What comes back when the directory is opened again: after the store was
//! closed, and after its process was killed.

use super::*;

#[test]
fn tokens_and_time_only_rise_over_restarts() {
    block_on(async {
        let place = Place::new();
        let mut last = 0;
        for _ in 0..5 {
            let store = place.open();
            for names in [&["a"], &["b"]] {
                let next = token(&store, of(TransactionId::mint(), names)).await;
                assert!(next > last);
                last = next;
            }
        }
        // A clock that was set back meanwhile does not take the store along.
        let store = place.open();
        place.clock.advance(60 * SECOND);
        store.commit(writing(&store, "a", "1")).await.unwrap();
        let before = store.now();
        drop(store);
        let options = Options {
            clock: ManualClock::new(Time::default()).into(),
            ..Options::default()
        };
        let store = Embedded::open_with(&place.path(), options).unwrap();
        assert!(store.now() >= before);
        assert!(token(&store, of(TransactionId::mint(), &["a"])).await > last);
    });
}

#[test]
fn a_caller_s_grant_outlives_a_restart_with_its_full_lease() {
    block_on(async {
        let place = Place::new();
        let store = place.open();
        let (kept, renewed) = (of_caller(&["a", "b"]), of_caller(&["c"]));
        let kept_token = token(&store, kept.clone()).await;
        token(&store, renewed.clone()).await;
        renew(&store, &renewed, 20 * SECOND).await;
        renew(&store, &renewed, SECOND).await;
        let released = of_caller(&["d"]);
        token(&store, released.clone()).await;
        release(&store, &released).await.unwrap();
        let expired = Acquire {
            lease: Some(SECOND),
            ..of_caller(&["e"])
        };
        token(&store, expired).await;
        let leased = Acquire {
            lease: Some(60 * SECOND),
            ..of(TransactionId::mint(), &["f"])
        };
        token(&store, leased).await;
        place.clock.advance(5 * SECOND);
        drop(store);

        let store = place.open();
        let back = holder(&store, "b").unwrap();
        assert_eq!((back.token, &*back.party.label), (kept_token, "a caller"));
        assert_eq!(back.remaining, Some(10 * SECOND));
        let back = holder(&store, "c").unwrap();
        assert_eq!(
            back.remaining,
            Some(20 * SECOND),
            "the longest it was given"
        );
        for gone in ["d", "e", "f"] {
            assert_eq!(holder(&store, gone), None, "{gone}");
        }
        assert_eq!(release(&store, &kept).await, Ok(Released::Released));
        place.clock.advance(20 * SECOND);
        assert_eq!(holder(&store, "c"), None);
        drop(store);
        let store = place.open();
        assert_eq!(holder(&store, "a"), None, "released for good");
        assert_eq!(holder(&store, "c"), None, "expired for good");
    });
}

#[test]
fn of_two_written_grants_of_a_lock_the_higher_token_wins() {
    block_on(async {
        let place = Place::new();
        let store = place.open();
        let high = token(&store, of_caller(&["a"])).await;
        drop(store);
        let stale = "INSERT INTO grants SELECT x'00112233445566778899aabbccddeeff',
                     repeatable, names || char(10) || 'b', mode, token - 1, session, lease,
                     principal, owner, 'stale' FROM grants";
        assert_eq!(place.database().execute(stale, []).unwrap(), 1);
        let store = place.open();
        assert_eq!(holder(&store, "a").unwrap().token, high);
        assert_eq!(holder(&store, "b"), None);
        drop(store);
        assert_eq!(place.count("grants"), 1, "it is struck out");
    });
}

#[test]
fn what_was_answered_is_there_after_a_kill() {
    block_on(async {
        let place = Place::new();
        let store = place.open();
        assert!(store.summary().starts_with("embedded at "));
        for round in 0..3 {
            let key = round.to_string();
            store.commit(writing(&store, &key, "1")).await.unwrap();
            let (_copy, killed) = as_if_killed(&place);
            let found = killed.get(open(), crate::contract::key(&key)).await;
            assert!(found.unwrap().is_some());

            let caller = of_caller(&["a"]);
            let held = token(&store, caller.clone()).await;
            let (_copy, killed) = as_if_killed(&place);
            assert_eq!(holder(&killed, "a").unwrap().token, held);

            renew(&store, &caller, 100 * SECOND).await;
            let (_copy, killed) = as_if_killed(&place);
            let remaining = holder(&killed, "a").unwrap().remaining;
            assert_eq!(remaining, Some(100 * SECOND));

            release(&store, &caller).await.unwrap();
            let last = token(&store, of(TransactionId::mint(), &[&key])).await;
            let (_copy, killed) = as_if_killed(&place);
            assert_eq!(holder(&killed, "a"), None);
            assert!(token(&killed, of(TransactionId::mint(), &["b"])).await > last);
            // The next round is beyond what was reserved for this one.
            place.clock.advance(60 * SECOND);
        }
    });
}

#[test]
fn a_session_comes_back_with_its_grace_and_its_grants() {
    block_on(async {
        let place = Place::new();
        let store = place.open();
        let (mut kept, closed) = (session(), session());
        kept.party.owner = Some("one".into());
        kept.party.label = "as it was opened".into();
        for session in [&kept, &closed] {
            store.open_session(session.clone()).await.unwrap();
        }
        let principal = || caller().principal;
        store.attach(kept.id, principal()).await.unwrap();
        let reader = owned_by("one", of_session(kept.id, &["a", "b"]));
        let reader = in_mode(Mode::Shared, reader);
        let before = token(&store, reader.clone()).await;
        token(&store, of_session(closed.id, &["c"])).await;
        store.close_session(closed.id, principal()).await.unwrap();
        drop(store);

        let store = place.open();
        let back = holder(&store, "b").unwrap();
        assert_eq!((back.token, back.grant), (before, reader.id));
        assert_eq!(
            (back.holder, back.party),
            (reader.holder, reader.party.clone())
        );
        assert_eq!(holder(&store, "c"), None);
        let again = store.attach(closed.id, principal()).await;
        assert_eq!(again.err(), Some(SessionError::Lost));
        place.clock.advance(GRACE - SECOND);
        let attached = store.attach(kept.id, principal()).await.unwrap();
        assert_eq!((attached.ttl, attached.grace), (kept.ttl, kept.grace));
        place.clock.advance(kept.ttl - SECOND);
        store.beat(kept.id, attached.attachment).unwrap();
        // Its mode came back too.
        token(&store, in_mode(Mode::Shared, of_caller(&["a"]))).await;
        let writer = store.acquire(of_caller(&["a"])).await;
        assert_eq!(writer, Err(AcquireError::Held(name("a"))));
        assert_eq!(release(&store, &reader).await, Ok(Released::Released));
        drop(store);

        let store = place.open();
        assert_eq!(holder(&store, "b"), None, "given back for good");
        place.clock.advance(GRACE);
        let again = store.attach(kept.id, principal()).await;
        assert_eq!(again.err(), Some(SessionError::Lost));
        // The store writes it down when it has nothing else to do.
        drop(store);
        assert_eq!((place.count("sessions"), place.count("grants")), (0, 0));
    });
}

#[test]
fn a_grant_comes_back_as_it_was() {
    block_on(async {
        let place = Place::new();
        let store = place.open();
        let permits = Mode::Permits(std::num::NonZeroU32::new(2).unwrap());
        let modes = [Mode::Exclusive, Mode::Shared, permits];
        let mut requests = Vec::new();
        for (number, mode) in modes.into_iter().enumerate() {
            let request = repeatable(owned_by("x", of_caller(&[&number.to_string()])));
            let request = in_mode(mode, request);
            requests.push((token(&store, request.clone()).await, request));
        }
        let once = of_caller(&["once"]);
        token(&store, once.clone()).await;
        drop(store);

        let store = place.open();
        for (before, request) in &requests {
            // The answer to the same request is the same grant.
            assert_eq!(token(&store, request.clone()).await, *before);
            let look = store.lock(request.names[0].clone()).await.unwrap();
            assert_eq!(look.mode, Some(request.mode));
            assert_eq!(look.holders[0].party, request.party);
        }
        let again = store.acquire(once).await;
        assert!(matches!(again, Err(AcquireError::Invalid(_))), "{again:?}");
        token(&store, in_mode(permits, of_caller(&["2"]))).await;
        let third = store.acquire(in_mode(permits, of_caller(&["2"]))).await;
        assert_eq!(third, Err(AcquireError::Held(name("2"))));
    });
}

#[test]
fn an_id_that_has_ended_is_refused_after_a_restart() {
    block_on(async {
        let place = Place::new();
        let store = place.open();
        let (released, expired, cancelled) = (
            repeatable(of_caller(&["a"])),
            repeatable(of_caller(&["b"])),
            repeatable(of_caller(&["c"])),
        );
        token(&store, released.clone()).await;
        token(&store, expired.clone()).await;
        release(&store, &released).await.unwrap();
        let cancel = store.cancel(cancelled.id, caller().principal);
        cancel.await.unwrap();
        place.clock.advance(10 * SECOND);
        drop(store);

        let store = place.open();
        for request in [&released, &expired] {
            let again = store.acquire(request.clone()).await;
            assert_eq!(again, Err(AcquireError::Lost));
            let cancel = store.cancel(request.id, caller().principal).await;
            assert_eq!(cancel, Ok(Cancelled::Granted));
        }
        let again = store.acquire(cancelled.clone()).await;
        assert_eq!(again, Err(AcquireError::Cancelled));
        let cancel = store.cancel(cancelled.id, caller().principal).await;
        assert_eq!(cancel, Ok(Cancelled::Cancelled), "nothing was ever granted");
        place.clock.advance(MEMORY);
        drop(store);
        // What ended before that is swept when it is opened.
        let store = place.open();
        assert_eq!(place.count("ended"), 1);
        token(&store, released).await;
        assert!(store.acquire(expired).await.is_err());
    });
}

#[test]
fn ended_ids_keep_to_their_room_and_their_time() {
    block_on(async {
        let place = Place::new();
        let store = place.open();
        let cancel = async |number: usize| {
            let request = repeatable(of_caller(&["a"]));
            let principal = Principal::new(&format!("canceller {number}"));
            store.cancel(request.id, principal).await.unwrap();
        };
        for number in 0..2 * LIMITS.ended {
            cancel(number).await;
            place.clock.advance(SECOND);
        }
        assert_eq!(place.count("ended"), LIMITS.ended);
        place.clock.advance(MEMORY);
        cancel(0).await;
        assert_eq!(place.count("ended"), 1);
    });
}

#[test]
fn the_key_of_a_space_lasts() {
    let place = Place::new();
    let key = place.open().key().clone();
    assert!(place.open().key() == key);
    assert!(Place::new().open().key() != key, "another has another");
}

#[test]
fn revisions_rise_over_restarts_with_a_gap_in_between() {
    block_on(async {
        let place = Place::new();
        let mut last = None;
        for _ in 0..3 {
            let store = place.open();
            let query = WatchQuery {
                after: last,
                ..WatchQuery::default()
            };
            let mut watch = store.watch(query).await.unwrap();
            if let Some(last) = last {
                let told = watch.next().await;
                assert!(matches!(told, Some(Watched::Gap(it)) if it >= last));
            }
            for _ in 0..3 {
                token(&store, of(TransactionId::mint(), &["a"])).await;
                let told = watch.next().await;
                let Some(Watched::Event(event)) = told else {
                    panic!("{told:?}");
                };
                assert!(Some(event.revision) > last);
                store.end(
                    match store.lock(name("a")).await.unwrap().holders[0].holder {
                        Holder::Transaction(it) => it,
                        _ => unreachable!(),
                    },
                );
                watch.next().await;
                last = Some(watch.revision());
            }
            place.clock.advance(SECOND);
        }
    });
}

#[test]
fn what_somebody_was_told_had_ended_stays_so_after_a_kill() {
    block_on(async {
        let place = Place::new();
        let store = place.open();
        for round in 0..20 {
            place.clock.advance(Duration::from_micros(1));
            let request = repeatable(of_caller(&["a"]));
            token(&store, request.clone()).await;
            // Whoever gave it back went away; somebody else is answered.
            let mut given_back = Box::pin(release(&store, &request));
            drop(poll_once(&mut given_back).await);
            drop(given_back);
            match round % 4 {
                0 => assert_eq!(release(&store, &request).await, Ok(Released::Already)),
                1 => assert_eq!(store.lock(name("a")).await.unwrap().holding, 0),
                2 => drop(store.acquire(request.clone()).await.unwrap_err()),
                _ => {
                    let reason = String::new();
                    let (by, all) = (Principal::node(), Permission::all());
                    let forced = store.force_release(name("a"), by, all, reason);
                    assert_eq!(forced.await, Ok(vec![]));
                }
            }
            let (_copy, killed) = as_if_killed(&place);
            assert_eq!(holder(&killed, "a"), None, "{round}");
            assert!(killed.acquire(request).await.is_err());
        }
    });
}

#[test]
fn a_grant_ends_with_what_is_committed_under_its_lock() {
    block_on(async {
        let place = Place::new();
        let store = place.open();
        token(&store, of_caller(&["order/1"])).await;
        let outside = place.database();
        // The values are never on the disk beside a grant that was over.
        let split = "CREATE TRIGGER split BEFORE UPDATE ON meta
                     WHEN EXISTS (SELECT * FROM state) AND EXISTS (SELECT * FROM grants)
                     BEGIN SELECT raise(ABORT, 'they are split'); END";
        outside.execute_batch(split).unwrap();
        outside.execute_batch("BEGIN IMMEDIATE").unwrap();
        let mut commit = commit_of(&store, TransactionId::mint());
        commit.writes.push(create(&guarded(), "1", "x"));
        let mut committing = store.commit(commit);
        assert!(poll_once(&mut committing).await.is_none());
        // The lease runs out while the batch is on its way.
        place.clock.advance(10 * SECOND);
        outside.execute_batch("COMMIT").unwrap();
        let committed = committing.await;
        assert!(committed.is_ok(), "{committed:?}");
    });
}
