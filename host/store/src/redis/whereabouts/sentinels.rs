//! Sentinels know where the master of a service is, and say it of the replica
//! that took its place.
//!
//! All are asked at once, and the master is whom most of them name: one that was
//! cut off from the others may still name who was it before.

use super::{Lost, Refusal, Tls, ask, reason};
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
            Ok(Err(refusal)) => last = Some(reason(refusal)?),
            // It ended with the thread.
            Err(_) => {}
        }
    }
    let most = named.iter().map(|it| it.1).max();
    named.retain(|it| Some(it.1) == most);
    match named.len() {
        0 if is_unknown => Err(Lost::Service(sentinels.service.clone()).into()),
        0 => Err(Lost::Sentinels(last).into()),
        count => {
            let (host, port) = named.swap_remove(attempt as usize % count).0;
            Ok(at(sentinels.server.clone(), host, port))
        }
    }
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
