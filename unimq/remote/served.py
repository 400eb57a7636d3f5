"""A store served to many clients: a frame in, a frame out, and fetches that wait. One thread; knows no transport.

A transport calls `answer` for each frame that came, then `due` for the fetches that can be answered, and again after
`patience()` seconds at the latest. What cannot be sent it gives back by `undelivered`.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from unimq.driver import Delivery, Session
from unimq.errors import ServerError, UnimqError
from unimq.remote import frames
from unimq.remote.answers import Answers
from unimq.remote.checks import check_fetch, check_names
from unimq.remote.store import Store
from unimq.remote.watching import Watcher
from unimq.url import URL

__all__ = ["Served"]

_LOOK_EVERY: Final = 0.02
"""Seconds between two looks for fetches that wait: delays, leases that end, and puts of other processes."""
_LONGEST_WAIT: Final = 10.0
"""Seconds that a fetch may wait here; a client asks again, which shows both sides that the other lives."""
_IDLE: Final = 1.0
_FIRST: Final = 16
"""Messages of a large fetch that are taken before it is known how large they are."""
_REMEMBERED: Final = 10_000
"""Peers whose last delivery is remembered, in case it cannot be sent."""


@dataclass(slots=True)
class _Waiting:
    number: int
    fetch: frames.Fetch
    until: float


class Served:
    """A store behind a socket."""

    def __init__(self, url: "URL | str", ring: Callable[[], None]) -> None:
        """Open the store; errors as those of `Store`. `ring` is called, by any thread, when it is time for `due`."""
        self._store = Store(URL.parse(url))
        self._ring = ring
        self._watcher: Watcher | None = None
        self._rung = False
        self.url = self._store.url
        self._answers = Answers(self._store)
        self._waiting: dict[bytes, _Waiting] = {}
        self._sent: dict[bytes, tuple[int, list[Delivery]]] = {}
        self._look_at = 0.0

    def answer(self, peer: bytes, frame: bytes) -> bytes | None:
        """The reply to `frame` of `peer`; `None`: there is none, or it comes by `due`."""
        try:
            request = frames.request_of(frame)
        except UnimqError as error:
            return frames.refusal(frames.number_in(frame), error)
        number, operation = request.number, request.operation
        if isinstance(operation, frames.Stop):
            return self._stop(peer, operation)
        self._sent.pop(peer, None)
        self._waiting.pop(peer, None)  # one request at a time: it has given up the other
        return self._tried(number, lambda: self._do(peer, request))

    def _do(self, peer: bytes, request: frames.Request) -> bytes | None:
        operation = request.operation
        if isinstance(operation, frames.Fetch):
            return self._fetch(peer, request.number, operation)
        return frames.reply(request.number, self._answers.to(operation, request.budget))

    def _tried(self, number: int, call: Callable[[], bytes | None]) -> bytes | None:
        try:
            return call()
        except UnimqError as error:
            return frames.refusal(number, error)
        except Exception as error:  # noqa: BLE001 - a bug of a store must not end the service of the others
            return frames.refusal(number, ServerError(f"the store failed: {type(error).__name__}: {error}"))

    # Fetching

    def _fetch(self, peer: bytes, number: int, fetch: frames.Fetch) -> bytes | None:
        check_names(fetch.queues, self._store.capabilities.limits)
        check_fetch(fetch.limit, fetch.lease, fetch.wait)
        found = self._take(fetch)
        if not found and fetch.wait > 0:
            until = time.monotonic() + min(fetch.wait, _LONGEST_WAIT)
            self._waiting[peer] = _Waiting(number, fetch, until)
            self._watch(fetch.queues)
            return None
        return self._delivered(peer, number, found)

    def _watch(self, queues: Sequence[str]) -> None:
        """Have what is put there meanwhile, by whoever it is, told."""
        if self._watcher is None:
            with contextlib.suppress(UnimqError):  # what is wrong with the store is told where it is used
                session = self._store.watching()
                self._watcher = None if session is None else Watcher(session, self._rings)
        if self._watcher is not None:
            self._watcher.watch(queues)

    def _rings(self) -> None:
        self._rung = True
        self._ring()

    def _take(self, fetch: frames.Fetch) -> list[Delivery]:
        """Messages of about `BATCH_BYTES` together: a few, and as many more as fit if they are like those."""
        queues, lease = fetch.queues, fetch.lease

        def take(limit: int) -> list[Delivery]:
            return list(self._store.use(lambda session: session.receive(queues, limit, lease, 0.0)))

        first = min(fetch.limit, _FIRST)
        found = take(first)
        if len(found) == first < fetch.limit:
            largest = max(map(frames.size_of, found))
            more = min(fetch.limit - first, frames.BATCH_BYTES // largest - first)
            if more > 0:
                found += take(more)
        return found

    def _delivered(self, peer: bytes, number: int, found: list[Delivery]) -> bytes:
        if found:
            self._sent[peer] = (number, [msgspec.structs.replace(one, body=b"") for one in found])
            if len(self._sent) > _REMEMBERED:
                del self._sent[next(iter(self._sent))]
        return frames.reply(number, [self._answers.shown(one) for one in found])

    def due(self) -> Iterator[tuple[bytes, bytes]]:
        """Peers whose fetch can be answered now, each with the reply; those that have waited longest come first."""
        now = time.monotonic()
        self._store.beat(now)
        if self._watcher is not None and not self._waiting:
            self._watcher.rest()
        rung, self._rung = self._rung, False
        looks = rung or now >= self._look_at
        if looks:
            self._look_at = now + _LOOK_EVERY
        stirred = self._answers.stirred
        if not (looks or stirred):
            return
        self._answers.stirred = set()
        for peer, one in list(self._waiting.items()):
            if not (looks or stirred.intersection(one.fetch.queues)):
                continue
            reply = self._tried(one.number, lambda: self._look(peer, one, now))  # noqa: B023 - called at once
            if reply is not None:
                del self._waiting[peer]
                yield peer, reply
            elif rung:
                self._watch(one.fetch.queues)

    def _look(self, peer: bytes, one: _Waiting, now: float) -> bytes | None:
        found = self._take(one.fetch)
        return self._delivered(peer, one.number, found) if found or now >= one.until else None

    def patience(self) -> float:
        """Seconds after which `due` must be called if nothing comes."""
        if not self._waiting:
            return _IDLE
        return max(0.0, self._look_at - time.monotonic())

    def _stop(self, peer: bytes, stop: frames.Stop) -> bytes | None:
        waiting = self._waiting.get(peer)
        if waiting is not None and waiting.number == stop.number:
            del self._waiting[peer]
            return frames.reply(stop.number, [])
        if stop.undo and self._sent.get(peer, (0, []))[0] == stop.number:
            self.undelivered(peer)
        return None

    def undelivered(self, peer: bytes) -> None:
        """The last reply to `peer` did not reach it: the messages in it go back."""
        self._waiting.pop(peer, None)
        _, lost = self._sent.pop(peer, (0, []))
        if lost:
            self._tried(0, lambda: self._give_back(lost))

    def _give_back(self, deliveries: list[Delivery]) -> None:
        # What is not given back here comes back when its lease ends.
        def release(session: Session) -> Any:
            return session.release(deliveries, 0.0, time.monotonic(), unseen=True)

        if self._store.capabilities.nack.level == "native":
            self._store.use(release)
            self._answers.stirred |= {one.queue for one in deliveries}

    def close(self) -> None:
        """Close the store."""
        if self._watcher is not None:
            self._watcher.close()
        self._store.close()
