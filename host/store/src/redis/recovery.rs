//! What a node does when the server was replaced, or has forgotten what it had.
//!
//! ```text
//!   connected --> open: another epoch --> rejoin --> sessions --> grants
//!                                                                    |
//!      calls go on <-- waits are asked again <-- what is not ours <--+
//!                                                is given back
//! ```
//!
//! It is done on a connection on which nothing else is sent meanwhile, so that
//! no call of this node finds less than it has. Done twice it does no harm: it
//! is, if the connection breaks before its end.

use super::beats::Ears;
use super::codec::{Arguments, Held};
use super::holdings::Said;
use super::link::{CallError, Connected, Link};
use crate::id::{GrantId, NodeId, SessionId};
use crate::store::{Holder, LostGrant, Principal};
use redis::cmd;

/// How many grants are said at once, and how many are looked at.
const SAID_AT_ONCE: usize = 64;
/// See [`SAID_AT_ONCE`].
const FETCHED_AT_ONCE: usize = 1_000;

/// The bytes of a grant's identity, with which members of groups end.
const IDENTITY: usize = 16;

impl Ears {
    /// Says what this node has, and gives back what it has not.
    pub(super) async fn recover(&self, link: &Link, on: &Connected) -> Result<(), CallError> {
        tracing::warn!("the server was replaced or emptied: what this node has is said again");
        let node = self.node.id();
        let lives = self.node.is_alive();
        if lives {
            self.inbox.forget_early();
            let rejoin = Arguments::rejoin(self.node.lease(), self.inbox.acknowledged());
            link.call_on(on, node, &rejoin).await?.joined()?;
        }
        let sessions = if lives {
            self.sessions.recover(link, on, node).await?
        } else {
            Vec::new()
        };
        let held = self.holdings.all(self.node.clock().now(), lives);
        let mut lost = 0;
        for said in held.chunks(SAID_AT_ONCE) {
            lost += self.say(link, on, node, said).await?;
        }
        if lives {
            self.give_back(link, on, node, &sessions).await?;
            self.asking.ask_again();
        }
        self.events.break_off(self.heard.reached().revision);
        tracing::warn!(
            sessions = sessions.len(),
            grants = held.len(),
            lost,
            "the store is recovered"
        );
        Ok(())
    }

    /// Says that it has these grants. How many it has lost.
    async fn say(
        &self,
        link: &Link,
        on: &Connected,
        node: NodeId,
        said: &[Said],
    ) -> Result<usize, CallError> {
        let grants = Arguments::recover_grants(node, said);
        let kept = link.call_on(on, node, &grants).await?.kept()?;
        let lost = said.iter().zip(kept).filter(|(_, kept)| !kept);
        let mut count = 0;
        for ((id, held, _), _) in lost {
            self.lose(*id, held);
            count += 1;
        }
        Ok(count)
    }

    fn lose(&self, id: GrantId, held: &Held) {
        self.holdings.ended(id);
        if let Holder::Session(session) = held.holder {
            let lost = LostGrant {
                token: held.token,
                names: held.names.clone(),
            };
            self.sessions.lost(session, lost);
        }
    }

    /// Ends what the server has of this node and its sessions that has ended
    /// since: the end was not written down.
    async fn give_back(
        &self,
        link: &Link,
        on: &Connected,
        node: NodeId,
        sessions: &[SessionId],
    ) -> Result<(), CallError> {
        let space = link.space();
        for id in members(link, on, space.of_node("t:", node)).await? {
            if !self.holdings.contains(id) && !self.asking.is_asked(id) {
                let release = Arguments::release(id, &Principal::node());
                link.call_on(on, node, &release).await?;
            }
        }
        for id in members(link, on, space.of_node("w:", node)).await? {
            if !self.asking.is_asked(id) {
                link.call_on(on, node, &Arguments::abandon(id)).await?;
            }
        }
        for session in sessions {
            for id in members(link, on, space.of_session(*session)).await? {
                if !self.holdings.contains(id) && !self.asking.is_asked(id) {
                    let release = Arguments::release(id, &Principal::node());
                    link.call_on(on, node, &release).await?;
                }
            }
        }
        Ok(())
    }
}

/// The requests in a sorted set whose members end with their identities.
async fn members(link: &Link, on: &Connected, key: Vec<u8>) -> Result<Vec<GrantId>, CallError> {
    let mut all = Vec::new();
    loop {
        let mut command = cmd("ZRANGE");
        command.arg(&key).arg(all.len());
        command.arg(all.len() + FETCHED_AT_ONCE - 1);
        let answer = on.ask(&command).await;
        let members: Vec<Vec<u8>> = redis::from_redis_value(link.take(on, answer)?)
            .map_err(|it| CallError::Refused(it.to_string()))?;
        let count = members.len();
        let ids = members.iter().filter_map(|it| {
            let id: &[u8; IDENTITY] = it.last_chunk()?;
            Some(GrantId::from_u128(u128::from_be_bytes(*id)))
        });
        all.extend(ids);
        if count < FETCHED_AT_ONCE {
            return Ok(all);
        }
    }
}
