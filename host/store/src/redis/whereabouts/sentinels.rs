//! Sentinels know where the master of a service is, and say it of the replica
//! that took its place.
//!
//! All are asked at once, and the master is whom most of them name: one that was
//! cut off from the others may still name who was it before.

use super::{Lost, Refusal, Tls, ask, note};
use crate::redis::url::{Sentinels, at};
use redis::{ConnectionInfo, Value, cmd};
use tokio::task::JoinSet;

type Address = (String, u16);

/// The master, as most of the sentinels see it. If as many say this as that, it is
/// another one at each `attempt`.
pub(super) async fn master(
    sentinels: &Sentinels,
    tls: &Tls,
    attempt: u64,
) -> Result<ConnectionInfo, Refusal> {
    let mut asked = JoinSet::new();
    for sentinel in &sentinels.sentinels {
        let (tls, sentinel) = (tls.clone(), sentinel.clone());
        let mut question = cmd("SENTINEL");
        question
            .arg("GET-MASTER-ADDR-BY-NAME")
            .arg(&sentinels.service);
        asked.spawn(async move { ask(&tls, sentinel, &question).await });
    }
    let mut named: Vec<(Address, usize)> = Vec::new();
    let (mut is_unknown, mut last) = (false, None);
    while let Some(answer) = asked.join_next().await {
        match answer {
            Ok(Ok(value)) => match read(value) {
                Some(address) => {
                    if count(&mut named, address) * 2 > sentinels.sentinels.len() {
                        break;
                    }
                }
                None => is_unknown = true,
            },
            Ok(Err(refusal)) => note(&mut last, refusal)?,
            // It ended with the thread.
            Err(_) => {}
        }
    }
    match choose(named, attempt) {
        Some((host, port)) => Ok(at(sentinels.server.clone(), host, port)),
        None if is_unknown => Err(Lost::Service(sentinels.service.clone()).into()),
        None => Err(Lost::Sentinels(last).into()),
    }
}

/// The address that most have named, if any have.
fn choose(mut named: Vec<(Address, usize)>, attempt: u64) -> Option<Address> {
    let most = named.iter().map(|it| it.1).max()?;
    named.retain(|it| it.1 == most);
    let chosen = attempt as usize % named.len();
    Some(named.swap_remove(chosen).0)
}

/// How many have named an address by now.
fn count(named: &mut Vec<(Address, usize)>, address: Address) -> usize {
    match named.iter_mut().find(|it| it.0 == address) {
        Some((_, count)) => {
            *count += 1;
            *count
        }
        None => {
            named.push((address, 1));
            1
        }
    }
}

/// The address that a sentinel names, if it knows the service.
fn read(answer: Value) -> Option<Address> {
    let (host, port): (String, String) = redis::from_redis_value(answer).ok()?;
    Some((host, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_most_name_is_the_master_and_of_as_many_each_is_tried() {
        let chosen = |names: &[&str], attempt| {
            let mut named = Vec::new();
            for name in names {
                count(&mut named, ((*name).to_owned(), 1));
            }
            choose(named, attempt).map(|it| it.0)
        };
        for attempt in 0..4 {
            assert_eq!(chosen(&["old", "new", "new"], attempt).unwrap(), "new");
        }
        let tried = [0, 1].map(|it| chosen(&["old", "new"], it).unwrap());
        assert!(tried.contains(&"old".to_owned()) && tried.contains(&"new".to_owned()));
        assert_eq!(chosen(&[], 0), None);
    }
}
