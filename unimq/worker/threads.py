"""The worker: threads that take messages and handle them, until it is told to stop."""

import math
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from queue import Empty as NothingOrdered
from queue import SimpleQueue
from types import FrameType
from typing import Any, Final

import msgspec

from unimq.client import Client
from unimq.errors import Closed, Empty, InvalidArgument, UnimqError
from unimq.message import Message
from unimq.options import seconds, short
from unimq.url import URL
from unimq.worker.handling import Handler, Handling, Middleware, log
from unimq.worker.policy import RetryPolicy

__all__ = ["Health", "Worker"]

_LOOK: Final = 0.5
"""Seconds after which a thread that waits for a message looks whether it is to stop."""
_LOOKS: Final = 10
"""How often in the time of a lease is looked whether it has to be extended."""
_ENDED: Final = 0.02
"""Seconds after which is looked whether the handlers have ended."""
_PAUSE_FIRST: Final = 0.1
_PAUSE_LONGEST: Final = 10.0
"""Seconds between tries to reach a server that is away: twice as long each time."""
_DEFAULT: Final = RetryPolicy()


class Health(msgspec.Struct, frozen=True):
    """What a worker is doing."""

    connected: bool
    """Whether the last try to take a message reached the server."""
    running: int
    """Handlers at work."""
    longest: float
    """Seconds for which the oldest of them has been at work; 0.0 where none is."""
    done: int
    """Messages acked since the worker was made."""
    retried: int
    """Tries that failed and are followed by another."""
    rejected: int
    """Messages given up."""
    lost: int
    """Messages whose settlement failed: they are delivered again."""
    error: str | None
    """Why the server cannot be reached, where it cannot."""


