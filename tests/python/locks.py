"""Uses the whole lock API as a Python program would, and checks every answer.

Usage: locks.py ADDRESS
"""

import sys
import threading
import uuid

import grpc
from lockport import BOUND, HEALTH, OLDER, SERVICE, Refused, Server, Session


def main(address):
    server = Server(address)
    for check in (
        reflection_and_health,
        acquire_renew_and_release,
        waiting_and_cancelling,
        looking,
        refusals,
        watching,
        session,
        older_contract,
    ):
        check(server)
        print(f"{check.__name__}: ok")


def reflection_and_health(server):
    assert {SERVICE, OLDER, HEALTH} <= server.services(), server.services()
    check = server.method(HEALTH, "Check")
    for service in ("", SERVICE):
        assert check(service=service).status == 1, f"{service} serves"
    try:
        check(service="nothing")
    except Refused as refused:
        assert refused.code == grpc.StatusCode.NOT_FOUND, refused
    else:
        raise AssertionError("nothing serves")


def acquire_renew_and_release(server):
    acquire, renew, release = map(server.locks, ("Acquire", "Renew", "Release"))
    asked = dict(names=["py/1", "py/2"], lease=seconds(20), request_id="py", holder="python")
    grant = acquire(**asked).grant
    assert list(grant.names) == ["py/1", "py/2"], grant
    assert 0 < grant.fencing_token < 2**53, grant
    assert 19 <= grant.remaining.seconds <= 20, grant
    assert acquire(**asked).grant.id == grant.id, "the same request, the same grant"
    refused("HELD", grpc.StatusCode.ALREADY_EXISTS, lambda: acquire(names=["py/2"]))
    renewed = renew(grant=grant.id, lease=seconds(60)).grant
    assert renewed.fencing_token == grant.fencing_token, renewed
    assert renewed.remaining.seconds >= 59, renewed
    assert release(grant=grant.id).outcome == 1, "it was held"
    assert release(grant=grant.id).outcome == 2, "it had ended"
    refused("LOST", grpc.StatusCode.FAILED_PRECONDITION, lambda: renew(grant=grant.id))
    later = acquire(names=["py/1"]).grant
    assert later.fencing_token > grant.fencing_token, "tokens rise"
    release(grant=later.id)


def waiting_and_cancelling(server):
    acquire, release, get, cancel = map(server.locks, ("Acquire", "Release", "Get", "Cancel"))
    held = acquire(names=["py/wait"]).grant
    answers = []
    waiting = threading.Thread(
        target=lambda: answers.append(acquire(names=["py/wait"], wait=seconds(BOUND)))
    )
    waiting.start()
    wait_until(lambda: get(name="py/wait").lock.waiter_count == 1)
    release(grant=held.id)
    waiting.join(BOUND)
    granted = answers[0].grant
    assert granted.fencing_token > held.fencing_token, answers
    timed_out = dict(names=["py/wait"], wait={"nanos": 10_000_000})
    refused("TIMED_OUT", grpc.StatusCode.ABORTED, lambda: acquire(**timed_out))
    assert cancel(request_id="py/cancelled").outcome == 1, "nothing had been granted"
    cancelled = dict(names=["py/free"], request_id="py/cancelled")
    refused("CANCELLED", grpc.StatusCode.ABORTED, lambda: acquire(**cancelled))
    release(grant=granted.id)


def looking(server):
    acquire, release, get, list_ = map(server.locks, ("Acquire", "Release", "Get", "List"))
    grants = [acquire(names=[f"py/list/{n}"], mode=2, holder=f"reader {n}") for n in range(5)]
    lock = get(name="py/list/3").lock
    assert lock.mode == 2 and lock.holder_count == 1, lock
    assert lock.holders[0].holder == "reader 3", lock
    assert lock.holders[0].kind == 1, lock
    names, token = [], ""
    while True:
        page = list_(prefix="py/list/", page_size=2, page_token=token)
        names += [lock.name for lock in page.locks]
        token = page.next_page_token
        if not token:
            break
    assert names == [f"py/list/{n}" for n in range(5)], names
    taken = server.locks("ForceRelease")(name="py/list/0", reason="it is in the way").taken
    assert taken[0].fencing_token == grants[0].grant.fencing_token, taken
    for answer in grants:
        release(grant=answer.grant.id)


