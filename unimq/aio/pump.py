"""Receiving for tasks: any number of them wait in one thread.

What they wait for may differ, where a get is over several queues. Then the thread asks for all of it together, and for
no more messages than can be handed out whatever queue they are of: each queue has takers for so many. Who comes with a
queue that is not among those interrupts it, and so does the last who wanted one.
"""

import asyncio
import contextlib
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Protocol

from unimq.endpoint import Endpoint
from unimq.errors import ConnectError, ConnectionLost, Empty, Timeout
from unimq.message import BaseMessage
from unimq.outcomes import like
from unimq.owner import Owner
from unimq.receiver import park
from unimq.several import Several
from unimq.source import Cancellation

__all__ = ["Asker", "Pump", "Pumps"]

_MOST: Final = 1000
"""Messages of one receive."""
_CLOSE_MOST: Final = 0.5
"""Seconds that a thread has to end; it is interrupted."""
_LOOKS_AFTER: Final = 1.0
"""Seconds after which a waiting pump looks whether it is still wanted: an interrupt may come a moment too early."""
_PUMPS: Final = 4
"""Threads for gets over several queues, where these can be asked together: more sets of queues share them."""
_AGAIN: Final = 0.02
"""Seconds after which it is interrupted once more for a queue that it does not ask for yet."""


class Asker(Protocol):
    """A queue object whose tasks wait for messages."""

    _endpoint: Endpoint[Any]

    def check_open(self) -> None:
        """Refuse the use of what was closed."""
        ...


class _Waiter:
    """A task that waits, for messages of which queues."""

    __slots__ = ("endpoints", "future", "limit", "queues", "served")

    def __init__(self, queues: Sequence[Asker], limit: int) -> None:
        self.queues = queues
        self.endpoints = tuple(queue._endpoint for queue in queues)
        self.limit = limit
        self.served = False
        """Whether it waits no more, because something came."""
        self.future: asyncio.Future[list[BaseMessage[Any]]] = asyncio.get_running_loop().create_future()

    def nothing(self, why: str) -> Empty:
        """The error for a get that brings nothing."""
        names = ", ".join(endpoint.shown for endpoint in self.endpoints)
        return Empty(f"no message on {names} of {self.endpoints[0].where}: {why}")

    def tell(self, error: BaseException) -> None:
        """Let the task raise it; to be called in its loop."""
        if not self.future.done():
            self.future.set_exception(error)


