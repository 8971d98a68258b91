//! Bugs that are put into the library on purpose: the comparison must find each.
//!
//! Each is one place of the text and what stands there instead. One that is not
//! found in the text any more fails as well, so that the list stays true.

use super::*;

/// How many histories it may take to find one.
const HISTORIES: u32 = 600;

struct Bug {
    what: &'static str,
    instead_of: &'static str,
    stands: &'static str,
}

macro_rules! bugs {
    ($($what:literal: $instead_of:literal => $stands:literal;)*) => {
        [$(Bug { what: $what, instead_of: $instead_of, stands: $stands }),*]
    };
}

const BUGS: [Bug; 24] = bugs! {
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
        "call('HINCRBY', key('pw'), request.principal, sign)" => "local _ = sign";
    "a broken session lives for its time to live":
        "  keep(session, session.grace)\nend\n\nfunction Sessions.detach_from" =>
        "  keep(session, session.ttl)\nend\n\nfunction Sessions.detach_from";
    "a session is not told what was taken from it":
        "if how == 'forced' and Requests.life_kind(request) == 's' then" => "if false then";
    "a lease does not begin when it is claimed":
        "request.due = request.lease and S.now + request.lease\n  Requests.changed(request)\n  Deadlines.resume(request)\nend\n\n-- Op" =>
        "Requests.changed(request)\n  Deadlines.resume(request)\nend\n\n-- Op";
};

#[test]
fn every_seeded_bug_is_found() {
    let server = Server::start();
    // What is found is a panic each time, and expected.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let missed: Vec<_> = BUGS.iter().filter(|it| !is_found(it, &server)).collect();
    std::panic::set_hook(hook);
    let missed: Vec<_> = missed.into_iter().map(|it| it.what).collect();
    assert!(missed.is_empty(), "{missed:#?}");
}

fn is_found(bug: &Bug, server: &Server) -> bool {
    let text = Library::ByHand.text();
    let places = text.matches(bug.instead_of).count();
    if places != 1 {
        return false;
    }
    load(server, &text.replace(bug.instead_of, bug.stands));
    compare_many(server, HISTORIES, crate::core::STEPS).is_err()
}
