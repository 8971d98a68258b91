//! The sessions that are attached here.
//!
//! ```text
//!   client --beat--> table: heard --- with the node's next beat ---> store
//!                      |
//!                      |  the store says that it has ended or is attached
//!                      |  elsewhere; or has not been told for too long
//!                      v
//!                  the line is cut: the client hears
//! ```
//!
//! A beat of a client is answered from the table, without I/O; the node's beats
//! tell the store of all that were heard. A session that the store could not be
//! told of is over here before it is there.

use super::Means;
use super::codec::Arguments;
use super::errands::Errands;
use super::holdings::Holdings;
use super::link::{CallError, Link};
use super::node::{Node, without_margin};
use crate::core;
use crate::core::hash::IdMap;
use crate::id::{NodeId, SessionId};
use crate::shell::Lines;
use crate::store::{
    Attached, Attachment, LostGrant, OpenSession, Party, Principal, SessionError, StoreError,
};
use crate::time::Time;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// How many sessions the store is told of at once.
const CHUNK: usize = 256;

/// The sessions that are attached here.
pub(super) struct Sessions {
    link: Link,
    node: Arc<Node>,
    errands: Arc<Errands>,
    table: Mutex<Table>,
}

struct Table {
    holdings: Arc<Holdings>,
    sessions: IdMap<SessionId, Here>,
    lines: Lines,
    /// Those that are being attached, and what was told of them meanwhile.
    coming: IdMap<SessionId, Coming>,
}

/// A session, since it was attached here.
struct Here {
    attachment: Attachment,
    ttl: Duration,
    grace: Duration,
    party: Party,
    /// Until when it may count on being alive.
    until: Time,
    /// Whether its client was heard since the store was told.
    is_heard: bool,
    /// Whether it is attached elsewhere by now.
    is_elsewhere: bool,
}

#[derive(Default)]
struct Coming {
    count: usize,
    told: Vec<Told>,
}

#[derive(Clone)]
enum Told {
    Lost(LostGrant),
    Unattached(Attachment),
}

/// A session that was attached for somebody, who may have gone: then it is
/// detached again.
struct Fresh {
    sessions: Arc<Sessions>,
    session: SessionId,
    attached: Option<Attached>,
}

impl Sessions {
    pub(super) fn new(means: Means) -> Arc<Self> {
        let Means {
            link,
            node,
            errands,
            holdings,
        } = means;
        let table = Table {
            holdings,
            sessions: IdMap::default(),
            lines: Lines::default(),
            coming: IdMap::default(),
        };
        Arc::new(Self {
            link,
            node,
            errands,
            table: Mutex::new(table),
        })
    }

    pub(super) async fn open(&self, request: OpenSession) -> Result<(), SessionError> {
        core::validate_session(&request)?;
        let arguments = Arguments::open_session(&request);
        let reply = self.call(arguments).await?;
        reply
            .session()
            .map_err(CallError::from)
            .map_err(StoreError::from)?
    }

    pub(super) async fn attach(
        self: &Arc<Self>,
        session: SessionId,
        principal: Principal,
    ) -> Result<Attached, SessionError> {
        self.node.alive()?;
        let (room, sessions) = (self.link.room().await, self.clone());
        let attached = self.link.spawn(async move {
            let attached = sessions.attach_here(session, &principal).await;
            drop(room);
            attached
        });
        let fresh = attached
            .await
            .unwrap_or(Err(StoreError::from(CallError::Closed).into()))?;
        fresh.take()
    }

    /// Answers without asking the store.
    pub(super) fn beat(
        &self,
        session: SessionId,
        attachment: Attachment,
    ) -> Result<(), SessionError> {
        let now = self.node.clock().now();
        let mut table = self.table();
        match table.sessions.get_mut(&session) {
            None => Err(SessionError::Lost),
            Some(here) if here.attachment != attachment || here.is_elsewhere => {
                Err(SessionError::Elsewhere)
            }
            Some(here) if here.until <= now => Err(SessionError::Lost),
            Some(here) => {
                here.is_heard = true;
                Ok(())
            }
        }
    }

    pub(super) fn detach(&self, session: SessionId, attachment: Attachment) {
        {
            let mut table = self.table();
            // Over here, it is about to be over in the store.
            if !table.is_here(session, attachment) {
                return;
            }
            table.cut(session);
        }
        let arguments = Arguments::detach(session, attachment);
        self.errands.run(self.node.id(), arguments);
    }

