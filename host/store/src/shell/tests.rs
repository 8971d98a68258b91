//! What the shell does around the core, with a journal in the test's hands.

mod listing;

use self::listing::page_of;
use super::*;
use crate::clock::ManualClock;
use crate::contract::{
    LIMITS, SECOND, block_on, caller, name, of, of_caller, poll_once, repeatable, session, waiting,
};
use crate::id::{SessionId, TransactionId};
use crate::pattern::Permission;
use crate::store::{Acquire, Attached, Released, SessionError, WatchQuery, Watched};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A shell whose journal is written when the test says so.
struct Desk {
    shell: Arc<Shell>,
    clock: ManualClock,
    nudges: Arc<AtomicUsize>,
    _timer: Timer,
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

impl Desk {
    fn new() -> Self {
        let clock = ManualClock::new(Time::default() + 1_000 * SECOND);
        let nudges = Arc::new(AtomicUsize::new(0));
        let nudge = Box::new({
            let nudges = nudges.clone();
            move || {
                nudges.fetch_add(1, Ordering::Relaxed);
            }
        });
        let now = clock.now();
        let mut effects = Vec::new();
        let mut core = Core::restore(LIMITS, Default::default(), now, &mut effects);
        let token = core.first_reservation(now);
        core.reserved(token);
        let shell = Shell::durable(core, clock.clone().into(), LIMITS, nudge);
        Self {
            _timer: Timer::start(&shell).unwrap(),
            shell,
            clock,
            nudges,
        }
    }

    fn write(&self) {
        let changes = self.shell.take_journal();
        self.shell.journal_written(changes);
    }

    fn fail(&self) {
        let changes = self.shell.take_journal();
        self.shell.journal_failed(changes, &broken());
    }

    fn acquire(&self, request: &Acquire) -> Answer<'_, Result<Granted, AcquireError>> {
        Box::pin(self.shell.acquire(request.clone()))
    }

    fn release(&self, request: &Acquire) -> Answer<'_, Result<Released, StoreError>> {
        let principal = request.party.principal.clone();
        let released = self.shell.release(request.id, principal);
        Box::pin(async { Ok(released.await.unwrap()) })
    }

    /// Takes a lock for a caller, and writes that down.
    async fn hold(&self, request: &Acquire) -> Granted {
        let mut acquire = self.acquire(request);
        assert!(poll_once(&mut acquire).await.is_none(), "it is withheld");
        self.write();
        acquire.await.unwrap()
    }

    fn holders(&self, text: &str) -> usize {
        let name = name(text);
        self.shell
            .step(|core, now, effects| core.look(&name, now, effects).holding)
    }

    /// Uses up the tokens that are reserved.
    async fn exhaust_tokens(&self) {
        self.clock.advance(3600 * SECOND);
        let last = of(TransactionId::mint(), &["the last"]);
        self.acquire(&last).await.unwrap();
    }

    fn changes(&self) -> Changes {
        self.shell.take_journal()
    }
}

fn broken() -> StoreError {
    StoreError::Unavailable("broken".to_owned())
}

/// An answer that has not come yet, and comes with the journal.
async fn is_withheld<T>(answer: &mut Answer<'_, T>) -> bool {
    poll_once(answer).await.is_none()
}

/// What a caller outside can be told besides a grant: of one it has, of one
/// that nobody has, of a free lock and of its session. Whether it went well.
fn answers_of(
    shell: &Shell,
    held: Acquire,
    unknown: GrantId,
    session: SessionId,
) -> Vec<(&'static str, Answer<'_, bool>)> {
    let (id, principal) = (held.id, || caller().principal);
    vec![
        (
            "again",
            Box::pin(async { shell.acquire(held).await.is_ok() }),
        ),
        (
            "renew",
            Box::pin(async move { shell.renew(id, principal(), None).await.is_ok() }),
        ),
        (
            "already",
            Box::pin(async move { shell.release(unknown, principal()).await.is_ok() }),
        ),
        (
            "nothing",
            Box::pin(async move {
                let taken =
                    shell.force_release(name("c"), principal(), Permission::all(), String::new());
                taken.await.is_ok()
            }),
        ),
        (
            "lock",
            Box::pin(async { shell.lock(name("c")).await.is_ok() }),
        ),
        (
            "attach",
            Box::pin(async move { shell.attach(session, principal()).await.is_ok() }),
        ),
    ]
}

