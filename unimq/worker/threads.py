"""The worker: threads that take messages and handle them, until it is told to stop."""

import math
import signal
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from operator import methodcaller
from queue import Empty as NothingOrdered
from queue import SimpleQueue
from types import FrameType
from typing import Any, Final

from unimq.errors import Closed, Empty, InvalidArgument, TooLarge, UnimqError
from unimq.message import Message
from unimq.options import seconds
from unimq.queue import Client, Queue
from unimq.url import URL
from unimq.worker.acking import Acker
from unimq.worker.handling import (
    Fate,
    Handler,
    Middleware,
    pause_in_hand,
    settlement,
    tell,
    tell_given_back,
    unsendable,
    unsettled,
)
from unimq.worker.ledger import Health, Ledger
from unimq.worker.policy import RetryPolicy
from unimq.worker.settings import DEFAULT_POLICY, LOOKS_IN_A_LEASE, STOP_SIGNALS, handled_queues, wrapped
from unimq.worker.taking import Taker

__all__ = ["Worker"]

_ENDED: Final = 0.02
"""Seconds after which is looked whether the handlers have ended."""


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
        retry: RetryPolicy = DEFAULT_POLICY,
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
        self._own = not isinstance(url, Client)
        self._client = url if isinstance(url, Client) else Client(url)
        pairs = handled_queues(self._client, handlers, concurrency, retry)
        self._queues: list[Queue[Any]] = [queue for queue, _ in pairs]
        self._handlers = {queue.name: wrapped(queue, handler, middleware) for queue, handler in pairs}
        self._policy = retry
        self._concurrency = concurrency
        self._grace = seconds(grace, "grace")
        self._max_runtime = None if max_runtime is None else seconds(max_runtime, "max_runtime")
        self._ran = False
        self._stopping = threading.Event()
        self._orders: SimpleQueue[None] = SimpleQueue()  # an Event that a signal handler sets can block for ever
        self._ledger: Ledger[Message[Any]] = Ledger(self._client.where)
        self._taker = Taker(self._queues, self._ledger, self._stopping, alone=concurrency == 1)
        self._ack = methodcaller("ack") if concurrency == 1 else Acker(self._queues).ack

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
        if self._ran:
            msg = "this worker has run before: make a new one"
            raise Closed(msg)
        self._ran = True
        self._client.ping()
        self._ledger.reached()
        threads = [
            threading.Thread(target=self._work, name=f"unimq worker {number}", daemon=True)
            for number in range(1, self._concurrency + 1)
        ]
        with self._signals(), self._leases_kept():
            for thread in threads:
                thread.start()
            self._orders.get()
            self._stopping.set()
            self._end(threads)

    def drain(self) -> Health:
        """Handle what is ready now, one message at a time in this thread, and return: for tests, and for cron jobs.

        What comes meanwhile is handled too, also what failed and comes again at once; what waits for its delay or its
        pause is not. It may be called again where the client is the caller's; otherwise that is closed at the end.

        Raises:
            ConnectError, ConnectionLost, AuthenticationFailed, Timeout: the server cannot be reached, or is no more.
            Closed: its client was closed.
        """
        try:
            with self._leases_kept():
                while True:
                    (message,) = self._taker.take(1, 0)
                    self._ledger.reached()
                    self._handle(message)
        except Empty:
            self._ledger.reached()
            return self.health()
        finally:
            if self._own:
                self._client.close()

    def stop(self) -> None:
        """Take no more messages, and let those at work be finished; returns at once. Again: do not wait for these."""
        self._orders.put(None)

    def health(self) -> Health:
        """What it is doing; may be asked from any thread."""
        return self._ledger.health()

    # How

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                message = self._taker.next()
            except Closed:  # the client is the caller's
                self.stop()
                return
            if message is None:
                continue
            if self._stopping.is_set():
                _release(message)
            else:
                self._handle(message)

    def _handle(self, message: Message[Any]) -> None:
        self._ledger.begins(message)
        fate: Fate | None = None
        try:
            result, error = self._outcome(message)
            while error is not None and (pause := pause_in_hand(message, error, self._policy)) is not None:
                if self._stopping.wait(pause):
                    break
                self._ledger.again(message)
                result, error = self._outcome(message)
            fate = self._settle(message, result, error)
        except BaseException:  # an interruption
            _release(message)
            raise
        finally:
            self._ledger.ended(message, fate)

    def _outcome(self, message: Message[Any]) -> tuple[object, Exception | None]:
        try:
            message.body  # noqa: B018 - what cannot be decoded is no handler's business
            return self._handlers[message.queue](message), None
        except Exception as error:  # noqa: BLE001 - of the application: any may come
            return None, error

    def _settle(self, message: Message[Any], result: object, error: Exception | None) -> Fate:
        can_wait = bool(self._client.capabilities.nack_delay)
        settled = settlement(message, error, self._policy, can_wait=can_wait)
        why = settled.why
        try:
            if result is not None and message.may_be_answered:
                try:
                    message.reply(result)
                except (InvalidArgument, TooLarge) as mistake:
                    why = unsendable(message, mistake)
            if why is not None and message.reply_to is None:  # what a backend itself replies comes before the end
                tell(message, why)
            if settled.name == "ack":
                self._ack(message)
            elif settled.name is not None:
                getattr(message, settled.name)(*settled.arguments)
        except UnimqError as failed:
            return unsettled(message, failed)
        if why is not None and message.reply_to is not None:
            tell(message, why)
        return settled.fate

    @contextmanager
    def _leases_kept(self) -> Generator[None]:
        ended = threading.Event()
        if self._client.capabilities.extend:
            threading.Thread(target=self._keep, args=(ended,), name="unimq worker leases", daemon=True).start()
        try:
            yield
        finally:
            ended.set()

    def _keep(self, ended: threading.Event) -> None:
        """Extend the leases of the messages at work, each when a third of it is over."""
        lease = self._client.settings.lease
        longest = math.inf if self._max_runtime is None else self._max_runtime
        while not ended.wait(lease / LOOKS_IN_A_LEASE):
            for message in self._ledger.to_extend(lease, longest):
                with suppress(UnimqError):  # tried again, as long as it is at work
                    message.extend()

    def _end(self, threads: Sequence[threading.Thread]) -> None:
        until = time.monotonic() + self._grace
        while any(thread.is_alive() for thread in threads) and time.monotonic() < until:
            for queue in self._queues:
                queue.interrupt()  # again and again: a get that has not begun yet would not hear of it
            with suppress(NothingOrdered):
                self._orders.get(timeout=_ENDED)
                break
        for message in self._taker.left():
            _release(message)
        for message in self._ledger.take_away():
            tell_given_back(message)
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
            number: signal.signal(number, stop) for number in STOP_SIGNALS
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
