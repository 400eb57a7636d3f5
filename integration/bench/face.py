"""What the face costs by itself: a put, a get and an ack beside a session that does nothing.

`python integration/bench/face.py` prints microseconds per message, the best of many short runs: what disturbs a run
makes it longer, never shorter. To compare two trees, run it with each in turn (`PYTHONPATH=tree:tree/adapters`).
"""
# ruff: noqa: ARG002 - a session that does nothing needs no arguments

import argparse
import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from unimq import URL, Queue, registry
from unimq.capabilities import Capabilities, Limits, layered, native
from unimq.driver import BaseSession, Delivery, Outgoing, Settling
from unimq.errors import UnimqError

BODY = b"x" * 100
HUNDRED = 100
NATIVE = Capabilities(
    priority=native(),
    delay=native(),
    ttl=native(),
    headers=native(),
    batch=native(),
    nack=native(),
    lease=native(),
    extend=native(),
    delivery_count=native(),
    guarantee="at-least-once",
    survives_process_death="no",
    survives_host_loss="no",
    survives_server_restart="no",
    confirmed=True,
    order="fifo",
    nack_place="front",
    lease_by="get",
    counts="fetches",
    keeps=frozenset({"id", "enqueued_at", "priority"}),
    limits=Limits(name_characters="[a-z]"),
)
BARE = Capabilities(
    headers=layered(),
    ttl=layered(),
    batch=native(),
    nack=native(),
    lease=native(),
    extend=native(),
    delivery_count=layered(),
    guarantee="at-least-once",
    survives_process_death="no",
    survives_host_loss="no",
    survives_server_restart="no",
    confirmed=True,
    order="fifo",
    nack_place="tail",
    lease_by="get",
    counts="nacks",
    limits=Limits(name_characters="[a-z]", body=65536),
)
"""As a server that knows nothing but bodies."""
PUSHED = replace(NATIVE, lease=layered(), extend=layered(), lease_by="connection")
"""As a server whose leases end with the connection, so that unimq ends them."""


class Idle(BaseSession):
    """Says that all went well."""

    def __init__(self, capabilities: Capabilities, settling: Settling) -> None:
        self.capabilities = capabilities
        self.settling: Settling = settling
        self.sent = BODY
        self._done = [[None] * n for n in range(HUNDRED + 1)]
        self._found: dict[tuple[bytes, int], list[Delivery]] = {}

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Sequence[str | UnimqError | None]:
        """Keep the last body."""
        self.sent = messages[-1].body
        return self._done[len(messages)]

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        """The same ones each time."""
        key = (self.sent, limit)
        if key not in self._found:
            until = time.monotonic() + 1e6
            self._found[key] = [
                Delivery(queues[0], self.sent, token=n, delivery_count=1, lease_until=until) for n in range(limit)
            ]
        return self._found[key]

    def ack(self, deliveries: Sequence[Delivery], deadline: float) -> Sequence[UnimqError | None]:
        """Done."""
        return self._done[len(deliveries)]

    def move(
        self, queue: str, pairs: Sequence[tuple[Delivery, Outgoing]], deadline: float
    ) -> Sequence[str | UnimqError | None]:
        """Done."""
        return self._done[len(pairs)]

    def interrupt(self) -> None:
        """Nothing waits."""

    def ping(self, deadline: float) -> str:
        """There."""
        return "idle"

    def close(self) -> None:
        """Nothing is open."""


class IdleDriver:
    """A driver of sessions that do nothing."""

    name = "idle"
    contract = 1
    library = None
    install = ""
    port = None
    path_is_queue = True
    options = ()

    def __init__(self, capabilities: Capabilities, settling: Settling) -> None:
        self._capabilities = capabilities
        self._settling: Settling = settling

    def capabilities(self, url: URL) -> Capabilities:
        """As given."""
        return self._capabilities

    def open(self, url: URL, deadline: float, *, options: Mapping[str, Any], known: Capabilities | None = None) -> Idle:
        """A session."""
        return Idle(self._capabilities, self._settling)


def best(work: Callable[[], object], messages: int, runs: int) -> float:
    """Microseconds per message."""
    found = 1e9
    for _ in range(runs):
        gc.collect()
        gc.disable()
        start = time.perf_counter()
        work()
        found = min(found, (time.perf_counter() - start) / messages * 1e6)
        gc.enable()
    return found


def rows(runs: int, n: int) -> list[tuple[str, float]]:
    """What was done, and how long each message took."""
    found: list[tuple[str, float]] = []
    kinds: list[tuple[str, Capabilities, Settling]] = [
        ("all native", NATIVE, "any-session"),
        ("all native, one session", NATIVE, "same-session"),
        ("nothing native", BARE, "any-session"),
        ("leases of unimq", PUSHED, "duplex"),
    ]
    for kind, capabilities, settling in kinds:
        registry.register("idle", IdleDriver(capabilities, settling))
        queue: Queue[Any] = Queue("idle:///q", codec="raw")
        try:
            found += [(f"{kind}: {what}", best(work, n, runs)) for what, work in works(queue, n)]
        finally:
            queue.close()
    return found


def works(queue: Queue[Any], n: int) -> list[tuple[str, Callable[[], object]]]:
    """What is timed."""
    one_by_one: list[tuple[str, Callable[[], object]]] = [
        ("put", lambda: queue.put(BODY)),
        ("get and ack", lambda: queue.get(timeout=0).ack()),
        ("put with a header", lambda: queue.put(BODY, headers={"a": "b"})),
        ("get and ack with a header", lambda: queue.get(timeout=0).ack()),
    ]
    batches: list[tuple[str, Callable[[], object]]] = [
        ("put, batches of 100", lambda: queue.put_many([BODY] * HUNDRED)),
        ("get and ack, batches of 100", lambda: queue.ack(queue.get_many(HUNDRED, timeout=0))),
    ]
    return [(what, partial(repeat, call, n)) for what, call in one_by_one] + [
        (what, partial(repeat, call, n // HUNDRED)) for what, call in batches
    ]


def repeat(call: Callable[[], object], n: int) -> None:
    """Do it so often."""
    for _ in range(n):
        call()


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=1000, help="messages a run (1000)")
    parser.add_argument("--runs", type=int, default=50, help="runs (50)")
    arguments = parser.parse_args()
    for what, us in rows(arguments.runs, arguments.messages):
        print(f"{what:45} {us:6.2f} us")


if __name__ == "__main__":
    main()
