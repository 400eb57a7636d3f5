"""`?journal=`: what an at-most-once backend delivered is stored before the application sees it, until it is settled.

A driver around a driver; neither knows of the other. The journal is a queue of a store that delivers at least once, a
SQLite file as a rule, so leases, delayed nacks and the counts of crashes are the store's, for all processes that share
it. It cannot make the backend deliver at least once: what was on the wire when the server, the connection or the
consumer died is lost as before. So it is a guarantee of its own, *kept once received*, and pops are small, because
one crash between pop and store loses a whole one.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, Final

import msgspec

from unimq import registry
from unimq.capabilities import Capabilities, native
from unimq.driver import BaseSession, Delivery, Driver, Outgoing, Session, Settling, Stats
from unimq.errors import InvalidURL, Timeout, UnimqError
from unimq.options import CORE, Option, read
from unimq.place import place_of
from unimq.url import URL

__all__ = ["Journaled"]

_POP: Final = 10
"""Most messages that are on their way from the server to the journal at once."""
_FIRST_SLICE: Final = 0.05
_SLICE: Final = 0.5
"""Seconds to wait at the server, at last, before the journal is looked at again, where leases and delays end."""
_STORE_PATIENCE: Final = 5.0
"""Seconds to store what the server has given away, deadline or not."""
_CONNECT_LEAST: Final = 1.0
_MOVE_LEASE: Final = 60.0
"""Seconds that a message is held for while it moves to another queue."""


class Journaled:
    """The driver `inner` with a journal, which `text` names: a file, or the URL of a store."""

    def __init__(self, inner: Driver, text: str) -> None:
        self._inner = inner
        self.name = inner.name
        self.contract = inner.contract
        self.options: tuple[Option, ...] = inner.options
        self.library = inner.library
        self.port = inner.port
        self.install = inner.install
        self.path_is_queue = inner.path_is_queue
        self._url = _store_url(text)
        self._store = registry.driver(self._url.scheme)

    def capabilities(self, url: URL) -> Capabilities:
        """Those of the backend, and those that the journal adds."""
        inner = self._inner.capabilities(url)
        if inner.guarantee != "at-most-once":
            msg = f"{url}: journal= is for backends that deliver at most once, and {self.name} gives {inner.guarantee}"
            raise InvalidURL(msg)
        store = self._store.capabilities(self._url)
        if store.guarantee != "at-least-once" or store.lease_by != "get" or not (store.nack_delay and store.extend):
            msg = f"{url}: journal= needs a store such as sqlite, not {self._url.scheme}"
            raise InvalidURL(msg)
        by = "by the journal"
        return replace(
            inner,
            nack=native(by),
            nack_delay=native(f"{by}: it comes back to the processes that share it"),
            lease=native(f"{by}: it comes back to the processes that share it"),
            extend=native(by),
            delivery_count=native(f"{by}: fetches by the processes that share it"),
            guarantee="kept-once-received",
            survives_process_death=store.survives_process_death,
            survives_host_loss=store.survives_host_loss,
            order="none" if inner.order == "none" else "fifo-until-redelivery",
            nack_place="front",
            lease_by="get",
            counts=store.counts,
            crash_counted=store.crash_counted,
            atomic_move=False,
        )

    def open(
        self,
        url: URL,
        deadline: float,
        *,
        options: Mapping[str, Any],
        known: Capabilities | None = None,  # noqa: ARG002 - the server may not be met now
    ) -> Session:
        """A session that has the journal; it connects to the server when that is needed."""
        stored = read(self._url, (*CORE, *self._store.options))

        def connect(until: float) -> Session:
            now = time.monotonic()
            until = min(max(until, now + _CONNECT_LEAST), now + options["connect_timeout"])
            return self._inner.open(url, until, options=options)

        def open_store(until: float) -> Session:
            return self._store.open(self._url, until, options=stored)

        return _JournaledSession(connect, open_store, self.capabilities(url), place_of(self, url), deadline)


class _JournaledSession(BaseSession):
    """The journal first, then the server."""

    settling: Settling = "any-session"

    def __init__(
        self,
        connect: Callable[[float], Session],
        open_store: Callable[[float], Session],
        capabilities: Capabilities,
        identity: str,
        deadline: float,
    ) -> None:
        self.capabilities = capabilities
        self._connect = connect
        self._open_store = open_store
        self._store = open_store(deadline)
        self._inner: Session | None = None
        self._identity = identity
        self._interrupted = False

    def _server(self, deadline: float) -> Session:
        if self._inner is None:
            self._inner = self._connect(deadline)
        return self._inner

    def _kept(self, queue: str) -> str:
        """The journal's name for a queue of this server."""
        return self._identity + queue

    # Messages

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Sequence[str | UnimqError | None]:
        """To the server."""
        return self._server(deadline).send(queue, messages, deadline)

    def receive(
        self,
        queues: Sequence[str],
        limit: int,
        lease: float,
        deadline: float,
        *,
        ahead: bool = False,  # noqa: ARG002 - a pop is small, whatever comes next
    ) -> Sequence[Delivery]:
        """What the journal has, or else what the server has, stored in the journal first."""
        self._interrupted = False
        names = {self._kept(queue): queue for queue in queues}
        pause = _FIRST_SLICE
        while True:
            found = self._take_kept(names, limit, lease, deadline)
            if found or self._interrupted:
                return found
            now = time.monotonic()
            popped = self._server(deadline).receive(queues, min(limit, _POP), lease, min(deadline, now + pause))
            pause = min(pause * 1.5, _SLICE)
            if popped:
                self._keep(popped, deadline)
            elif now >= deadline:
                return []

    def _take_kept(self, names: Mapping[str, str], limit: int, lease: float, deadline: float) -> list[Delivery]:
        try:
            found = self._store.receive(list(names), limit, lease, 0.0)
        except Timeout:
            # Another process had the store for a moment. A session that said so is not to be used again.
            self._store.close()
            self._store = self._open_store(max(deadline, time.monotonic() + _STORE_PATIENCE))
            return []
        return [self._as_delivered(names[one.queue], one) for one in found]

    def _as_delivered(self, queue: str, kept: Delivery) -> Delivery:
        """As the server would have delivered it: what its protocol does not give back is not the journal's to tell."""
        keeps = self.capabilities.keeps
        return msgspec.structs.replace(
            kept,
            queue=queue,
            id=kept.id if "id" in keeps else None,
            priority=kept.priority if "priority" in keeps else None,
            enqueued_at=kept.enqueued_at if "enqueued_at" in keeps else None,
        )

    def _keep(self, popped: Sequence[Delivery], deadline: float) -> None:
        """Store what the server gave away; what cannot be stored goes back to it, and the reason is raised."""
        until = max(deadline, time.monotonic() + _STORE_PATIENCE)
        failure: UnimqError | None = None
        for queue, group in groupby(popped, lambda one: one.queue):
            messages = [_again(one) for one in group]
            try:
                outcomes = self._store.send(self._kept(queue), messages, until)
            except UnimqError as error:
                outcomes = [error] * len(messages)
            refused = [m for m, outcome in zip(messages, outcomes, strict=True) if isinstance(outcome, UnimqError)]
            if refused:
                failure = next(outcome for outcome in outcomes if isinstance(outcome, UnimqError))
                self._server(until).send(queue, refused, until)
        if failure is not None:
            raise failure

    def interrupt(self) -> None:
        """Let the receive end with what it has."""
        self._interrupted = True
        inner = self._inner
        if inner is not None:
            inner.interrupt()

    # Settling is the journal's, and needs no server.

    def ack(self, deliveries: Sequence[Delivery], deadline: float) -> Sequence[UnimqError | None]:
        """Remove them from the journal."""
        return self._store.ack(deliveries, deadline)

    def release(
        self, deliveries: Sequence[Delivery], delay: float, deadline: float, *, unseen: bool = False
    ) -> Sequence[UnimqError | None]:
        """Give them back, in the journal."""
        return self._store.release(deliveries, delay, deadline, unseen=unseen)

    def extend(self, deliveries: Sequence[Delivery], seconds: float, deadline: float) -> Sequence[float | UnimqError]:
        """Prolong the leases, in the journal."""
        return self._store.extend(deliveries, seconds, deadline)

    def move(
        self, queue: str, pairs: Sequence[tuple[Delivery, Outgoing]], deadline: float
    ) -> Sequence[str | UnimqError | None]:
        """Hold them, send the messages to the server, then remove what it has: a crash in between duplicates."""
        held = self._store.extend([delivery for delivery, _ in pairs], _MOVE_LEASE, deadline)
        outcomes: list[str | UnimqError | None] = [one if isinstance(one, UnimqError) else None for one in held]
        ours = [position for position, refused in enumerate(outcomes) if refused is None]
        if not ours:
            return outcomes
        sent = self._server(deadline).send(queue, [pairs[position][1] for position in ours], deadline)
        for position, outcome in zip(ours, sent, strict=True):
            outcomes[position] = outcome
        stored = [position for position in ours if not isinstance(outcomes[position], UnimqError)]
        for position, failed in zip(
            stored, self._store.ack([pairs[position][0] for position in stored], deadline), strict=True
        ):
            outcomes[position] = failed if failed is not None else outcomes[position]
        return outcomes

    # Looking after it: the server and the journal together

    def peek(self, queue: str, limit: int, deadline: float) -> Sequence[Delivery]:
        """What the server can show; what is in the journal was received before."""
        return self._server(deadline).peek(queue, limit, deadline)

    def cancel(self, queue: str, message_id: str, deadline: float) -> bool:
        """What waits at the server."""
        return self._server(deadline).cancel(queue, message_id, deadline)

    def stats(self, queue: str, deadline: float) -> Stats:
        """The sums; what is leased is in the journal."""
        waiting, kept = self._server(deadline).stats(queue, deadline), self._store.stats(self._kept(queue), deadline)
        return Stats(
            ready=None if waiting.ready is None else waiting.ready + (kept.ready or 0),
            delayed=(waiting.delayed or 0) + (kept.delayed or 0),
            leased=kept.leased,
            approximate=waiting.approximate or kept.approximate,
        )

    def purge(self, queue: str, deadline: float) -> int:
        """Both."""
        return self._store.purge(self._kept(queue), deadline) + self._server(deadline).purge(queue, deadline)

    def delete(self, queue: str, deadline: float) -> None:
        """Both."""
        self._store.delete(self._kept(queue), deadline)
        self._server(deadline).delete(queue, deadline)

    def queues(self, deadline: float) -> Sequence[str]:
        """Those that either knows."""
        kept = self._store.queues(deadline)
        own = [name.removeprefix(self._identity) for name in kept if name.startswith(self._identity)]
        return sorted({*own, *self._server(deadline).queues(deadline)})

    def ping(self, deadline: float) -> str:
        """The server."""
        return self._server(deadline).ping(deadline)

    def close(self) -> None:
        """Both."""
        self._store.close()
        if self._inner is not None:
            self._inner.close()

    def abandon(self) -> None:
        """Both."""
        self._store.abandon()
        if self._inner is not None:
            self._inner.abandon()


def _again(delivery: Delivery) -> Outgoing:
    """The message of a delivery."""
    plain = Outgoing(delivery.body, headers=delivery.headers, id=delivery.id)
    return msgspec.structs.replace(
        plain,
        priority=plain.priority if delivery.priority is None else delivery.priority,
        expires_at=delivery.expires_at,
        enqueued_at=delivery.enqueued_at,
    )


def _store_url(text: str) -> URL:
    """Of a file, or of any store; fixed, so that a later change of the working directory means nothing."""
    if "://" in text:
        return URL.parse(text).anchored()
    from os.path import abspath  # noqa: PLC0415 - only here
    from urllib.parse import quote  # noqa: PLC0415 - 2 ms of import that only a journal pays

    return URL.parse(f"sqlite:///{quote(abspath(text))}")  # noqa: PTH100 - pathlib costs 5 ms of import
