"""Opens a session, acquires a lock on it, says so, and then does nothing at all
until it is killed.

Usage: session.py ADDRESS NAME TTL_MS GRACE_MS
"""

import sys
import threading

from lockport import Server, Session


def main(address, name, ttl, grace):
    stream = Session(Server(address), ttl=milliseconds(ttl), grace=milliseconds(grace))
    grant = stream.ask(acquire=dict(names=[name])).acquire.grant
    print(f"holding {name} with the token {grant.fencing_token}", flush=True)
    threading.Event().wait()


def milliseconds(text):
    return {"seconds": int(text) // 1000, "nanos": int(text) % 1000 * 1_000_000}


if __name__ == "__main__":
    main(*sys.argv[1:])
