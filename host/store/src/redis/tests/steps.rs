//! What ends in steps: no call does all of it, however much there is, and nothing
//! is lost or done twice in between.

use super::direct::{Direct, Done};
use super::*;
use crate::contract::repeatable;
use crate::core::Acquired;
use crate::id::{GrantId, NodeId};
use crate::redis::codec::{Arguments, Claimed, News};
use crate::redis::library::Library;
use crate::store::{Attachment, Token};

/// How many grants a session has.
const GRANTS: usize = 2_000;

/// How many locks a call frees at most.
const FREED_MAX: u64 = 256;

/// How many commands a call may run for each that it ends, and for all of them.
const COMMANDS_EACH: u64 = 20;

/// How many wait for a lock that is about to be free, and are dead.
const DEAD: usize = 1_000;

/// How many of them a call ends at most: see `CHUNK`, `ABANDONED_MAX` and
/// `OVERDUE_MAX` in the library.
const ABANDONED_MAX: u64 = 64 + 64 + 128;

/// The time from one step to the next, and how many there may be.
const PAUSE: Duration = Duration::from_millis(20);
const STEPS_MAX: usize = 100;

/// Beats until something is so, and has each call looked at: what it did, and how
/// many were held and waited before.
fn beat_until(
    direct: &mut Direct,
    is_so: impl Fn(&Direct) -> bool,
    look: impl Fn(&Direct, &Done, (u64, u64)),
) {
    for _ in 0..STEPS_MAX {
        if is_so(direct) {
            return;
        }
        direct.let_pass(PAUSE);
        let before = (direct.held, direct.waiting);
        let beat = direct.beat(0);
        let (_, done) = direct.call_counted(&beat);
        look(direct, &done, before);
    }
    panic!("it takes too many steps");
}

/// A session with very many grants, and others who wait for some of its locks.
struct Crowded {
    direct: Direct,
    session: OpenSession,
    attachment: Attachment,
    /// The last of its grants, and its token.
    last: Acquire,
    token: Token,
    /// Its own wait for the lock `x`, who holds that, and who waits behind.
    wait: Acquire,
    holder: Acquire,
    behind: Acquire,
    /// Who else waits, in this order, for locks of the session: two for each.
    others: Vec<[Acquire; 2]>,
    /// The node where all of them wait.
    node: NodeId,
}

impl Crowded {
    /// The session lives for `ttl` from when this returns.
    fn new(server: &Server, ttl: Duration) -> Self {
        let mut direct = Direct::new(server, Library::ByHand);
        let session = OpenSession {
            ttl,
            grace: LONG * 60,
            ..session()
        };
        direct.call(&Arguments::open_session(&session));
        let of_it = |text: &str| of_session(session.id, &[text]);
        let grants: Vec<_> = (0..GRANTS).map(|at| of_it(&format!("s/{at}"))).collect();
        direct.acquire_all(&grants);
        let patient = |text: &str| Acquire {
            lease: Some(LONG * 60),
            ..waiting(LONG * 60, of_caller(&[text]))
        };
        let [holder, behind] = [(); 2].map(|()| patient("x"));
        let wait = waiting(LONG * 60, of_it("x"));
        let mut all = vec![holder.clone(), wait.clone(), behind.clone()];
        let places = [0, FREED_MAX as usize, GRANTS / 2, GRANTS - 1];
        let others = places.map(|at| [(); 2].map(|()| patient(&format!("s/{at}"))));
        all.extend(others.iter().flatten().cloned());
        direct.acquire_all(&all);
        let by = &session.party.principal;
        let attached = direct.call(&Arguments::attach(session.id, by));
        let (attached, held) = attached.attached(session.id).unwrap().unwrap();
        assert_eq!(held.len(), GRANTS);
        let node = direct.node;
        Self {
            last: grants[GRANTS - 1].clone(),
            token: held[GRANTS - 1].1.token,
            attachment: attached.attachment,
            wait,
            holder,
            behind,
            others: others.to_vec(),
            node,
            session,
            direct,
        }
    }

    /// Looks at a call: it frees so many locks, and runs so many commands.
    #[track_caller]
    fn check(now: u64, done: &Done, before: u64) {
        // A lock that somebody waited for is held again.
        let freed = before.saturating_sub(now);
        assert!(freed <= FREED_MAX, "{freed} freed by one call");
        let most = FREED_MAX * COMMANDS_EACH;
        assert!(done.count() <= most, "{done:?}");
    }