#[test]
fn whatever_a_caller_is_told_waits_for_what_is_not_written() {
    block_on(async {
        let desk = Desk::new();
        let held = repeatable(of_caller(&["a"]));
        desk.hold(&held).await;
        let other = session();
        let mut open = Box::pin(desk.shell.open_session(other.clone()));
        assert!(poll_once(&mut open).await.is_none());
        desk.write();
        open.await.unwrap();

        // Something happened that is not on the disk.
        let lost = of_caller(&["b"]);
        let _unwritten = desk.acquire(&lost);
        let mut unwritten = desk.acquire(&lost);
        assert!(is_withheld(&mut unwritten).await);
        let unknown = GrantId::mint();
        let mut answers = answers_of(&desk.shell, held, unknown, other.id);
        for (what, answer) in &mut answers {
            assert!(is_withheld(answer).await, "{what}");
        }
        // While it is being written as well.
        let changes = desk.shell.take_journal();
        let mut release: Answer<'_, _> = Box::pin(desk.shell.release(unknown, caller().principal));
        assert!(is_withheld(&mut release).await);
        let nudges = desk.nudges.load(Ordering::Relaxed);
        desk.shell.journal_written(changes);
        assert!(release.await.is_ok());
        for (what, answer) in answers {
            assert!(answer.await, "{what}");
        }
        assert_eq!(
            desk.nudges.load(Ordering::Relaxed),
            nudges,
            "nothing is left"
        );
        assert!(desk.changes().is_empty());
    });
}

#[test]
fn a_transaction_and_a_beat_wait_for_nothing() {
    block_on(async {
        let desk = Desk::new();
        let mut unwritten = desk.acquire(&of_caller(&["a"]));
        assert!(is_withheld(&mut unwritten).await);
        let own = of(TransactionId::mint(), &["b"]);
        assert!(poll_once(&mut desk.acquire(&own)).await.unwrap().is_ok());
        assert!(poll_once(&mut desk.release(&own)).await.is_some());
        let beat = desk.shell.beat(session().id, crate::store::Attachment(1));
        assert_eq!(beat, Err(SessionError::Lost));
    });
}

#[test]
fn of_each_grant_only_the_last_change_counts() {
    block_on(async {
        let desk = Desk::new();
        let held = of_caller(&["a"]);
        desk.hold(&held).await;
        for seconds in 20..60 {
            let lease = Some(seconds * SECOND);
            let renewal = desk.shell.renew(held.id, caller().principal, lease);
            drop(poll_once(&mut Box::pin(renewal)).await);
        }
        let changes = desk.changes();
        assert_eq!(changes.grants.len(), 1);
        desk.shell.journal_failed(changes, &broken());
        // What comes later replaces what failed earlier.
        drop(poll_once(&mut desk.release(&held)).await);
        let changes = desk.changes();
        assert_eq!(changes.grants.len(), 1);
        assert!(changes.grants[&held.id].is_none(), "it has ended");
    });
}

#[test]
fn a_grant_nobody_heard_of_is_given_back_when_the_disk_fails() {
    block_on(async {
        let desk = Desk::new();
        let request = repeatable(of_caller(&["a"]));
        let (mut one, mut two) = (desk.acquire(&request), desk.acquire(&request));
        assert!(is_withheld(&mut one).await && is_withheld(&mut two).await);
        desk.fail();
        let error = AcquireError::Store(broken());
        assert_eq!(one.await, Err(error.clone()));
        assert_eq!(two.await, Err(error));
        assert_eq!(desk.holders("a"), 0);
        // It may be asked again.
        desk.hold(&request).await;
    });
}

#[test]
fn a_grant_somebody_heard_of_stays_when_the_disk_fails() {
    block_on(async {
        let desk = Desk::new();
        let request = repeatable(of_caller(&["a"]));
        desk.hold(&request).await;
        let mut other = desk.acquire(&of_caller(&["b"]));
        assert!(is_withheld(&mut other).await);
        let mut again = desk.acquire(&request);
        let mut gone = desk.acquire(&request);
        assert!(is_withheld(&mut again).await && is_withheld(&mut gone).await);
        drop(gone);
        desk.fail();
        assert_eq!(again.await, Err(AcquireError::Store(broken())));
        assert_eq!((desk.holders("a"), desk.holders("b")), (1, 0));
    });
}

