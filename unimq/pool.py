"""Sessions: opened when needed, lent to one user at a time, forgotten after a fork, spread over several hosts.

Who may use a session when is decided by its driver's `settling`:

- "any-session": a delivery is settled on any idle session of its host.
- "same-session" (beanstalkd): a delivery is settled where it was received. A session answers strictly in order, so a
  session that waits in a receive must hold nothing, and a session that holds something only polls. A get that must
  wait polls first where every free session holds something, then takes an empty one, opening it up to
  `?max_sessions=`; beyond that it goes on polling. So a settle or a put
  never stands behind a blocked get.
- "duplex" (STOMP, Gearman): settled where it was received, also while that session waits; one receive at a time.

Retrying and waiting are not done here, except for a free session.
"""

import contextlib
import math
import os
import random
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from unimq import options
from unimq.capabilities import Capabilities
from unimq.driver import Delivery, Driver
from unimq.errors import Closed, ConnectionLost, InvalidArgument, LeaseLost, Timeout, UnimqError
from unimq.hooks import ConnectionEvent, Hooks
from unimq.links import AllHold, Host, Link, Receiving
from unimq.options import Settings
from unimq.scheduler import Scheduler
from unimq.url import URL

__all__ = ["Credentials", "Pool"]

P = ParamSpec("P")
R = TypeVar("R")

Credentials = Callable[[], tuple[str, str]]
"""Called before each connection is made; returns the user and the password to use."""

_CONNECT_LEAST: Final = 1.0
"""Seconds that a connect may take even when its call has less left: a poll (timeout 0) must be able to connect."""
_LAPSE: Final = 0.02
"""Seconds after the end of a lease at which the session that held it gives a sign."""
_BEAT_MOST: Final = 1.0
"""Seconds that a sign of life may take: other leases wait behind it."""
_inherited: "list[Link]" = []
"""Sessions of a parent process: kept so that nothing closes them in the child, not even the garbage collector."""