    /// Whether the session is over for everybody, although not all of its grants
    /// are free.
    fn check_is_over(&mut self) {
        let Self { direct, .. } = self;
        let (id, by) = (self.session.id, &self.session.party.principal);
        assert!(direct.held > 0 && direct.sessions == 1);
        let asked = [
            Arguments::attach(id, by),
            Arguments::beat(id, self.attachment),
            Arguments::renew(self.last.id, by, None),
            Arguments::claim(self.last.id, self.token),
            // By a node that has not heard, after a recovery.
            Arguments::recover_session(id, self.attachment, (LONG, LONG), &self.session.party),
            direct.acquiring(&of_session(id, &["new"])),
            Arguments::open_session(&self.session),
            Arguments::close_session(id, by),
            Arguments::look([&self.last.names[0]]),
        ];
        // All of it at once, so that it is not done yet.
        let answers = direct.call_all(&asked.iter().collect::<Vec<_>>());
        let [
            attached,
            beaten,
            renewed,
            claimed,
            recovered,
            acquired,
            opened,
            closed,
            looked,
        ] = answers.try_into().unwrap();
        assert_eq!(attached.attached(id).unwrap().err(), lost());
        assert_eq!(beaten.session().unwrap().err(), lost());
        assert!(renewed.renewed().unwrap().is_err());
        assert_eq!(claimed.claimed().unwrap(), Claimed::Lost);
        let recovered = recovered.session().unwrap();
        assert_eq!(recovered, Err(SessionError::Elsewhere));
        let refused = Acquired::Refused(AcquireError::NoSession);
        assert_eq!(acquired.acquired().unwrap().0, refused);
        let opened = opened.session().unwrap();
        assert!(matches!(opened, Err(SessionError::Invalid(_))), "in use");
        assert_eq!(closed.closed().unwrap(), Ok(true));
        let looked = looked.locks([&self.last.names[0]]).unwrap().remove(0);
        assert_eq!((looked.holding, looked.waiting), (1, 2), "not free yet");
        // Nor is anything given to who waits in it.
        let release = Arguments::release(self.holder.id, by);
        direct.call(&release).released().unwrap().unwrap();
        let unattached = News::Unattached(id, self.attachment);
        assert_eq!(times(&direct.told(self.node), &unattached), 1);
    }

    /// Beats until all that the session had has ended, and looks at what was told.
    fn end(mut self) {
        let is_over = |it: &Direct| it.sessions == 0;
        beat_until(&mut self.direct, is_over, |it, done, before| {
            Self::check(it.held, done, before.0);
        });
        // The first who waited for each lock, and who waited behind the session.
        assert_eq!((self.direct.held, self.direct.waiting), (5, 4));
        let by = &self.session.party.principal;
        for [first, _] in &self.others {
            let release = Arguments::release(first.id, by);
            self.direct.call(&release).released().unwrap().unwrap();
        }
        let told = self.direct.told(self.node);
        let granted = self.others.iter().map(|it| it.each_ref().map(|it| it.id));
        for [first, second] in granted {
            let [first, second] = [first, second].map(|it| token_of(&told, it));
            assert!(first < second, "in the order in which they came");
        }
        token_of(&told, self.behind.id);
        let cancelled = News::Refused(self.wait.id, 0, AcquireError::Cancelled);
        assert_eq!(times(&told, &cancelled), 1);
        let unattached = News::Unattached(self.session.id, self.attachment);
        assert_eq!(times(&told, &unattached), 1);
        assert_eq!(told.len(), 2 * self.others.len() + 3, "nothing else");
        self.check_nothing_is_left();
    }

    fn check_nothing_is_left(mut self) {
        assert_eq!((self.direct.held, self.direct.waiting), (5, 0));
        let keys = self.direct.memory_of_keys();
        let of_session = keys.keys().find(|it| *it == "s" || it.starts_with("g:s"));
        assert_eq!(of_session, None);
        let by = self.session.party.principal.as_str().as_bytes();
        for (account, left) in [("pl", 5), ("pw", 0), ("ps", 0)] {
            let key = self.direct.key(account);
            let has: u64 = self.direct.has_done("HGET", &key, &[by]);
            assert_eq!(has, left, "{account}");
        }
    }
}

fn lost() -> Option<SessionError> {
    Some(SessionError::Lost)
}

fn times(told: &[News], news: &News) -> usize {
    told.iter().filter(|it| *it == news).count()
}

/// The token that somebody who waited was told of, once.
#[track_caller]
fn token_of(told: &[News], id: GrantId) -> Token {
    let granted = told.iter().filter_map(|it| match it {
        News::Granted(of, _, granted) if *of == id => granted.own_token(),
        _ => None,
    });
    let tokens: Vec<Token> = granted.collect();
    assert_eq!(tokens.len(), 1, "told once");
    tokens[0]
}

#[test]
fn a_session_with_very_many_grants_is_closed_in_steps() {
    let server = Server::start();
    let mut crowded = Crowded::new(&server, LONG * 60);
    let held = crowded.direct.held;
    let by = &crowded.session.party.principal;
    let close = Arguments::close_session(crowded.session.id, by);
    let (closed, done) = crowded.direct.call_counted(&close);
    assert_eq!(closed.closed().unwrap(), Ok(true));
    Crowded::check(crowded.direct.held, &done, held);
    crowded.check_is_over();
    crowded.end();
}

#[test]
fn a_session_with_very_many_grants_runs_out_in_steps() {
    const TTL: Duration = Duration::from_secs(10);
    let server = Server::start();
    let mut crowded = Crowded::new(&server, TTL);
    let held = crowded.direct.held;
    crowded.direct.let_pass(TTL);
    let beat = crowded.direct.beat(0);
    let (_, done) = crowded.direct.call_counted(&beat);
    Crowded::check(crowded.direct.held, &done, held);
    assert!(crowded.direct.held < held, "it has begun");
    crowded.check_is_over();
    crowded.end();
}