    pub(super) async fn close(
        &self,
        session: SessionId,
        principal: Principal,
    ) -> Result<(), SessionError> {
        loop {
            let close = Arguments::close_session(session, &principal);
            let closed = self.call(close).await?.closed();
            let has_more = closed
                .map_err(CallError::from)
                .map_err(StoreError::from)??;
            self.table().cut(session);
            if !has_more {
                return Ok(());
            }
        }
    }

    /// A grant of a session was taken away.
    pub(super) fn lost(&self, session: SessionId, lost: LostGrant) {
        let mut table = self.table();
        if let Some(coming) = table.coming.get_mut(&session) {
            coming.told.push(Told::Lost(lost.clone()));
        }
        table.lines.lose(session, lost);
    }

    /// A session has ended or is attached elsewhere: which, is asked before
    /// anybody is told.
    pub(super) fn unattached(
        self: &Arc<Self>,
        node: NodeId,
        session: SessionId,
        attachment: Attachment,
    ) {
        {
            let mut table = self.table();
            if let Some(coming) = table.coming.get_mut(&session) {
                coming.told.push(Told::Unattached(attachment));
            }
            if !table.is_here(session, attachment) {
                return;
            }
        }
        let sessions = self.clone();
        let asking = async move {
            sessions.tell_of(node, session, attachment).await;
        };
        drop(self.link.spawn(asking));
    }

    /// The node's lease is over, and with it every attachment.
    pub(super) fn is_over(&self) {
        let mut table = self.table();
        table.sessions.clear();
        table.lines = Lines::default();
    }

    /// What is to be said of those that are attached here, when the server was
    /// replaced.
    pub(super) fn said(&self) -> Vec<(SessionId, Arguments)> {
        let now = self.node.clock().now();
        let table = self.table();
        let here = table.sessions.iter();
        let here = here.filter(|(_, it)| !it.is_elsewhere && now < it.until);
        let say = |(id, here): (&SessionId, &Here)| {
            let times = (here.ttl, here.grace);
            let session = Arguments::recover_session(*id, here.attachment, times, &here.party);
            (*id, session)
        };
        here.map(say).collect()
    }

    /// The server was told at `sent` that a session is attached here. Whether it
    /// is.
    pub(super) fn is_recovered(
        &self,
        session: SessionId,
        told: Result<(), SessionError>,
        sent: Time,
    ) -> bool {
        let mut table = self.table();
        if told.is_err() {
            table.leaves(session);
        } else if let Some(here) = table.sessions.get_mut(&session) {
            here.until = sent + without_margin(here.ttl);
        }
        told.is_ok()
    }

    /// The shortest time any of them lives without a beat.
    pub(super) fn shortest(&self) -> Option<Duration> {
        self.table().sessions.values().map(|it| it.ttl).min()
    }

    /// Tells the store of all that were heard.
    pub(super) async fn beat_all(self: &Arc<Self>, link: &Link, node: NodeId) {
        for chunk in self.heard().chunks(CHUNK) {
            let beat = |it: &SessionId| {
                let (sessions, on, session) = (self.clone(), link.clone(), *it);
                let attachment = self.table().take_heard(session)?;
                Some(link.spawn(async move {
                    sessions.beat_one(&on, node, session, attachment).await;
                }))
            };
            let beats: Vec<_> = chunk.iter().filter_map(beat).collect();
            for beat in beats {
                // It is done, or the store is closed.
                drop(beat.await);
            }
        }
    }

    /// Those whose clients were heard since the store was told.
    fn heard(&self) -> Vec<SessionId> {
        let table = self.table();
        let heard = table.sessions.iter().filter(|(_, it)| it.is_heard);
        heard.map(|(session, _)| *session).collect()
    }

    /// Ends those that the store could not be told of for too long. Answers in
    /// how long the next may be.
    pub(super) fn end_what_is_over(&self) -> Option<Duration> {
        let now = self.node.clock().now();
        let mut table = self.table();
        let over = table.sessions.iter().filter(|(_, it)| it.until <= now);
        let over: Vec<SessionId> = over.map(|(session, _)| *session).collect();
        over.into_iter().for_each(|session| table.cut(session));
        let next = table.sessions.values().map(|it| it.until).min();
        next.map(|it| it.since(now))
    }