class Pool:
    """The sessions of one client. Thread-safe; a child process starts with an empty one."""

    def __init__(  # noqa: PLR0913 - what a client is made of
        self,
        driver: Driver,
        url: URL,
        settings: Settings,
        hooks: Hooks,
        credentials: Credentials | None = None,
        *,
        scheduler: Scheduler,
    ) -> None:
        self.driver = driver
        self._options = options.values(url, driver.options)
        self._scheduler = scheduler
        self.hosts = [Host(url.with_host(host)) for host in url.hosts] or [Host(url)]
        self._turn = random.randrange(len(self.hosts))  # noqa: S311 - spreads many clients over the hosts
        self._max_sessions = settings.max_sessions
        self._connect_timeout = settings.connect_timeout
        self._hooks = hooks
        self._credentials = credentials
        self._check: Callable[[], Capabilities] | None = None
        self._reset()
        _pools.add(self)

    def _reset(self) -> None:
        self.links: tuple[Link, ...] = ()
        self.met = False
        """Whether a session was ever opened: after that, a server that is away is an outage and not a mistake."""
        self._opening = 0
        self._waiting = 0
        self._condition = threading.Condition()
        self.waiters = 0
        self.closed = False

    def checks(self, check: Callable[[], Capabilities]) -> None:
        """Ask `check` what to go by with each new session before it is used; it raises when that is too little."""
        self._check = check

    # Hosts

    def order(self, key: str | None = None) -> list[Host]:
        """The hosts to try: round robin, or led by the hash of `key`; those that are left out come last."""
        hosts = self.hosts
        if len(hosts) == 1:
            return hosts
        if key is None:
            self._turn = first = (self._turn + 1) % len(hosts)
        else:
            first = _stable_hash(key) % len(hosts)
        now = time.monotonic()
        turned = hosts[first:] + hosts[:first]
        return [h for h in turned if h.retry_at <= now] + [h for h in turned if h.retry_at > now]

    # Lending

    def borrow(self, host: Host, deadline: float) -> Link:
        """A link for anything but a receive. Use it in a `with` statement."""
        return self._free(host, Link.take) or self._open_or_wait(host, deadline, Link.take)

    def _free(self, host: Host, take: Callable[[Link], bool], queues: Sequence[str] = ()) -> Link | None:
        """One that last received from `queues`, or else any."""
        links = self.links
        if queues:
            for link in links:
                if link.host is host and link.queues == queues and take(link):
                    return link
        for link in links:
            if link.host is host and take(link):
                return link
        return None

    def run(
        self, host: Host, deadline: float, call: Callable[Concatenate[Link, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run `call` with a link for anything but a receive, and `args`.

        It is run again, on another link, when a connection turns out to have died while it was idle: not when it may
        have done something (`in_doubt`), and not when the connection was new.
        """
        while True:
            link = self.borrow(host, deadline)
            was_used = link.proven
            try:
                with link:
                    return call(link, *args, **kwargs)
            except ConnectionLost as error:
                if error.in_doubt or not was_used:
                    raise

    def borrow_receiver(self, host: Host, queues: Sequence[str], deadline: float, *, waits: bool) -> Receiving | Link:
        """A link for a receive. One that `waits` gets a session that may wait, opening one where that is needed.

        The session that received from the same `queues` last is preferred: subscriptions belong to sessions.

        While all links are lent it waits for one until `deadline`.

        Raises:
            AllHold: it should wait, and all `?max_sessions=` sessions hold unsettled messages.
        """
        if not waits:
            poll = Link.take_receiver
            link = self._free(host, poll, queues) or self._open_or_wait(host, deadline, poll)
            return Receiving(link, waits=False) if link.settling == "duplex" else link
        take = self._take_to_wait
        return Receiving(
            self._free(host, take, queues) or self._open_or_wait(host, deadline, take, waits=True), waits=True
        )

    def polls_first(self, host: Host) -> bool:
        """Whether each free session holds something: then a poll there is cheaper than another one to wait on."""
        mine = [link for link in self.links if link.host is host]
        return any(link.held for link in mine if link.settling == "same-session") and not any(
            link.may_wait for link in mine if not link.lock.locked()
        )

    def stopped_waiting(self, link: Link) -> None:
        """Count a receive that waited as over."""
        with self._condition:
            if link.settling != "duplex":
                self._waiting -= 1
            if self.waiters:
                self._condition.notify_all()

    def pause(self, seconds: float) -> None:
        """Wait before another attempt; ends early when the pool is closed."""
        with self._condition:
            if not self.closed:
                self._condition.wait(seconds)

    def _take_to_wait(self, link: Link) -> bool:
        if link.settling == "duplex":
            return link.take_receiver()
        with self._condition:
            # One session is left to puts and settlements, or a crowd of waiting gets would shut them out for ever.
            if self._waiting >= max(1, self._max_sessions - 1) or not link.take_receiver():
                return False
            link.drop_ended()
            if link.may_wait:
                self._waiting += 1
                return True
            link.receive_lock.release()
            return False

    def lock(self, link: Link, deadline: float) -> Link:
        """That very link, for settling what it holds. Use it in a `with` statement."""
        wait = min(max(deadline - time.monotonic(), 0.0), threading.TIMEOUT_MAX)
        if not link.lock.acquire(timeout=wait):
            msg = f"{link.host.label}: the session is busy with another call until the deadline"
            raise Timeout(msg)
        if not link.alive:
            link.lock.release()
            msg = f"{link.host.label}: the connection that held this message is gone; it is delivered again"
            raise LeaseLost(msg)
        return link

    def wake(self) -> None:
        """Let those that wait for a session look again."""
        with self._condition:
            self._condition.notify_all()

    def _open_or_wait(self, host: Host, deadline: float, take: Callable[[Link], bool], *, waits: bool = False) -> Link:
        while True:
            with self._condition:
                if self.closed:
                    raise self._closed_error()
                # Counted before looking again: a link that is given back from here on wakes us.
                self.waiters += 1
                try:
                    if (free := self._free(host, take)) is not None:
                        return free
                    if len(self.links) + self._opening >= self._max_sessions:
                        self._wait_for_a_link(host, deadline, waits=waits)
                        continue
                    self._opening += 1
                finally:
                    self.waiters -= 1
            try:
                link = self._open(host, deadline)
                with self._condition:
                    if self.closed:
                        link.session.close()
                        raise self._closed_error()
                    self.met = True
                    self.links = (*self.links, link)
                    taken = take(link)
            finally:
                with self._condition:
                    self._opening -= 1
                    self._condition.notify_all()
            self._tell(host, "connected", None)
            if taken:
                return link

    def _wait_for_a_link(self, host: Host, deadline: float, *, waits: bool) -> None:
        if waits and not self._opening and not any(link.may_wait for link in self.links):
            raise AllHold
        rest = deadline - time.monotonic()
        if rest <= 0:
            msg = f"{host.label}: no session was free in time; {self._max_sessions} are busy, raise ?max_sessions="
            raise Timeout(msg)
        self._condition.wait(min(rest, threading.TIMEOUT_MAX))

    def _open(self, host: Host, deadline: float) -> Link:
        url = host.url
        if self._credentials is not None:
            url = url.with_credentials(*_user_and_password(self._credentials()))
        now = time.monotonic()
        until = min(max(deadline, now + _CONNECT_LEAST), now + self._connect_timeout)
        try:
            session = self.driver.open(url, until, options=self._options, known=host.proved)
            try:
                host.proved = session.capabilities
                capabilities = host.proved if self._check is None else self._check()
            except BaseException:
                session.close()
                raise
        except UnimqError as error:
            host.failed()
            self._tell(host, "refused", error)
            raise
        host.works()
        link = Link(self, host, session, capabilities)
        if session.beat_every is not None:
            self._beat_at(link, time.monotonic() + session.beat_every)
        return link

    # Signs of life

    def beat_after(self, link: Link, deliveries: Sequence[Delivery]) -> None:
        """Let `link` give a sign when the first of its leases has ended, too: some servers notice only then."""
        ends = min((d.lease_until for d in deliveries if d.lease_until is not None), default=math.inf)
        if ends + _LAPSE < link.beat_at:
            self._beat_at(link, ends + _LAPSE)

    def _beat_at(self, link: Link, when: float) -> None:
        link.beat_at = when
        self._scheduler.at(when, lambda: self._beat(link, when))

    def _beat(self, link: Link, due: float) -> None:
        every = link.session.beat_every
        if not link.alive or link.beat_at != due or every is None:
            return
        try:
            if link.take():  # otherwise it is in use, which is a sign as well
                with link as session:
                    session.beat(time.monotonic() + min(every, _BEAT_MOST))
                    link.drop_ended()
        finally:
            if link.alive:
                link.beat_at = math.inf
                now = time.monotonic()
                self.beat_after(
                    link, [d for d in link.held.values() if d.lease_until is not None and d.lease_until > now]
                )
                if now + every < link.beat_at:
                    self._beat_at(link, now + every)

    def _closed_error(self) -> Closed:
        return Closed(f"{self.hosts[0].label} was closed")

    # Ending

    def discard(self, link: Link, error: BaseException | None = None) -> None:
        """Close a link for good and tell why. What it held is lost to its holders, and delivered again."""
        with self._condition:
            if not link.alive:
                return
            link.alive = False
            self.links = tuple(other for other in self.links if other is not link)
            self._condition.notify_all()
        link.held.clear()
        link.session.close()
        if isinstance(error, (ConnectionLost, Timeout)):
            link.host.failed()
            self._tell(link.host, "lost", error)

    def discard_broken(self, link: Link, outcomes: Sequence[object]) -> None:
        """Discard `link` where an outcome says that its session has ended."""
        for outcome in outcomes:
            if isinstance(outcome, UnimqError) and outcome.ends_session:
                self.discard(link, outcome)
                return

    def close(self) -> None:
        """Close every session; receives that wait return or raise `Closed`. Idempotent."""
        with self._condition:
            self.closed = True
            links = self.links
            self._condition.notify_all()
        for link in links:
            link.session.interrupt()
            # A receive that was interrupted gives its lock back at once; a driver that does not is closed under it.
            with contextlib.suppress(LeaseLost, Timeout):
                self.lock(link, time.monotonic() + 1.0).lock.release()
            self.discard(link)

    def _forget(self) -> None:
        _inherited.extend(self.links)
        for link in self.links:
            link.alive = False
            link.session.abandon()
        closed = self.closed
        self._reset()
        self.closed = closed

    def _tell(self, host: Host, state: Any, error: UnimqError | None) -> None:
        if self._hooks.connection is not None:
            self._hooks.connection(ConnectionEvent(host.label, state, error))


def _user_and_password(given: Any) -> tuple[str, str]:
    """What `credentials=` returned, if it has the right shape; it is not shown."""
    if type(given) in (tuple, list) and list(map(type, given)) == [str, str]:
        return given[0], given[1]
    msg = f"credentials: returned a {type(given).__name__}: must return a tuple of user and password, both str"
    raise InvalidArgument(msg)


def _stable_hash(key: str) -> int:
    from zlib import crc32  # noqa: PLC0415 - only where hosts are chosen by key

    return crc32(key.encode())


_pools: "weakref.WeakSet[Pool]" = weakref.WeakSet()


def _forget_all() -> None:
    for pool in list(_pools):
        pool._forget()


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_forget_all)
