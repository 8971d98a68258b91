//! Bugs that are put into the library on purpose: the comparison must find each.
//!
//! Each is one place of the text and what stands there instead. One that is not
//! found in the text any more fails as well, so that the list stays true.

use super::*;
use std::sync::atomic::AtomicUsize;

/// How many histories it may take to find one: most take less than ten, the rarest
/// some hundreds.
const HISTORIES: u32 = 5_000;

/// How many are looked for at a time.
const AT_ONCE: usize = 2;

struct Bug {
    what: &'static str,
    instead_of: &'static str,
    stands: &'static str,
}

macro_rules! bugs {
    ($($what:literal: $instead_of:literal => $stands:literal;)*) => {
        &[$(Bug { what: $what, instead_of: $instead_of, stands: $stands }),*]
    };
}

const BUGS: &[Bug] = bugs! {
    "anybody may release":
        "  Ends.one(request, 'given-back')\n  return { 'released' }" =>
        "  Ends.one(request, 'given-back')\n  return { 'already' }";
    "a stranger renews":
        "elseif not Requests.is_of(request, principal) then\n    return { 'not-holder' }\n  elseif" =>
        "elseif";
    "a renewal shortens":
        "math.max(request.due, S.now + longest)" => "S.now + longest";
    "a reader overtakes a writer that waits":
        "mode == SHARED and lock.w + lock.p == 0" => "mode == SHARED";
    "a writer overtakes readers that wait":
        "if arrival and (not reader or reader > arrival) then" => "if arrival then";
    "tokens begin anew":
        "math.max(S.token + 1, math.floor(S.now / 1000) * 4096)" =>
        "math.floor(S.now / 1000) * 4096 + 1";
    "one permit too many":
        "lock.mode == mode and lock.holders < mode" => "lock.mode == mode and lock.holders <= mode";
    "a waiter of several locks has them when the first is free":
        "    if not can_go then\n      return name\n    end\n" =>
        "    if not can_go then\n      return name\n    end\n    break\n";
    "a lock is handed to nobody when its holder goes":
        "    Woken.add(woken, Queues.first_blocking(lock))\n  end\nend\n\n-- Takes one" =>
        "  end\nend\n\n-- Takes one";
    "readers behind a writer that leaves are not woken":
        "    Woken.add_all(woken, Queues.leading_readers(lock, request.arrival))\n" => "";
    "the youngest is served first":
        "if woken[parent][1] <= arrival then" => "if woken[parent][1] >= arrival then";
    "waits run out before leases":
        "local NODE, SESSION, LEASE, WAIT = '0', '1', '2', '3'" =>
        "local NODE, SESSION, LEASE, WAIT = '0', '1', '3', '2'";
    "leases run out before sessions":
        "local NODE, SESSION, LEASE, WAIT = '0', '1', '2', '3'" =>
        "local NODE, SESSION, LEASE, WAIT = '0', '2', '1', '3'";
    "what has run out lives on until somebody asks":
        "while S.next_due <= S.now do" => "while false do";
    "an ended request id is granted again":
        "local ended = request.repeatable and Ended.get(request.id)" => "local ended = nil";
    "what ended in the same call is granted again":
        "  local how = S.ended[id]\n" => "  local how = nil\n";
    "a principal's locks are forgotten within a call":
        "return found.before + found.added" => "return found.before";
    "an ended request id is remembered for too long":
        "return at + MEMORY >= S.now" => "return at + 2 * MEMORY >= S.now";
    "no search for deadlocks is made":
        "if not group or Groups.count(group) < 2 then" => "if true then";
    "a search for deadlocks sees holders alone":
        "  local arrival, id = Queues.entangled_between(lock, mark.ahead, bound(request, lock))\n" =>
        "  local arrival, id = nil, nil\n";
    "who comes to have two requests is not entangled":
        "  entangle_other(group, request, true)\n" => "";
    "a transaction sees its own lock in any mode":
        "return held == EXCLUSIVE or held == asked" => "return true";
    "waits are not counted":
        "Accounts.add('pw', request.principal, sign)" => "local _ = sign";
    "a broken session lives for its time to live":
        "  keep(session, session.grace)\nend\n\nfunction Sessions.detach_from" =>
        "  keep(session, session.ttl)\nend\n\nfunction Sessions.detach_from";
    "a session is not told what was taken from it":
        "if how == 'forced' and request.kind == 's' then" => "if false then";
    "a lease does not begin when it is claimed":
        "request.due = request.lease and S.now + request.lease\n  Requests.changed(request)\n  Deadlines.resume(request)\nend\n\n-- Op" =>
        "Requests.changed(request)\n  Deadlines.resume(request)\nend\n\n-- Op";
    "an earlier attachment keeps a session":
        "not session.node or session.attachment ~= attachment" => "not session.node";
    "a connection that breaks late breaks the next one's session":
        "session and session.node and session.attachment == attachment then" =>
        "session and session.node then";
    "a session is attached twice":
        "  unattach(session)\n  Sessions.put(session, session.attachment + 1" =>
        "  Sessions.put(session, session.attachment + 1";
    "a session that is closed is not told":
        "  unattach(session)\n  if has_more then" => "  if has_more then";
    "force takes names that nobody permitted":
        "if not covers(patterns, Requests.get(holders[at]).locks) then" => "if false then";
    "a principal's locks are not counted":
        "Accounts.add('pl', request.principal, sign * #request.locks)" => "";
    "a session takes any number of grants":
        "Groups.count(Groups.of_life(request.life)) >= limits.grants_per_session" => "false";
    "who is refused for a limit is not counted":
        "elseif answer[1] == 'quota' then\n    Tell.count('over_quota')" =>
        "elseif answer[1] == 'quota' then";
    "a lost guard is overlooked":
        "    if not is_held then\n      return fenced" => "    if false then\n      return fenced";
    "a guard may be another transaction's":
        "request and request.life == life and Requests.is_held(request)" =>
        "request and Requests.is_held(request)";
    "a guard is had by who waits for it":
        "request.life == life and Requests.is_held(request)" => "request.life == life";
    "of lost locks the first is named, whoever has the others":
        "    if token > 0 then\n      return { 'fenced'" => "    if true then\n      return { 'fenced'";
    "who has a turn is overtaken":
        "or check_turns(life, writes)" => "";
    "a collection's turn is nobody's":
        "    turns[#turns + 1] = turn(write[1])\n" => "    turns[#turns + 1] = '-'\n";
    "one's own turn keeps one away":
        "lock and lock.holders > 0 and not Locks.own(lock, life) then" => "lock and lock.holders > 0 then";
    "a key may have changed since it was read":
        "if version(read[1], read[2]) ~= read[3] then" => "if false then";
    "a collection may have changed since it was listed":
        "if change(range[1]) ~= range[2] then" => "if false then";
    "who reads in vain is told before who lost a lock":
        "check_guards(life, guards) or check_versions(reads, ranges)" =>
        "check_versions(reads, ranges) or check_guards(life, guards)";
    "a guarded write needs no lock":
        "if write[4] and not is_covered(life, write) then" => "if false then";
    "a new key is written by who has not looked":
        "return absence_read and version(collection, name) == 0" =>
        "return version(collection, name) == 0";
    "an old key is written as if it were new":
        "return absence_read and version(collection, name) == 0" => "return absence_read";
    "a lock in any mode guards a write":
        "return lock.mode == EXCLUSIVE and Locks.own(lock, life) ~= nil" =>
        "return Locks.own(lock, life) ~= nil";
    "anybody's lock guards a write":
        "return lock.mode == EXCLUSIVE and Locks.own(lock, life) ~= nil" =>
        "return lock.mode == EXCLUSIVE";
    "a commit that comes again is applied again":
        "  local number = outcome(minted, random)\n  if number then" =>
        "  local number = nil\n  if number then";
    "a commit that was given up is applied":
        "  local number = outcome(minted, random)\n  if number then" =>
        "  local number = outcome(minted, random)\n  if number and number > 0 then";
    "a commit that is asked for is not given up":
        "    record(minted, random, 0)\n" => "";
    "an outcome is remembered for too long":
        "return minted + MEMORY < S.now or" => "return minted + 2 * MEMORY < S.now or";
    "what was forgotten for lack of room is applied again":
        "minted + MEMORY < S.now or minted <= S.swept" => "minted + MEMORY < S.now";
    "a commit keeps its locks":
        "  Ends.transaction(life)\n  return { 'committed', S.commit }" =>
        "  return { 'committed', S.commit }";
    "a key that is removed is still listed":
        "    call('ZREM', key('k:') .. collection, name)\n" => "";
    "a key that is removed keeps its version":
        "    call('HDEL', key('vn:') .. collection, name)\n" => "";
    "a key that is removed changes no collection":
        "  call('HSET', key('c'), collection, number)\n  if value then\n" =>
        "  if value then\n    call('HSET', key('c'), collection, number)\n";
    "a page hides that there is more":
        "return { 'page', true, change(collection), entries }" =>
        "return { 'page', false, change(collection), entries }";
    "a page begins behind its first key":
        "local low, high = '[' .. from" => "local low, high = '(' .. from";
};

#[test]
fn every_seeded_bug_is_found() {
    // What is found is a panic each time, and expected.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let next = AtomicUsize::new(0);
    let found = std::thread::scope(|scope| {
        let look = || missed_of(&next);
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(look)).collect();
        let missed = threads.into_iter().map(|it| it.join());
        missed.collect::<Result<Vec<_>, _>>()
    });
    std::panic::set_hook(hook);
    let missed = found.expect("no thread panics").concat();
    assert!(missed.is_empty(), "{missed:#?}");
}

/// Looks for the next bug, and the next, on a server of its own: those that are
/// not found.
fn missed_of(next: &AtomicUsize) -> Vec<&'static str> {
    let server = Server::start();
    let numbers = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
    let bugs = numbers.map_while(|it| BUGS.get(it));
    let missed = bugs.filter(|it| !is_found(it, &server));
    missed.map(|it| it.what).collect()
}

fn is_found(bug: &Bug, server: &Server) -> bool {
    let text = Library::ByHand.text();
    let places = text.matches(bug.instead_of).count();
    if places != 1 {
        return false;
    }
    load(server, &text.replace(bug.instead_of, bug.stands));
    compare_many(server, HISTORIES, crate::core::STEPS, Shrinking::Off).is_err()
}