#[test]
fn a_view_of_a_grant_that_is_given_back_is_refused_with_it() {
    for of_a_later_batch in [false, true] {
        block_on(view_of_what_is_given_back(of_a_later_batch));
    }
}

async fn view_of_what_is_given_back(of_a_later_batch: bool) {
    let desk = Desk::new();
    desk.exhaust_tokens().await;
    let own = TransactionId::mint();
    let mut grant = desk.acquire(&of(own, &["a"]));
    assert!(is_withheld(&mut grant).await, "its token is not reserved");
    let changes = desk.shell.take_journal();
    let mut other = desk.acquire(&of_caller(&["x"]));
    if of_a_later_batch {
        assert!(is_withheld(&mut other).await);
    }
    // It is seen again while the first batch is on its way.
    let mut view = desk.acquire(&of(own, &["a"]));
    let mut wider = desk.acquire(&of(own, &["a", "b"]));
    assert!(is_withheld(&mut view).await && is_withheld(&mut wider).await);
    desk.shell.journal_failed(changes, &broken());
    // The next batch may go well: it is too late for all of them.
    desk.write();
    for answer in [grant, view, wider] {
        assert_eq!(answer.await, Err(AcquireError::Store(broken())));
    }
    assert_eq!((desk.holders("a"), desk.holders("b")), (0, 0));
    assert!(desk.acquire(&of(own, &["a"])).await.is_ok());
}

#[test]
fn what_failed_is_tried_again_after_a_pause() {
    block_on(async {
        let desk = Desk::new();
        let held = of_caller(&["a"]);
        desk.hold(&held).await;
        drop(poll_once(&mut desk.release(&held)).await);
        desk.fail();
        let nudges = || desk.nudges.load(Ordering::Relaxed);
        let before = nudges();
        desk.clock.advance(RETRY_AFTER - Duration::from_micros(1));
        assert_eq!(nudges(), before, "no busy loop");
        desk.clock.advance(Duration::from_micros(1));
        assert_eq!(nudges(), before + 1);
        desk.fail();
        desk.clock.advance(RETRY_AFTER);
        assert_eq!(nudges(), before + 2, "and again");
        let changes = desk.changes();
        assert!(changes.grants.contains_key(&held.id));
        desk.shell.journal_written(changes);
        desk.clock.advance(RETRY_AFTER);
        assert_eq!(nudges(), before + 2, "nothing is left to try");
    });
}

#[test]
fn what_is_kept_for_a_disk_that_fails_is_bounded() {
    block_on(async {
        let desk = Desk::new();
        let mut refused = 0;
        for number in 0..10 * LIMITS.unwritten {
            let request = repeatable(of_caller(&[&number.to_string()]));
            let mut acquire = desk.acquire(&request);
            if is_withheld(&mut acquire).await {
                desk.fail();
                assert!(acquire.await.is_err());
            } else {
                refused += 1;
            }
            let cancel = desk.shell.cancel(request.id, caller().principal);
            drop(poll_once(&mut Box::pin(cancel)).await);
            let open = desk.shell.open_session(session());
            drop(poll_once(&mut Box::pin(open)).await);
        }
        assert!(refused > 0);
        let changes = desk.changes();
        let kept = changes.grants.len() + changes.ended.len() + changes.sessions.len();
        assert!(kept <= 3 * LIMITS.unwritten, "{kept}");
    });
}

#[test]
fn a_session_nobody_heard_of_is_closed_when_the_disk_fails() {
    block_on(async {
        let desk = Desk::new();
        let request = session();
        let id = request.id;
        let mut open: Answer<'_, _> = Box::pin(desk.shell.open_session(request));
        assert!(is_withheld(&mut open).await);
        desk.fail();
        assert_eq!(open.await, Err(SessionError::Store(broken())));
        assert_eq!(desk.shell.statistics().sessions, 0);
        assert!(
            desk.changes().sessions[&id].is_none(),
            "it may be on the disk"
        );
    });
}

