"""Servers that exist in this process only, with the hard parts of real ones, and drivers for them.

- `SameSession` blocks like beanstalkd: strictly one request after the other, a job belongs to the connection that
  reserved it, the put fixes the lease, ids are given again, a broken connection gives its jobs back.
- `Duplex` pushes like a STOMP broker: settling while a receive waits, a lease that only the connection ends, headers
  of its own, no way back but sending a copy.
- `AtMostOnce` forgets what it hands out.

A broker counts every breach of the driver contract's rules by its caller, and fails when a test tells it to.
"""

import itertools
import math
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from unimq.capabilities import Capabilities, Limits, absent, layered, native
from unimq.driver import Delivery, Outgoing, Settling, Stats
from unimq.errors import ConnectError, ConnectionLost, LeaseLost, UnimqError
from unimq.options import Option
from unimq.url import URL


@dataclass(eq=False)
class Job:
    """What the server stores."""

    id: int
    queue: str
    message: Outgoing
    ready_at: float
    place: int
    holder: "SimSession | None" = None
    held_until: float = math.inf
    deliveries: int = 0


@dataclass(eq=False)
class Broker:
    """One server."""

    name: str
    jobs: dict[int, Job] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    faults: deque[tuple[str, str]] = field(default_factory=deque)
    """Pairs of an operation and when its connection breaks: before or after the server did it."""
    opened: int = 0
    down: bool = False
    proves: Capabilities | None = None
    """What a session proves instead of what the driver declared."""
    sessions: "set[SimSession]" = field(default_factory=set)
    changed: threading.Condition = field(default_factory=threading.Condition)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def cut(self) -> None:
        """Break every connection."""
        for session in list(self.sessions):
            session.cut()

    def store(self, queue: str, message: Outgoing) -> int:
        """Add a job."""
        with self.changed:
            number = next(self.numbers)
            self.jobs[number] = Job(number, queue, message, time.monotonic() + message.delay, number)
            self.changed.notify_all()
        return number

    def take(self, queues: Sequence[str], session: "SimSession") -> Job | None:
        """Hand the next ready job to `session`."""
        now = time.monotonic()
        for job in self.jobs.values():
            if job.held_until <= now:
                job.holder, job.held_until = None, math.inf
        ready = [j for j in self.jobs.values() if j.queue in queues and j.holder is None and j.ready_at <= now]
        if not ready:
            return None
        job = min(ready, key=lambda j: (-j.message.priority, j.place))
        job.holder = session
        job.deliveries += 1
        return job


BROKERS: dict[str, Broker] = {}


