//! Who looks at the queues.

use super::{Site, lock};
use crate::history::Look;
use crate::random::Random;
use lockport_client::api::Mode;
use std::time::Duration;
use tokio::time::sleep;

pub(super) async fn run(site: Site, mut random: Random) {
    let mut clients = Vec::new();
    for node in 0..site.nodes.len() {
        let Some(client) = site.connect(node, Duration::ZERO).await else {
            return;
        };
        clients.push(client);
    }
    while !site.is_over() {
        let name = lock(&mut random);
        let asked = site.recorder.now();
        if let Ok(seen) = random.pick(&clients).get(name).await {
            let look = Look {
                name: name.to_owned(),
                asked,
                told: site.recorder.now(),
                exclusive: seen.mode() == Mode::Exclusive && !seen.holders.is_empty(),
                holders: seen.holders.into_iter().map(|it| it.holder).collect(),
                waiters: seen.waiters.into_iter().map(|it| it.holder).collect(),
            };
            if look.waiters.len() > 1 || look.holders.len() > 1 || random.once_in(8) {
                site.recorder.history().looks.push(look);
            }
        }
        sleep(random.millis(5, 40)).await;
    }
}