class _Line:
    """The tasks that wait at a pump. Its thread has this, and the pump itself only while somebody waits."""

    def __init__(self) -> None:
        self.condition = threading.Condition()
        self.waiters: deque[_Waiter] = deque()
        self.thread: threading.Thread | None = None
        self.closed = False
        self.asked: frozenset[Endpoint[Any]] = frozenset()
        """What the thread asks for at the moment."""
        self.cancellation = Cancellation()
        """Of that."""

    def wanted(self) -> "tuple[Several, int] | None":
        """What the waiting tasks take, and how much of each; `None` ends the thread."""
        with self.condition:
            self.asked = frozenset()
            idle_until = time.monotonic() + _LOOKS_AFTER
            while not self.waiters and not self.closed and (rest := idle_until - time.monotonic()) > 0:
                self.condition.wait(rest)
            if self.closed or not self.waiters:
                self.thread = None
                return None
            takers: dict[Endpoint[Any], int] = {}
            for waiter in self.waiters:
                for endpoint in waiter.endpoints:
                    takers[endpoint] = takers.get(endpoint, 0) + waiter.limit
            self.cancellation = Cancellation()
            self.asked = frozenset(takers)
            return Several(tuple(takers)), min(*takers.values(), _MOST)

    def take(
        self, messages: Sequence[BaseMessage[Any]]
    ) -> "tuple[list[tuple[_Waiter, list[BaseMessage[Any]]]], list[BaseMessage[Any]]]":
        """Those whose turn it is, each with what it gets of `messages`; and what is left of them."""
        by_endpoint: dict[Owner, deque[BaseMessage[Any]]] = {}
        for message in messages:
            by_endpoint.setdefault(message._endpoint, deque()).append(message)
        served: list[tuple[_Waiter, list[BaseMessage[Any]]]] = []
        with self.condition:
            passed: list[_Waiter] = []
            while self.waiters and any(by_endpoint.values()):
                waiter = self.waiters.popleft()
                mine = list(_taken(waiter, by_endpoint))
                if mine:
                    waiter.served = True
                    served.append((waiter, mine))
                else:
                    passed.append(waiter)
            self.waiters.extendleft(reversed(passed))
        return served, [message for left in by_endpoint.values() for message in left]

    def add(self, waiter: _Waiter) -> bool:
        """Let it wait; whether there is a thread. Raises `Closed`."""
        with self.condition:
            for queue in waiter.queues:
                queue.check_open()
            if self.closed:
                raise waiter.endpoints[0].closed_error()
            self.waiters.append(waiter)
            self.condition.notify()
            return self.thread is not None

    def remove(self, waiter: _Waiter) -> None:
        """Take one out; what is received of a queue that nobody waits for any more would be for nobody."""
        if waiter.served:
            return
        with self.condition:
            with contextlib.suppress(ValueError):
                self.waiters.remove(waiter)
            unwanted = bool(self.asked) and not self.asked <= {c for one in self.waiters for c in one.endpoints}
        if unwanted:
            self.cancellation.cancel()

    def misses(self, waiter: _Waiter) -> bool:
        """Whether a receive is under way that does not ask for all that it waits for."""
        with self.condition:
            return bool(self.asked) and not self.asked.issuperset(waiter.endpoints) and waiter in self.waiters

    def end(self) -> threading.Thread | None:
        """Let the thread end, which is returned."""
        with self.condition:
            self.closed = True
            self.condition.notify_all()
            thread = self.thread
        self.cancellation.cancel()
        return thread

    def fail(self, error: Callable[[_Waiter], BaseException], whom: Callable[[_Waiter], bool] = lambda _: True) -> None:
        """Tell those who wait, or some of them."""
        with self.condition:
            failed = [waiter for waiter in self.waiters if whom(waiter)]
            self.waiters = deque(waiter for waiter in self.waiters if not whom(waiter))
        for waiter in failed:
            with contextlib.suppress(RuntimeError):  # its loop was closed
                waiter.future.get_loop().call_soon_threadsafe(waiter.tell, error(waiter))


class Pump:
    """Receives for the tasks that wait at it, in one thread that ends when nobody has waited for a second."""

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._pid = os.getpid()
        self._own = _Line()
        self._since = 0.0

    @property
    def _line(self) -> _Line:
        """That of this process: the tasks and the thread of a parent are not in the child of a fork."""
        if self._pid != os.getpid():
            self._forget()
        return self._own

    @property
    def waiting(self) -> list[tuple[Endpoint[Any], ...]]:
        """For which queues each of the tasks waits."""
        return [waiter.endpoints for waiter in list(self._line.waiters)]

    @property
    def is_waited_at(self) -> bool:
        """Whether a task waits, which comes first."""
        return bool(self._line.waiters)

    def add(self, queues: Sequence[Asker], limit: int) -> _Waiter:
        """Begin to wait for between 1 and `limit` messages of any of `queues`; `result` is to be awaited."""
        waiter, line = _Waiter(queues, limit), self._line
        with line.condition:
            if not line.add(waiter):
                self._since = time.monotonic()
                name = f"unimq pump {' '.join(endpoint.name for endpoint in waiter.endpoints)}"
                found = weakref.ref(self, lambda _: line.end())
                line.thread = threading.Thread(target=_pump, args=(found, line), name=name, daemon=True)
                line.thread.start()
        self._ask_for(waiter)
        return waiter

    async def result(self, waiter: _Waiter, timeout: float | None) -> list[BaseMessage[Any]]:
        """What comes for it, not handed over yet; `Empty` when there is nothing in `timeout` seconds.

        A message that arrives for a task that is cancelled at that moment goes to the next one.
        """
        line = self._line
        timer = None if timeout is None else waiter.future.get_loop().call_later(timeout, self._expire, waiter)
        try:
            return await waiter.future
        except asyncio.CancelledError:
            if waiter.future.done() and not waiter.future.cancelled() and waiter.future.exception() is None:
                park(waiter.future.result())
            raise
        finally:
            if timer is not None:
                timer.cancel()
            line.remove(waiter)

    def _ask_for(self, waiter: _Waiter) -> None:
        line = self._line
        if line.misses(waiter) and not waiter.future.done():
            line.cancellation.cancel()
            waiter.future.get_loop().call_later(_AGAIN, self._ask_for, waiter)

    def _expire(self, waiter: _Waiter) -> None:
        waiter.tell(self._line.cancellation.trouble or waiter.nothing("none came in time"))

    def interrupt(self, queue: Asker) -> None:
        """End the gets on it that wait, with `Empty`."""
        self._line.fail(lambda waiter: waiter.nothing("the gets were interrupted"), lambda one: queue in one.queues)

    def leave(self, queue: Asker) -> None:
        """End them because it was closed."""
        self._line.fail(lambda _: queue._endpoint.closed_error(), lambda one: queue in one.queues)

    def close(self) -> None:
        """End the thread, and with it what waits."""
        thread = self._line.end()
        self._line.fail(lambda waiter: waiter.endpoints[0].closed_error())
        if thread is not None:
            thread.join(timeout=_CLOSE_MOST)

    def receive(self, several: Several, limit: int) -> None:
        """Wait for messages, for a second at most, and hand them to the tasks that wait for them."""
        line, until, first = self._line, time.monotonic() + _LOOKS_AFTER, several.endpoints[0]
        try:
            messages = several.fetch(limit, until, line.cancellation)
        except (Empty, Timeout):
            pass
        except (ConnectError, ConnectionLost) as error:
            if not first.pool.met and time.monotonic() - self._since > first.settings.connect_timeout:
                self._fail(error)
        except BaseException as error:  # noqa: BLE001 - belongs to the tasks that wait, whatever it is
            self._fail(error)
        else:
            self._deliver(messages)

    def _fail(self, error: BaseException) -> None:
        self._line.fail(lambda _: like(error))

    def _deliver(self, messages: list[BaseMessage[Any]]) -> None:
        served, left = self._line.take(messages)
        for waiter, mine in served:
            try:
                waiter.future.get_loop().call_soon_threadsafe(_serve, waiter, mine)
            except RuntimeError:  # its loop was closed
                left.extend(mine)
        if left:
            park(left)