#[test]
fn so_many_ask_the_same_at_once() {
    block_on(async {
        let desk = Desk::new();
        desk.hold(&of_caller(&["a"])).await;
        let request = repeatable(waiting(SECOND, of_caller(&["a"])));
        let mut asking = Vec::new();
        for _ in 0..asking::ASKERS_MAX {
            let mut acquire = desk.acquire(&request);
            assert!(is_withheld(&mut acquire).await);
            asking.push(acquire);
        }
        let refusal = desk.acquire(&request).await;
        assert!(
            matches!(refusal, Err(AcquireError::Quota(_))),
            "{refusal:?}"
        );
        asking.pop();
        assert!(is_withheld(&mut desk.acquire(&request)).await);
        drop(asking);
        assert!(desk.shell.state().interests.is_empty());
        assert!(desk.shell.state().waiting.is_empty());
    });
}

#[test]
fn nothing_is_left_of_those_who_were_answered() {
    block_on(async {
        let desk = Desk::new();
        let held = of_caller(&["a"]);
        desk.hold(&held).await;
        let next = repeatable(waiting(SECOND, of_caller(&["a"])));
        let (mut one, mut two) = (desk.acquire(&next), desk.acquire(&next));
        assert!(is_withheld(&mut one).await && is_withheld(&mut two).await);
        let mut release = desk.release(&held);
        assert!(is_withheld(&mut release).await);
        desk.write();
        assert!(one.await.is_ok() && two.await.is_ok());
        let state = desk.shell.state();
        assert!(state.interests.is_empty() && state.waiting.is_empty());
    });
}

#[test]
fn nothing_is_recorded_while_nobody_watches() {
    let desk = Desk::new();
    let touch = || {
        block_on(async {
            let own = of(TransactionId::mint(), &["a"]);
            desk.acquire(&own).await.unwrap();
            desk.release(&own).await.unwrap();
        });
    };
    touch();
    assert!(!desk.shell.state().is_watched);
    let watch = block_on(desk.shell.watch(WatchQuery::default())).unwrap();
    touch();
    assert!(desk.shell.state().is_watched);
    drop(watch);
    touch();
    assert!(desk.shell.state().is_watched, "it may come back");
    desk.clock.advance(crate::store::MEMORY + SECOND);
    touch();
    assert!(!desk.shell.state().is_watched);
}

#[test]
fn the_line_of_a_session_goes_with_it() {
    block_on(async {
        let desk = Desk::new();
        let request = session();
        let id = request.id;
        let mut open: Answer<'_, _> = Box::pin(desk.shell.open_session(request));
        assert!(is_withheld(&mut open).await);
        desk.write();
        open.await.unwrap();
        let attach = || async { desk.shell.attach(id, caller().principal).await.unwrap() };
        let Attached { attachment, .. } = attach().await;
        assert_eq!(desk.shell.state().lines.len(), 1);
        desk.shell.detach(id, attachment);
        assert_eq!(desk.shell.state().lines.len(), 0);
        attach().await;
        desk.clock.advance(crate::contract::TTL);
        assert_eq!(desk.shell.state().lines.len(), 0);
    });
}

#[test]
fn a_repeated_request_that_both_askers_leave_is_given_back() {
    block_on(async {
        let desk = Desk::new();
        let request = repeatable(of_caller(&["a"]));
        let (mut one, mut two) = (desk.acquire(&request), desk.acquire(&request));
        assert!(is_withheld(&mut one).await && is_withheld(&mut two).await);
        drop(one);
        assert_eq!(desk.holders("a"), 1, "somebody may still hear of it");
        drop(two);
        assert_eq!(desk.holders("a"), 0);
    });
}

#[test]
fn a_grant_that_has_ended_before_it_could_be_told_is_lost() {
    block_on(async {
        let desk = Desk::new();
        let mut short = of_caller(&["a"]);
        short.lease = Some(SECOND);
        let mut long = of_caller(&["b"]);
        long.lease = Some(10 * SECOND);
        let (mut first, mut second) = (desk.acquire(&short), desk.acquire(&long));
        assert!(is_withheld(&mut first).await && is_withheld(&mut second).await);
        let changes = desk.shell.take_journal();
        desk.clock.advance(2 * SECOND);
        desk.shell.journal_written(changes);
        assert_eq!(second.await.unwrap().remaining, Some(8 * SECOND));
        // That it has ended is not written down yet.
        assert!(is_withheld(&mut first).await);
        desk.write();
        assert_eq!(first.await, Err(AcquireError::Lost));
    });
}