class SimSession:
    """One connection to a broker. Checks that it is used as the contract says."""

    settling: Settling = "same-session"
    takes_back = False
    spent = False
    blocks = True
    beat_every = None

    def __init__(self, broker: Broker, capabilities: Capabilities) -> None:
        self.broker = broker
        self.capabilities = capabilities
        self.dead = False
        self.closed = False
        self.interrupted = False
        self._busy = threading.Lock()
        self._receiving = threading.Lock()
        broker.opened += 1
        broker.sessions.add(self)

    # How it is used

    @contextmanager
    def _exclusively(self, operation: str, lock: Any = None) -> Iterator[None]:
        lock = lock or self._busy
        if not lock.acquire(blocking=False):
            self.broker.violations.append(f"{operation} while another call runs on the session")
            lock.acquire()
        try:
            if self.closed or self.dead:
                msg = f"{self.broker.name}: the connection is broken"
                raise ConnectionLost(msg)
            self._fault(operation, "before")
            yield
            self._fault(operation, "after")
        finally:
            lock.release()

    def _fault(self, operation: str, when: str) -> None:
        if self.broker.faults and self.broker.faults[0] == (operation, when):
            self.broker.faults.popleft()
            self.cut()
            msg = f"{self.broker.name}: the connection broke {when} {operation}"
            raise ConnectionLost(msg, in_doubt=when == "after" and operation in ("send", "move"))

    def cut(self) -> None:
        """The connection breaks; the server gives back what it held."""
        self.dead = True
        self.broker.sessions.discard(self)
        with self.broker.changed:
            for job in self.broker.jobs.values():
                if job.holder is self:
                    job.holder, job.held_until = None, math.inf
            self.broker.changed.notify_all()

    def _holds_something(self) -> bool:
        now = time.monotonic()
        return any(job.holder is self and job.held_until > now for job in self.broker.jobs.values())

    def _mine(self, delivery: Delivery) -> Job | None:
        job = self.broker.jobs.get(delivery.token)
        if job is None or job.holder is not self or job.held_until <= time.monotonic():
            return None
        return job

    # The contract

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Sequence[str | UnimqError | None]:
        """Store them."""
        with self._exclusively("send"):
            return [str(self.broker.store(queue, message)) for message in messages]

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        """Wait for the first, take what is there."""
        lock = self._receiving if self.settling == "duplex" else None
        with self._exclusively("receive", lock):
            waits = deadline > time.monotonic()
            with self.broker.changed:
                if waits and self.settling == "same-session" and self._holds_something():
                    self.broker.violations.append("a session that holds a job waits")
                taken: list[Delivery] = []
                while True:
                    while len(taken) < limit and (job := self.broker.take(queues, self)) is not None:
                        taken.append(self._delivered(job))
                    rest = deadline - time.monotonic()
                    if taken or rest <= 0 or self.interrupted:
                        self.interrupted = False
                        return taken
                    if self.dead:
                        msg = f"{self.broker.name}: the connection broke in receive"
                        raise ConnectionLost(msg)
                    self.broker.changed.wait(min(rest, 0.05))

    def _delivered(self, job: Job) -> Delivery:
        raise NotImplementedError

    def ack(self, deliveries: Sequence[Delivery], deadline: float) -> Sequence[UnimqError | None]:
        """Remove them."""
        with self._exclusively("ack"), self.broker.changed:
            return [self._ack(delivery) for delivery in deliveries]

    def _ack(self, delivery: Delivery) -> UnimqError | None:
        if self._mine(delivery) is None:
            return LeaseLost("NOT_FOUND")
        del self.broker.jobs[delivery.token]
        return None

    def release(
        self, deliveries: Sequence[Delivery], delay: float, deadline: float, *, unseen: bool = False
    ) -> Sequence[UnimqError | None]:
        """Give them back, behind their equals."""
        with self._exclusively("release"), self.broker.changed:
            outcomes: list[UnimqError | None] = []
            for delivery in deliveries:
                job = self._mine(delivery)
                if job is None:
                    outcomes.append(LeaseLost("NOT_FOUND"))
                    continue
                job.holder, job.held_until = None, math.inf
                job.ready_at, job.place = time.monotonic() + delay, next(self.broker.numbers)
                outcomes.append(None)
            self.broker.changed.notify_all()
            return outcomes

    def move(
        self, queue: str, pairs: Sequence[tuple[Delivery, Outgoing]], deadline: float
    ) -> Sequence[str | UnimqError | None]:
        """Send, then settle."""
        with self._exclusively("move"):
            outcomes: list[str | UnimqError | None] = []
            for delivery, message in pairs:
                number = self.broker.store(queue, message)
                with self.broker.changed:
                    outcomes.append(self._ack(delivery) or str(number))
            return outcomes

    def extend(self, deliveries: Sequence[Delivery], seconds: float, deadline: float) -> Sequence[float | UnimqError]:
        """Touch: the lease that the put fixed starts again."""
        with self._exclusively("extend"), self.broker.changed:
            return [self._extend(delivery) for delivery in deliveries]

    def _extend(self, delivery: Delivery) -> float | UnimqError:
        job = self._mine(delivery)
        if job is None:
            return LeaseLost("NOT_FOUND")
        granted = job.message.lease or 60.0
        job.held_until = time.monotonic() + granted
        return granted

    def interrupt(self) -> None:
        """Wake a waiting receive."""
        with self.broker.changed:
            self.interrupted = self._receiving.locked() or self._busy.locked()
            self.broker.changed.notify_all()

    def stats(self, queue: str, deadline: float) -> Stats:
        """Count."""
        with self._exclusively("stats"), self.broker.changed:
            now = time.monotonic()
            mine = [job for job in self.broker.jobs.values() if job.queue == queue]
            return Stats(
                ready=sum(job.holder is None and job.ready_at <= now for job in mine),
                delayed=sum(job.ready_at > now for job in mine),
                leased=sum(job.holder is not None for job in mine),
            )

    def ping(self, deadline: float) -> str:
        """Answer."""
        with self._exclusively("ping"):
            return f"simulated {self.broker.name}"

    def close(self) -> None:
        """End it; the server gives back what it held."""
        self.closed = True
        self.cut()

    def stop_ahead(self, queues: Sequence[str], deadline: float) -> None:
        """Nothing comes ahead."""
        with self._exclusively("stop_ahead"):
            return

    def abandon(self) -> None:
        """There are no descriptors."""

    def __getattr__(self, name: str) -> Any:
        msg = f"the face called {name}, which this backend declares absent"
        self.broker.violations.append(msg)
        raise AttributeError(msg)