    async fn beat_one(
        &self,
        link: &Link,
        node: NodeId,
        session: SessionId,
        attachment: Attachment,
    ) {
        let sent = self.node.clock().now();
        let reply = link
            .call_here(node, &Arguments::beat(session, attachment))
            .await;
        let beaten = reply.and_then(|it| Ok(it.session()?));
        let mut table = self.table();
        if !table.is_here(session, attachment) {
            return;
        }
        match (beaten, table.sessions.get_mut(&session)) {
            (Ok(Ok(())), Some(here)) => here.until = sent + without_margin(here.ttl),
            (Ok(Err(SessionError::Elsewhere)), _) => table.leaves(session),
            (Ok(Err(_)), _) => table.cut(session),
            // It is tried again with the next beat.
            (Err(_), Some(here)) => here.is_heard = true,
            (_, None) => {}
        }
    }

    async fn tell_of(&self, node: NodeId, session: SessionId, attachment: Attachment) {
        let arguments = Arguments::beat(session, attachment);
        let reply = self.link.call_here(node, &arguments).await;
        let beaten = reply.and_then(|it| Ok(it.session()?));
        let mut table = self.table();
        if !table.is_here(session, attachment) {
            return;
        }
        match beaten {
            Ok(Err(SessionError::Elsewhere)) => table.leaves(session),
            _ => table.cut(session),
        }
    }

    async fn attach_here(
        self: Arc<Self>,
        session: SessionId,
        principal: &Principal,
    ) -> Result<Fresh, SessionError> {
        let node = self.node.alive()?;
        let sent = self.node.clock().now();
        let after = self.table().holdings.recoveries();
        self.table().coming.entry(session).or_default().count += 1;
        let reply = self
            .link
            .call_here(node, &Arguments::attach(session, principal))
            .await;
        let attached = reply.and_then(|it| Ok(it.attached(session)?));
        let told = self.table().arrives(session);
        let (attached, held) = attached.map_err(StoreError::from)??;
        let mut table = self.table();
        let here = Here {
            attachment: attached.attachment,
            ttl: attached.ttl,
            grace: attached.grace,
            party: attached.party.clone(),
            until: sent + without_margin(attached.ttl),
            is_heard: false,
            is_elsewhere: false,
        };
        let tokens = held.iter().map(|(_, it)| it.token).collect();
        let mut held = held.into_iter();
        let holdings = &table.holdings;
        if !held.all(|(id, held)| holdings.has(id, held, None, sent, after)) {
            holdings.session_left(session);
            return Err(StoreError::Recovering.into());
        }
        let attached = table.lines.attach(session, attached, tokens);
        let attachment = attached.attachment;
        table.sessions.insert(session, here);
        let mut is_unattached = false;
        for told in told {
            match told {
                Told::Lost(lost) => table.lines.lose(session, lost),
                Told::Unattached(it) => is_unattached |= it == attachment,
            }
        }
        drop(table);
        if is_unattached {
            self.unattached(node, session, attachment);
        }
        Ok(Fresh {
            sessions: self,
            session,
            attached: Some(attached),
        })
    }

    async fn call(&self, arguments: Arguments) -> Result<super::codec::Reply, StoreError> {
        Ok(self.link.call(self.node.id(), arguments).await?)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table
            .lock()
            .expect("nothing panics while it holds the lock")
    }
}

impl Table {
    fn is_here(&self, session: SessionId, attachment: Attachment) -> bool {
        let here = self.sessions.get(&session);
        here.is_some_and(|it| it.attachment == attachment)
    }

    /// The store is about to be told that a session was heard, if it was.
    fn take_heard(&mut self, session: SessionId) -> Option<Attachment> {
        let here = self.sessions.get_mut(&session)?;
        std::mem::take(&mut here.is_heard).then_some(here.attachment)
    }

    /// The session has ended, as far as anybody here is concerned.
    fn cut(&mut self, session: SessionId) {
        self.holdings.session_left(session);
        self.sessions.remove(&session);
        self.lines.cut(session);
    }

    /// The session is attached elsewhere. That is known until it is detached.
    fn leaves(&mut self, session: SessionId) {
        self.holdings.session_left(session);
        self.lines.cut(session);
        if let Some(here) = self.sessions.get_mut(&session) {
            here.is_elsewhere = true;
        }
    }

    /// One attaching is over: what was told of the session meanwhile.
    fn arrives(&mut self, session: SessionId) -> Vec<Told> {
        let Some(coming) = self.coming.get_mut(&session) else {
            return Vec::new();
        };
        coming.count -= 1;
        let told = coming.told.clone();
        if coming.count == 0 {
            self.coming.remove(&session);
        }
        told
    }
}

impl Fresh {
    fn take(mut self) -> Result<Attached, SessionError> {
        let attached = self.attached.take();
        attached.ok_or(SessionError::Lost)
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if let Some(attached) = &self.attached {
            self.sessions.detach(self.session, attached.attachment);
        }
    }
}