#[test]
fn an_attach_that_nobody_hears_of_leaves_the_session_its_grace() {
    for fails in [false, true] {
        block_on(attach_unheard(fails));
    }
}

async fn attach_unheard(fails: bool) {
    let desk = Desk::new();
    let mut request = session();
    request.grace = request.ttl / 2;
    let (id, grace) = (request.id, request.grace);
    let mut open: Answer<'_, _> = Box::pin(desk.shell.open_session(request));
    assert!(is_withheld(&mut open).await);
    desk.write();
    open.await.unwrap();
    let mut unwritten = desk.acquire(&of_caller(&["a"]));
    assert!(is_withheld(&mut unwritten).await);
    let mut attach: Answer<'_, _> = Box::pin(desk.shell.attach(id, caller().principal));
    assert!(is_withheld(&mut attach).await);
    if fails {
        desk.fail();
        assert!(attach.await.is_err());
    } else {
        drop(attach);
    }
    assert_eq!(desk.shell.state().lines.len(), 0);
    desk.clock.advance(grace);
    assert_eq!(desk.shell.statistics().sessions, 0);
}

#[test]
fn what_is_being_written_counts_among_what_waits() {
    block_on(async {
        let desk = Desk::new();
        let mut waits = Vec::new();
        for number in 0..LIMITS.unwritten {
            let mut acquire = desk.acquire(&of_caller(&[&number.to_string()]));
            assert!(is_withheld(&mut acquire).await);
            waits.push(acquire);
        }
        let changes = desk.shell.take_journal();
        let refusal = desk.acquire(&of_caller(&["x"])).await;
        let is_passing = matches!(refusal, Err(AcquireError::Store(_)));
        assert!(is_passing, "whoever asks is to ask again: {refusal:?}");
        desk.shell.journal_written(changes);
        let mut acquire = desk.acquire(&of_caller(&["x"]));
        assert!(is_withheld(&mut acquire).await);
    });
}

#[test]
fn while_the_disk_fails_people_can_look() {
    block_on(async {
        let desk = Desk::new();
        let held = of_caller(&["a"]);
        desk.hold(&held).await;
        drop(poll_once(&mut desk.release(&held)).await);
        let look = || -> Answer<'_, _> { Box::pin(desk.shell.lock(name("a"))) };
        let mut early = look();
        assert!(is_withheld(&mut early).await, "as long as it may go well");
        desk.fail();
        assert_eq!(early.await, Err(broken()));
        assert_eq!(look().await.unwrap().holding, 0);
        assert!(desk.shell.locks(page_of(10)).await.is_ok());
        desk.write();
        assert!(poll_once(&mut look()).await.is_some());
    });
}

#[test]
fn large_events_are_remembered_by_their_bytes() {
    block_on(async {
        let desk = Desk::new();
        let mut watch = desk.shell.watch(WatchQuery::default()).await.unwrap();
        let names: Vec<_> = (0..64).map(|it| format!("{it:0>500}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        for _ in 0..2 {
            let own = of(TransactionId::mint(), &names);
            desk.acquire(&own).await.unwrap();
            desk.release(&own).await.unwrap();
        }
        let first = watch.next().await;
        assert!(matches!(first, Some(Watched::Gap(_))), "{first:?}");
        let kept = 1;
        assert!(LIMITS.events > kept && 64 * 500 * (kept + 1) < LIMITS.event_bytes);
        assert!(matches!(watch.next().await, Some(Watched::Event(_))));
        assert!(poll_once(&mut Box::pin(watch.next())).await.is_none());
    });
}

#[test]
fn room_for_many_effects_is_given_back() {
    block_on(async {
        let desk = Desk::new();
        let own = TransactionId::mint();
        let _watch = desk.shell.watch(WatchQuery::default()).await.unwrap();
        for number in 0..4 * ROOM_KEPT {
            let name = number.to_string();
            desk.acquire(&of(own, &[&name])).await.unwrap();
        }
        desk.shell.end(own);
        let state = desk.shell.state();
        assert!(state.effects.capacity() <= ROOM_KEPT);
        assert!(state.events.capacity() <= ROOM_KEPT);
    });
}