class SameSessionSession(SimSession):
    """Like a connection to beanstalkd."""

    def _delivered(self, job: Job) -> Delivery:
        lease = job.message.lease or 60.0
        job.held_until = time.monotonic() + lease
        return Delivery(
            job.queue, job.message.body, token=job.id, id=str(job.id), delivery_count=job.deliveries,
            lease_until=job.held_until, priority=job.message.priority,
        )  # fmt: skip


class DuplexSession(SimSession):
    """Like a connection to a STOMP broker."""

    settling: Settling = "duplex"

    def _delivered(self, job: Job) -> Delivery:
        return Delivery(
            job.queue, job.message.body, token=job.id, headers=job.message.headers, redelivered=job.deliveries > 1
        )


class AtMostOnceSession(SimSession):
    """Like a store whose get removes."""

    settling: Settling = "any-session"

    def _delivered(self, job: Job) -> Delivery:
        del self.broker.jobs[job.id]
        return Delivery(job.queue, job.message.body)

    def _ack(self, delivery: Delivery) -> UnimqError | None:
        return None


class SimDriver:
    """Opens sessions of one kind; each host of the URL is a broker of its own."""

    contract = 1
    library = None
    install = ""
    port = None
    path_is_queue = True
    options: tuple[Option, ...] = ()

    def __init__(self, name: str, session: type[SimSession], capabilities: Capabilities) -> None:
        self.name = name
        self._session = session
        self._capabilities = capabilities

    def capabilities(self, url: URL) -> Capabilities:
        """The same for every URL."""
        return self._capabilities

    def open(
        self, url: URL, deadline: float, *, options: Mapping[str, Any], known: Capabilities | None = None
    ) -> SimSession:
        """Connect to the broker of the one host."""
        broker = BROKERS.setdefault(url.hosts[0].name, Broker(url.hosts[0].name))
        if broker.down:
            msg = f"{url}: connection refused"
            raise ConnectError(msg)
        return self._session(broker, broker.proves or self._capabilities)


SAME_SESSION = SimDriver(
    "same-session",
    SameSessionSession,
    Capabilities(
        guarantee="at-least-once", priority=native(), priority_levels=10, delay=native(), batch=native(),
        nack=native(), nack_delay=native(), lease=native(), extend=native(), delivery_count=native(), stats=native(),
        lease_by="put", counts="fetches", crash_counted=True, order="fifo-until-redelivery", nack_place="tail",
        survives_process_death="yes", keeps=frozenset({"priority"}), limits=Limits(body=65536),
    ),
)  # fmt: skip
DUPLEX = SimDriver(
    "duplex",
    DuplexSession,
    Capabilities(
        guarantee="at-least-once", headers=native(), nack=layered(), lease=layered(), extend=layered(), stats=native(),
        lease_by="connection", counts="nacks", order="fifo-until-redelivery", nack_place="tail",
        survives_process_death="yes",
    ),
)  # fmt: skip
AT_MOST_ONCE = SimDriver(
    "at-most-once",
    AtMostOnceSession,
    Capabilities(
        guarantee="at-most-once", delivery_count=absent("the message is gone when it is delivered"), stats=native(),
        order="fifo", survives_process_death="no",
    ),
)  # fmt: skip
DRIVERS = {"simsame": SAME_SESSION, "simduplex": DUPLEX, "simonce": AT_MOST_ONCE}