def refusals(server):
    acquire, renew = server.locks("Acquire"), server.locks("Renew")
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    refused("INVALID_NAME", invalid, lambda: acquire(names=[]))
    refused("INVALID_NAME", invalid, lambda: acquire(names=["a\0"]))
    refused("INVALID_LEASE", invalid, lambda: acquire(names=["a"], lease=seconds(100_000)))
    refused("INVALID_PERMITS", invalid, lambda: acquire(names=["a"], mode=3))
    refused("UNKNOWN_GRANT", grpc.StatusCode.NOT_FOUND, lambda: renew(grant="none"))


def watching(server):
    acquire, release = server.locks("Acquire"), server.locks("Release")
    events = server.locks("Watch")(prefix="py/watch")
    assert next(events).WhichOneof("item") == "progress"
    release(grant=acquire(names=["py/watch"]).grant.id)
    granted, released = next(events).event, next(events).event
    assert (granted.kind, released.kind) == (2, 3), (granted, released)
    assert granted.fencing_token == released.fencing_token
    events.cancel()
    again = server.locks("Watch")(prefix="py/watch", from_revision=granted.revision)
    told = next(message for message in again if message.WhichOneof("item") == "event")
    assert told.event == released, told
    again.cancel()


def session(server):
    stream = Session(server, ttl=seconds(30), holder="a session")
    assert stream.opened.ttl.seconds == 30, stream.opened
    grant = stream.ask(acquire=dict(names=["py/session"])).acquire.grant
    assert grant.holder == "a session", grant
    assert stream.ask(beat={}).WhichOneof("result") == "beat"
    failure = stream.ask(acquire=dict(names=["py/session"])).failure
    assert (failure.reason, failure.code) == ("HELD", 6), failure
    # Many at once; the one that waits keeps no other back.
    held = stream.ask(acquire=dict(names=["py/other"])).acquire.grant
    lock = stream.send(acquire=dict(names=["py/third"]))
    waits = stream.send(renew=dict(grant=held.id))
    answers = {response.id: response for response in (stream.next(), stream.next())}
    assert answers[lock].acquire.grant.fencing_token > held.fencing_token, answers
    assert answers[waits].renew.grant.id == held.id, answers
    # What is taken away is told without asking.
    server.locks("ForceRelease")(name="py/session", reason="it is in the way")
    told = stream.next()
    assert told.id == 0 and told.lost.fencing_token == grant.fencing_token, told
    # It can be attached elsewhere by its secret, and its grants go with it.
    second = Session(server, session=stream.opened.session)
    try:
        raise AssertionError(f"the first stream goes on: {stream.next()}")
    except grpc.RpcError as error:
        assert Refused(error).reason == "ELSEWHERE", error
    assert second.ask(release=dict(grant=held.id)).release.outcome == 1
    second.close()
    get = server.locks("Get")
    assert get(name="py/third").lock.holder_count == 0, "closing frees"


def older_contract(server):
    lock, unlock = server.method(OLDER, "Lock"), server.method(OLDER, "Unlock")
    token = lock(resource_id="py/older").token
    assert uuid.UUID(token).version == 4, token
    codes = grpc.StatusCode
    older(codes.ALREADY_EXISTS, "LOCK_ALREADY_EXISTS", lambda: lock(resource_id="py/older"))
    older(codes.INVALID_ARGUMENT, "INVALID_RESOURCE_ID", lambda: lock())
    older(codes.INVALID_ARGUMENT, "INVALID_TOKEN", lambda: unlock(resource_id="py/older"))
    stranger = dict(resource_id="py/older", token=str(uuid.uuid4()))
    older(codes.INVALID_ARGUMENT, "TOKEN_DOES_NOT_FIT", lambda: unlock(**stranger))
    assert unlock(resource_id="py/older", token=token).HasField("response")
    again = dict(resource_id="py/older", token=token)
    older(codes.NOT_FOUND, "LOCK_NOT_FOUND", lambda: unlock(**again))


def refused(reason, code, call):
    try:
        told = call()
    except Refused as refused:
        found = (refused.reason, refused.code, refused.domain)
        assert found == (reason, code, "lockport"), refused
    else:
        raise AssertionError(f"{told} instead of {reason}")


def older(code, string, call):
    try:
        told = call()
    except Refused as refused:
        assert (refused.code, refused.message) == (code, string), refused
    else:
        raise AssertionError(f"{told} instead of {string}")


def wait_until(holds):
    pause = threading.Event()
    for _ in range(BOUND * 100):
        if holds():
            return
        pause.wait(0.01)
    raise AssertionError("waited in vain")


def seconds(count):
    return {"seconds": count}


if __name__ == "__main__":
    main(sys.argv[1])