class Worker:
    """Runs handlers on the messages of one or more queues, in threads, until it is stopped.

    ```python
    def send(message: unimq.Message) -> None:
        mail(message.body["to"])

    unimq.Worker("sqlite:///jobs.db?queue=mail", send, concurrency=4).run()
    ```

    A handler that returns has done its work: the message is acked, and what was returned is the reply, where one is
    wanted. One that raises has not: `RetryPolicy` says when the next try is and when there is none, `Retry` and
    `Reject` say it for one message. A handler may settle the message itself. What cannot be decoded goes to the dead
    letters at once. The lease is extended while a handler runs, where the backend can do that.
    """

    def __init__(  # noqa: PLR0913 - each is a keyword of its own
        self,
        url: str | URL | Client | None,
        handlers: Handler | Mapping[str, Handler],
        *,
        concurrency: int = 1,
        retry: RetryPolicy = _DEFAULT,
        grace: float | timedelta = 30.0,
        max_runtime: float | timedelta | None = None,
        middleware: Sequence[Middleware] = (),
    ) -> None:
        """Check everything that can be checked without I/O.

        Args:
            url: The connection URL, or a client that stays the caller's; `None` reads `UNIMQ_URL`.
            handlers: The handler of the URL's queue, or one for each of some queues by its name.
            concurrency: Threads, each with one message at a time; 1 or more.
            retry: When a failed message is tried again, and when it is given up.
            grace: Seconds that handlers have to end after `stop`; then their messages are given back.
            max_runtime: Seconds after which the lease of a message is not extended any more, so that a handler that
                hangs does not keep it. The thread cannot be ended. `None`: a handler may run for ever.
            middleware: Called around each handler, the first outermost.

        Raises:
            InvalidURL, InvalidName, InvalidArgument: something cannot be used.
            Unsupported: `retry` has `attempts`, and deliveries are not counted: `delivery_count` is absent.
        """
        if concurrency < 1:
            msg = f"concurrency={short(concurrency)}: must be 1 or more"
            raise InvalidArgument(msg)
        self._own = not isinstance(url, Client)
        self._client = url if isinstance(url, Client) else Client(url)
        named: list[tuple[str | None, Handler]] = [(None, handlers)] if callable(handlers) else [*handlers.items()]
        if not named:
            msg = "handlers={}: must have one or more"
            raise InvalidArgument(msg)
        queues = [(self._client.queue(name, max_deliveries=retry.attempts), one) for name, one in named]
        self._handlings = {queue.name: Handling(queue, one, retry, middleware) for queue, one in queues}
        self._concurrency = concurrency
        self._grace = seconds(grace, "grace")
        self._max_runtime = None if max_runtime is None else seconds(max_runtime, "max_runtime")
        self._stopping = threading.Event()
        self._orders: SimpleQueue[None] = SimpleQueue()  # an Event that a signal handler sets can block for ever
        self._running: dict[Message[Any], float] = {}
        self._counts: Counter[str] = Counter()
        self._away: str | None = None
        self._lock = threading.Lock()

    # What an application does with it

    def run(self) -> None:
        """Work until `stop` is called, or SIGTERM or SIGINT arrives; these are minded in the main thread only.

        First the server is asked for a sign of life. Later it may be away: it is tried again for ever, and a change is
        logged once. After the first signal nothing more is taken, and handlers have `grace` seconds to end. After the
        second, or when these are over, the messages at work are given back, and `run` returns although the threads of
        their handlers may go on; they end with the process.

        Raises:
            ConnectError, AuthenticationFailed, Timeout: the server cannot be reached at the start.
            Closed: it has run before.
        """
        if self._stopping.is_set():
            msg = "this worker was stopped: make a new one"
            raise Closed(msg)
        self._client.ping()
        threads = [
            threading.Thread(target=self._work, name=f"unimq worker {number}", daemon=True)
            for number in range(1, self._concurrency + 1)
        ]
        ended = threading.Event()
        keeper = threading.Thread(target=self._keep, args=(ended,), name="unimq worker leases", daemon=True)
        with self._signals():
            for thread in (*threads, keeper):
                thread.start()
            try:
                self._orders.get()
                self._stopping.set()
                self._end(threads)
            finally:
                ended.set()

    def stop(self) -> None:
        """Take no more messages, and let those at work be finished; returns at once. Again: do not wait for these."""
        self._orders.put(None)

    def health(self) -> Health:
        """What it is doing; may be asked from any thread."""
        with self._lock:
            since = list(self._running.values())
            counts = dict(self._counts)
            away = self._away
        longest = time.monotonic() - min(since) if since else 0.0
        known = {name: counts.get(name, 0) for name in ("done", "retried", "rejected", "lost")}
        return Health(connected=away is None, running=len(since), longest=longest, error=away, **known)

    # How

    def _work(self) -> None:
        pause = _PAUSE_FIRST
        while not self._stopping.is_set():
            try:
                message = self._next()
            except Empty:
                self._note(None)
            except Closed:  # the client is the caller's
                self.stop()
                return
            except UnimqError as error:
                self._note(error)
                self._stopping.wait(pause)
                pause = min(2 * pause, _PAUSE_LONGEST)
            else:
                self._note(None)
                pause = _PAUSE_FIRST
                if self._stopping.is_set():
                    _release(message)
                else:
                    self._handle(message)

    def _next(self) -> Message[Any]:
        queues = [handling.queue for handling in self._handlings.values()]
        return queues[0].get(_LOOK) if len(queues) == 1 else self._client.get(queues, _LOOK)

    def _handle(self, message: Message[Any]) -> None:
        with self._lock:
            self._running[message] = time.monotonic()
        try:
            fate = self._handlings[message.queue](message)
        finally:
            with self._lock:
                ours = self._running.pop(message, None) is not None
        with self._lock:
            self._counts[fate if ours else "lost"] += 1

    def _keep(self, ended: threading.Event) -> None:
        """Extend the leases of the messages at work, each when a third of it is over."""
        if not self._client.capabilities.extend:
            return
        lease = self._client.settings.lease
        longest = math.inf if self._max_runtime is None else self._max_runtime
        while not ended.wait(lease / _LOOKS):
            now = time.monotonic()
            with self._lock:
                young = [message for message, start in self._running.items() if now - start < longest]
            for message in young:
                if message.lease_remaining is not None and message.lease_remaining < lease * 2 / 3:
                    with suppress(UnimqError):  # tried again, as long as it is at work
                        message.extend()

    def _note(self, error: UnimqError | None) -> None:
        """Say once that the server is away, and once that it is back."""
        away = None if error is None else str(error)
        if (away is None) == (self._away is None):
            return
        with self._lock:
            changed = (away is None) != (self._away is None)
            self._away = away
        if changed and away is None:
            log.warning("%s is back", self._client.where)
        elif changed:
            log.warning("%s is away, and is tried until it is back: %s", self._client.where, away)

    def _end(self, threads: Sequence[threading.Thread]) -> None:
        until = time.monotonic() + self._grace
        while any(thread.is_alive() for thread in threads) and time.monotonic() < until:
            with suppress(NothingOrdered):
                self._orders.get(timeout=_ENDED)
                break
        with self._lock:
            left = list(self._running)
            self._running.clear()
        for message in left:
            log.warning("%r is given back: its handler did not end in time", message)
            _release(message)
        if self._own:
            self._client.close()

    @contextmanager
    def _signals(self) -> Generator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(_number: int, _frame: FrameType | None) -> None:
            self.stop()

        before: dict[int, Callable[[int, FrameType | None], Any] | int | None] = {
            number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _release(message: Message[Any]) -> None:
    """Give it back; where that fails it comes back by itself, or never could."""
    with suppress(UnimqError):
        message.release()
