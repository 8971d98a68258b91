//! Grants in the hands of a transaction, and the handles that components get.

use crate::id::GrantId;
use crate::name::LockName;
use crate::store::{Granted, Token};
use std::sync::Arc;

/// A grant that the transaction acquired.
pub(super) struct Grant {
    pub(super) id: GrantId,
    /// The how-manieth of the transaction it is, from 1.
    pub(super) ordinal: u64,
    pub(super) names: Vec<LockName>,
    pub(super) token: Token,
    pub(super) origin: Origin,
}

/// What acquired a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The route, before the component was entered.
    Route,
    /// The route of a callee.
    Callee,
    /// A component.
    Component,
    /// The host, for the request.
    Host,
    /// A transaction that began again: its turn at what it had lost a race for.
    Turn,
}

impl Origin {
    /// Whether it is one of those that a transaction may have so many of.
    pub(super) fn is_counted(self) -> bool {
        matches!(self, Self::Route | Self::Callee | Self::Component)
    }
}

/// Locks a transaction holds, as handed to one component. Dropping it releases
/// nothing. The number of live `Guard`s of a grant is what
/// [`Scope::release`](super::Scope::release) counts.
pub struct Guard {
    /// What was acquired with this guard, if anything was.
    own: Option<Arc<Grant>>,
    /// Grants the transaction had already, of which this guard is a view.
    views: Vec<Arc<Grant>>,
    tokens: Vec<(LockName, Token)>,
}

impl Guard {
    /// The names it covers.
    pub fn names(&self) -> impl Iterator<Item = &LockName> {
        self.tokens.iter().map(|(name, _)| name)
    }

    /// The token of one of its names; `None` if it does not cover the name.
    pub fn token(&self, name: &str) -> Option<Token> {
        let found = self.tokens.iter().find(|(it, _)| it.as_str() == name);
        found.map(|(_, token)| *token)
    }

    /// The guard of what was `granted`. `held` is everything the transaction
    /// holds, `own` included.
    pub(super) fn new(own: Option<Arc<Grant>>, granted: &Granted, held: &[Arc<Grant>]) -> Self {
        let is_viewed = |it: &&Arc<Grant>| {
            let of =
                |(name, token): &(LockName, Token)| *token == it.token && it.names.contains(name);
            own.as_ref().is_none_or(|own| own.id != it.id) && granted.tokens.iter().any(of)
        };
        Self {
            views: held.iter().filter(is_viewed).cloned().collect(),
            own,
            tokens: granted.tokens.clone(),
        }
    }

    /// A view of what is `allowed` of a grant; `None` if nothing is.
    pub(super) fn view(grant: &Arc<Grant>, allowed: &dyn Fn(&LockName) -> bool) -> Option<Self> {
        let names = grant.names.iter().filter(|it| allowed(it));
        let tokens: Vec<_> = names.map(|it| (it.clone(), grant.token)).collect();
        let some = !tokens.is_empty();
        some.then(|| Self {
            own: None,
            tokens,
            views: vec![grant.clone()],
        })
    }

    /// What it acquired itself.
    pub(super) fn own(&self) -> Option<&Arc<Grant>> {
        self.own.as_ref()
    }

    /// Every grant it stands for.
    pub(super) fn grants(&self) -> impl Iterator<Item = &Arc<Grant>> {
        self.own.iter().chain(&self.views)
    }
}

impl Grant {
    pub(super) fn is_turn(&self) -> bool {
        self.origin == Origin::Turn
    }

    /// How many guards stand for it. `grant` is held by the transaction as
    /// well, which is not counted.
    pub(super) fn guards(grant: &Arc<Grant>) -> usize {
        Arc::strong_count(grant).saturating_sub(1)
    }
}
