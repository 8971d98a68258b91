//! A server whose operator flushes functions and has it pause: whoever asks
//! waits a moment longer, and hears of nothing.

use super::*;
use crate::store::Principal;
use std::collections::HashMap;

/// How long the server pauses, in milliseconds.
const PAUSE: u64 = 500;

/// How often it is disturbed in each way.
const ROUNDS: usize = 3;

/// How often a function may be called anew for lack of the library, by each of
/// those who were about to call it.
const AGAIN_MAX: u64 = 2;

/// How often functions were called.
fn calls(server: &Server) -> u64 {
    let mut connection = server.connection();
    let mut about = cmd("INFO");
    about.arg("commandstats");
    let text: String = about.query(&mut connection).unwrap();
    let found: HashMap<&str, &str> = text.lines().filter_map(|it| it.split_once(':')).collect();
    let numbers = found["cmdstat_fcall"].split(',');
    let calls = numbers.filter_map(|it| it.strip_prefix("calls=")).next();
    calls.unwrap().parse().unwrap()
}

#[test]
fn l24_flushes_and_pauses_are_delays_and_no_errors_and_nothing_is_asked_too_often() {
    let server = Server::start();
    block_on(async {
        let store = node(&server).await;
        let disturbances: [&[&str]; 3] = [
            &["SCRIPT", "FLUSH"],
            &["FUNCTION", "FLUSH"],
            &["CLIENT", "PAUSE", &PAUSE.to_string(), "ALL"],
        ];
        let (clock, before) = (Clock::machine(), calls(&server));
        let began = clock.now();
        let mut asked = 0;
        for disturbance in disturbances
            .iter()
            .cycle()
            .take(ROUNDS * disturbances.len())
        {
            let mut command = cmd(disturbance[0]);
            command.arg(&disturbance[1..]);
            tell(&server, &command);
            for _ in 0..10 {
                let request = of_caller(&["a"]);
                store.acquire(request.clone()).await.unwrap();
                let released = store.release(request.id, caller().principal).await;
                released.unwrap();
                asked += 2;
            }
        }
        let passed = clock.now().since(began);
        assert!(passed >= Duration::from_millis(PAUSE), "it did pause");
        // Two beats in a second at least, and what is asked again.
        let beats = u64::try_from(passed.as_millis() / 400).unwrap() + 2;
        let again = AGAIN_MAX * (ROUNDS as u64 + 1);
        let calls = calls(&server) - before;
        println!("L24: {calls} calls for {asked} that were needed and {beats} beats at most");
        assert!(calls <= asked + beats + again, "{calls}");
    });
}

#[test]
fn what_is_given_back_needs_no_memory_whatever_it_goes_out_with() {
    let server = Server::start();
    block_on(async {
        let store = node(&server).await;
        let held = ["a", "b", "c", "d"].map(|it| of_caller(&[it]));
        for request in &held {
            store.acquire(request.clone()).await.unwrap();
        }
        let mut set = cmd("CONFIG");
        set.arg("SET").arg("maxmemory").arg(1);
        tell(&server, &set);
        // The first goes out by itself, and the others together.
        let mut asked = Vec::new();
        for (at, request) in held.iter().enumerate() {
            let mut taking = store.acquire(of_caller(&[&format!("new/{at}")]));
            let refused = poll_once(&mut taking).await;
            let mut giving = store.release(request.id, Principal::node());
            let released = poll_once(&mut giving).await;
            asked.push((taking, refused, giving, released));
        }
        for (taking, refused, giving, released) in asked {
            // It may have been quick.
            let refused = match refused {
                Some(refused) => refused,
                None => taking.await,
            };
            assert!(
                matches!(refused, Err(AcquireError::Store(_))),
                "{refused:?}"
            );
            let released = match released {
                Some(released) => released,
                None => giving.await,
            };
            assert_eq!(released, Ok(crate::store::Released::Released));
        }
    });
}
