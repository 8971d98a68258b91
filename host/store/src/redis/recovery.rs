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

/// How many locks one call says to be held, about, or sessions to be attached
/// between two signs of life.
const SAID_AT_ONCE: usize = 64;

/// How many members of a set are fetched at once.
const FETCHED_AT_ONCE: usize = 1_000;

/// The bytes of a grant's identity, with which members of groups end.
const IDENTITY: usize = 16;

impl Ears {
    /// Says what this node has, and gives back what it has not.
    pub(super) async fn recover(&self, link: &Link, on: &Connected) -> Result<(), CallError> {
        tracing::warn!("the server was replaced or emptied: what this node has is said again");
        let node = self.node.id();
        let lives = self.node.is_alive();
        let mut sessions = Vec::new();
        if lives {
            self.begin(link, on, node).await?;
            sessions = self.say_sessions(link, on, node).await?;
        }
        let held = self.holdings.recover(self.node.clock().now(), lives);
        let mut lost = 0;
        let mut rest = held.as_slice();
        while !rest.is_empty() {
            let (said, next) = rest.split_at(at_once(rest));
            lost += self.say(link, on, node, said).await?;
            self.stay(link, on, node).await?;
            rest = next;
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

    /// The node is still there. What it was sent before is fetched: of what has ended
    /// it must not say that it has it.
    async fn begin(&self, link: &Link, on: &Connected, node: NodeId) -> Result<(), CallError> {
        self.fetch(link, on, node).await?;
        let (epoch, sent) = (link.space().epoch(), self.node.clock().now());
        let rejoin = Arguments::rejoin(self.node.lease(), true);
        let last = link.call_on(on, node, &rejoin).await?.rejoined()?;
        self.inbox.begin_epoch(node, epoch, last);
        self.node.renewed(node, sent);
        Ok(())
    }

    /// It lives on however long it takes to say all.
    async fn stay(&self, link: &Link, on: &Connected, node: NodeId) -> Result<(), CallError> {
        if self.node.is_alive() {
            let sent = self.node.clock().now();
            let rejoin = Arguments::rejoin(self.node.lease(), false);
            link.call_on(on, node, &rejoin).await?.rejoined()?;
            self.node.renewed(node, sent);
        }
        Ok(())
    }

    /// Says which sessions are attached here. Those that the server has by then.
    async fn say_sessions(
        &self,
        link: &Link,
        on: &Connected,
        node: NodeId,
    ) -> Result<Vec<SessionId>, CallError> {
        let mut recovered = Vec::new();
        for chunk in self.sessions.said().chunks(SAID_AT_ONCE) {
            for (id, session) in chunk {
                let sent = self.node.clock().now();
                let told = link.call_on(on, node, session).await?.session()?;
                if self.sessions.is_recovered(*id, told, sent) {
                    recovered.push(*id);
                }
            }
            self.stay(link, on, node).await?;
        }
        Ok(recovered)
    }

    /// Says that it has these grants. How many it has lost.
    async fn say(
        &self,
        link: &Link,
        on: &Connected,
        node: NodeId,
        said: &[Said],
    ) -> Result<usize, CallError> {
        let grants = Arguments::recover_grants(node, said, self.asking.last());
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
        let mut groups = vec![space.of_node("t:", node)];
        groups.extend(sessions.iter().map(|it| space.of_session(*it)));
        for group in groups {
            for id in members(link, on, group).await? {
                let now = self.node.clock().now();
                if !self.holdings.contains(id, now) && self.asking.check_asked(id).is_err() {
                    let release = Arguments::release(id, &Principal::node());
                    link.call_on(on, node, &release).await?;
                }
            }
        }
        for id in members(link, on, space.of_node("w:", node)).await? {
            if let Err(last) = self.asking.check_asked(id) {
                let abandon = Arguments::abandon(id, last);
                link.call_on(on, node, &abandon).await?;
            }
        }
        Ok(())
    }
}

/// How many of these are said by one call.
fn at_once(held: &[Said]) -> usize {
    let mut locks = 0;
    let fits = held.iter().take_while(|(_, it, _)| {
        let fits = locks < SAID_AT_ONCE;
        locks += it.names.len();
        fits
    });
    fits.count()
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
