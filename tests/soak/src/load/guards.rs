//! The client's own guards, of calls and of sessions: they renew themselves, and
//! say in time when they are lost. That is tested here as well.

use super::{Site, names};
use crate::history::{Hold, Outcome};
use crate::random::Random;
use lockport_client::{Acquire, Guard, Lost, Released, SessionOptions};
use std::time::Duration;
use tokio::select;
use tokio::time::sleep;

/// How long the client asks again.
const PATIENCE: Duration = Duration::from_secs(4);

/// The lease of guards, and the life of sessions without beats.
const LEASE: Duration = Duration::from_secs(3);

/// Guards that renew themselves one by one.
pub(super) async fn run_guards(site: Site, number: usize, mut random: Random) {
    let node = number % site.nodes.len();
    let Some(client) = site.connect(node, PATIENCE).await else {
        return;
    };
    let mut count = 0;
    while !site.is_over() {
        count += 1;
        let mut hold = begin(&site, node, format!("guard{number}.{count}"), &mut random);
        let acquire = client.acquire(hold.names.clone()).lease(LEASE);
        // Calls of their own have no session to lose.
        let _ = take(&site, acquire, &mut hold, &mut random).await;
        site.recorder.history().holds.push(hold);
        sleep(random.millis(0, 40)).await;
    }
}

/// Guards that hang on a session.
pub(super) async fn run_session(site: Site, number: usize, mut random: Random) {
    let node = (number + 1) % site.nodes.len();
    let Some(client) = site.connect(node, PATIENCE).await else {
        return;
    };
    let mut count = 0;
    let options = SessionOptions {
        ttl: Some(LEASE),
        grace: Some(LEASE),
        holder: Some(format!("session{number}")),
    };
    while !site.is_over() {
        let Ok(session) = client.session(options.clone()).await else {
            sleep(random.millis(20, 200)).await;
            continue;
        };
        // A session now and then ends with what it holds.
        for _ in 0..random.below(60) {
            if site.is_over() {
                break;
            }
            count += 1;
            let mut hold = begin(&site, node, format!("session{number}.{count}"), &mut random);
            "session".clone_into(&mut hold.via);
            let acquire = session.acquire(hold.names.clone());
            let lives = take(&site, acquire, &mut hold, &mut random).await;
            site.recorder.history().holds.push(hold);
            if !lives {
                break;
            }
            sleep(random.millis(0, 40)).await;
        }
        let _ = session.close().await;
    }
}

fn begin(site: &Site, node: usize, request: String, random: &mut Random) -> Hold {
    Hold {
        node,
        request,
        via: "guard".to_owned(),
        names: names(random),
        shared: random.once_in(3),
        asked: site.recorder.now(),
        ..Hold::default()
    }
}

/// Takes locks, has them for a while or until they are lost, and gives them
/// back. Whether more can be had in the same way: not if the session is over.
async fn take(site: &Site, acquire: Acquire, hold: &mut Hold, random: &mut Random) -> bool {
    let acquire = if hold.shared {
        acquire.shared()
    } else {
        acquire
    };
    let wait = random.millis(0, 5_000);
    let guard = match acquire.wait(wait).holder(&hold.request).await {
        Ok(guard) => guard,
        Err(error) => {
            if !error.outcome_unknown() {
                hold.outcome = Outcome::Fail;
                hold.told = Some(site.recorder.now());
            }
            return error.is_contention();
        }
    };
    hold.outcome = Outcome::Ok;
    hold.told = Some(site.recorder.now());
    hold.token = Some(guard.token());
    // Now and then for longer than a lease.
    let length = match random.once_in(60) {
        true => random.millis(1_000, 6_000),
        false => random.millis(0, 50),
    };
    select! {
        lost = guard.lost() => {
            lose(site, &guard, lost, hold);
            false
        }
        () = sleep(length) => {
            give_back(site, guard, hold).await;
            true
        }
    }
}

/// It says that it is lost.
fn lose(site: &Site, guard: &Guard, lost: Lost, hold: &mut Hold) {
    let now = site.recorder.now();
    hold.until = site.recorder.at(guard.deadline().into_std()).min(now);
    if lost == Lost::Taken && now < site.recorder.at(guard.deadline().into_std()) {
        hold.lost_early = Some(now);
    }
}

async fn give_back(site: &Site, guard: Guard, hold: &mut Hold) {
    let deadline = site.recorder.at(guard.deadline().into_std());
    hold.until = deadline.min(site.recorder.now());
    // That it had ended before is no proof of anything: the client may have
    // asked more than once.
    let _: Result<Released, _> = guard.release().await;
}