/// A thousand wait at a node that is dead by now, then two at one that lives. One
/// of the dead's is asked again there, after its turn has come.
#[test]
fn very_many_dead_waiters_before_a_live_one_are_passed_in_steps() {
    const LEASE: Duration = Duration::from_secs(5);
    /// So many are ended with their node, and so many by the release, before its
    /// turn has come.
    const TURN: usize = 64 + 64;
    let server = Server::start();
    let mut direct = Direct::new(&server, Library::ByHand);
    let (lives, by) = (direct.node, caller().principal);
    let patient = || repeatable(waiting(LONG * 60, of_caller(&["a"])));
    let holder = patient();
    direct.acquire(&holder);
    direct.go_as_one_for(LEASE);
    let dead: Vec<_> = (0..DEAD).map(|_| patient()).collect();
    direct.acquire_all(&dead);
    direct.node = lives;
    let live = [(); 2].map(|()| patient());
    direct.acquire_all(&live);
    assert_eq!(direct.waiting as usize, DEAD + 2);
    direct.let_pass(LEASE);

    let release = Arguments::release(holder.id, &by);
    let again = direct.acquiring(&dead[TURN]);
    let before = direct.waiting;
    let (replies, done) = direct.call_all_counted(&[&release, &again]);
    let released = replies[0].clone().released().unwrap();
    assert_eq!(released, Ok(crate::store::Released::Released));
    let asked_again = replies[1].clone().acquired().unwrap().0;
    assert_eq!(asked_again, Acquired::Waiting);
    let check = |it: &Direct, done: &Done, before: u64| {
        let ended = before - it.waiting;
        assert!(ended <= ABANDONED_MAX, "{ended} ended by one call");
        let most = ABANDONED_MAX * COMMANDS_EACH;
        assert!(done.count() <= most, "{done:?}");
    };
    check(&direct, &done, before);
    assert_eq!(direct.held, 0, "nobody's turn yet that lives");

    // Each has its turn: the one who asked again is still before the others.
    let mut token = 0;
    for next in [&dead[TURN], &live[0], &live[1]] {
        beat_until(
            &mut direct,
            |it| it.held == 1,
            |it, done, before| check(it, done, before.1),
        );
        let told = direct.told(lives);
        let granted = token_of(&told, next.id);
        assert!(granted > token);
        token = granted;
        let (released, done) = direct.call_counted(&Arguments::release(next.id, &by));
        released.released().unwrap().unwrap();
        let most = ABANDONED_MAX * COMMANDS_EACH;
        assert!(done.count() <= most, "{done:?}");
    }
    beat_until(&mut direct, |it| it.waiting == 0, |_, _, _| {});
    assert_eq!(direct.told(lives).len(), 3, "nothing else is told");
    let key = direct.key("pl");
    let left: u64 = direct.has_done("HGET", &key, &[by.as_str().as_bytes()]);
    assert_eq!(left, 0);
}

/// What should never be: members of sets of which there is no record.
#[test]
fn what_has_no_record_does_not_keep_others_from_ending() {
    const LEASE: Duration = Duration::from_secs(5);
    let server = Server::start();
    let mut direct = Direct::new(&server, Library::ByHand);
    let lives = direct.node;
    let session = session();
    let by = &session.party.principal;
    direct.call(&Arguments::open_session(&session));
    direct.acquire(&of_session(session.id, &["b"]));
    direct.go_as_one_for(LEASE);
    let dies = direct.node;
    direct.acquire(&of(TransactionId::mint(), &["a"]));
    let add = |direct: &mut Direct, key: &[u8], member: &[u8]| {
        let _: u64 = direct.has_done("ZADD", key, &[b"0", member]);
    };
    let (id, place) = ([7; 16], [[0; 22].as_slice(), &[7; 16]].concat());
    for (kind, member) in [("t:", &place[..]), ("w:", &id[..])] {
        let key = direct.key_of_node(kind, dies);
        add(&mut direct, &key, member);
    }
    let key = direct.key_of_node("a:", dies);
    let _: u64 = direct.has_done("SADD", &key, &[&id]);
    let key = direct.key_of_session(session.id);
    add(&mut direct, &key, &place[16..]);
    let key = direct.key("d");
    for kind in [b'1', b'2', b'3'] {
        let member = [&[kind][..], &[0; 6], &id].concat();
        add(&mut direct, &key, &member);
    }
    direct.node = lives;
    direct.let_pass(LEASE);
    let close = Arguments::close_session(session.id, by);
    assert_eq!(direct.call(&close).closed().unwrap(), Ok(false));
    let key = direct.key("n");
    for _ in 0..STEPS_MAX {
        direct.let_pass(PAUSE);
        direct.call(&direct.beat(0));
    }
    let nodes: u64 = direct.has_done("HLEN", &key, &[]);
    assert_eq!(nodes, 1, "the other is over");
    assert_eq!((direct.held, direct.sessions), (0, 0));
}