class Pumps:
    """The pumps of one client for gets over several queues: one for each set of queues, but few in all."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.all: tuple[Pump, ...] = ()

    def add(self, queues: Sequence[Asker], limit: int) -> tuple[Pump, _Waiter]:
        """Begin to wait for messages of `queues` at that which is returned."""
        with self._lock:
            pump = self._for({queue._endpoint for queue in queues})
            return pump, pump.add(queues, limit)

    def _for(self, wanted: set[Endpoint[Any]]) -> Pump:
        """That where others wait for the same; or where nobody waits; or a new one; or that of the fewest."""
        loads = [(pump, pump.waiting) for pump in self.all]
        for pump, waiting in loads:
            if waiting and all(wanted == set(endpoints) for endpoints in waiting):
                return pump
        fitting = [(len(waiting), pump) for pump, waiting in loads if _fits(wanted, waiting)]
        least, found = min(fitting, key=lambda one: one[0], default=(0, None))
        if found is None or (least and len(self.all) < _PUMPS):
            found = Pump()
            self.all = (*self.all, found)
        return found


def _fits(wanted: set[Endpoint[Any]], waiting: Iterable[tuple[Endpoint[Any], ...]]) -> bool:
    """Whether one receive can be for all: the leases are the same, and no two queues of one name are different."""
    endpoints = wanted.union(*waiting)
    return len({one.settings.lease for one in endpoints}) == 1 and len({one.name for one in endpoints}) == len(
        endpoints
    )


def _taken(waiter: _Waiter, by_endpoint: dict[Owner, deque[BaseMessage[Any]]]) -> "Iterator[BaseMessage[Any]]":
    room = waiter.limit
    for endpoint in waiter.endpoints:
        messages = by_endpoint.get(endpoint)
        while messages and room:
            room -= 1
            yield messages.popleft()


def _serve(waiter: _Waiter, messages: list[BaseMessage[Any]]) -> None:
    if waiter.future.done():
        park(messages)
    else:
        waiter.future.set_result(messages)


def _pump(found: "weakref.ref[Pump]", line: _Line) -> None:
    """The thread of a pump: while nobody waits it keeps none alive that its application has forgotten."""
    while (wanted := line.wanted()) is not None and (pump := found()) is not None:
        pump.receive(*wanted)
        del pump, wanted
