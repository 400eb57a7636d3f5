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
import os
import random
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from unimq import options
from unimq.beats import Beats
from unimq.capabilities import Capabilities
from unimq.credentials import Credentials, with_credentials
from unimq.driver import Driver, Session
from unimq.errors import Closed, ConnectionLost, LeaseLost, Timeout, UnimqError
from unimq.hooks import ConnectionEvent, Hooks
from unimq.hosts import Host, Need, PooledSession, stable_hash
from unimq.idle import Sweeper
from unimq.options import Settings
from unimq.outcomes import ends_session
from unimq.url import URL

__all__ = ["NoneToWaitOn", "Pool"]

R = TypeVar("R")
W = TypeVar("W")

_CONNECT_LEAST: Final = 1.0
"""Seconds that a connect may take even when its call has less left: a poll (timeout 0) must be able to connect."""
_CONNECT_FIRST: Final = 0.5
"""Seconds that the first try at one of several hosts may take: another one answers. The next is in the background."""
_SHORT_CALL: Final = 0.05
"""Seconds to wait for a session that is in use, before its user is left to say what is over."""
_CLOSE_MOST: Final = 0.7
"""Seconds that all sessions together are waited for when they are closed."""
_NAP: Final = 0.001
"""Seconds to wait before looking whether what was interrupted has ended; doubled each time."""
_inherited: "list[PooledSession]" = []
"""Sessions of a parent process: kept so that nothing closes them in the child, not even the garbage collector."""


class NoneToWaitOn(Exception):
    """No session may be waited on: each is in use, or holds something that is settled there."""


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
        capabilities: Capabilities,
    ) -> None:
        self.driver = driver
        self.url = url
        self._options = options.values(url, driver.options)
        self.beats = Beats(self.on)
        each = [url.with_host(host) for host in url.hosts] or [url]
        self.hosts = [Host(one, settings.max_sessions) for one in each]
        self._turn = random.randrange(len(self.hosts))  # noqa: S311 - spreads many clients over the hosts
        self._connect_timeout = settings.connect_timeout
        self._idle = Sweeper(settings.max_idle, self.discard)
        self._hooks = hooks
        self._credentials = credentials
        self._check: Callable[[], Capabilities] | None = None
        self.capabilities = capabilities
        """What to go by: declared for the URL, and after the first connection what the server proved."""
        self._reset()
        _pools.add(self)

    def _reset(self) -> None:
        self._idle.forget()
        for host in self.hosts:
            host.forget()
        self.met = False
        """Whether a session was ever opened: after that, a server that is away is an outage and not a mistake."""
        self.closed = False
        self._ended = threading.Event()

    def checks(self, check: Callable[[], Capabilities]) -> None:
        """Ask `check` what to go by with each new session before it is used; it raises when that is too little."""
        self._check = check

    # Hosts

    def order(self, key: str | None = None) -> list[Host]:
        """The hosts to try: round robin, or led by the hash of `key`; those that failed come last.

        They are tried in the background when their pause is over, and have their turns again when a call went well.
        """
        hosts = self.hosts
        if len(hosts) == 1:
            return hosts
        if key is None:
            self._turn = first = (self._turn + 1) % len(hosts)
        else:
            first = stable_hash(key) % len(hosts)
        turned = hosts[first:] + hosts[:first]
        works: list[Host] = []
        out: list[Host] = []
        for host in turned:
            (out if host.failures else works).append(host)
        for host in out:
            if host.claim_retry(self._connect_timeout):
                threading.Thread(target=self._retry, args=(host,), name="unimq retry", daemon=True).start()
        return works + out

    def order_to_receive(self, *, again: bool) -> list[Host]:
        """The hosts to ask: none that failed, unless all did.

        Whoever asks `again`, after a failure, gets of these only what it is time for, and nobody else tries: many gets
        that wait for a server are one connect at a time.
        """
        if len(self.hosts) == 1 and not again:
            return self.hosts
        hosts = self.order()
        works = [host for host in hosts if not host.failures]
        if works or not again:
            return works or hosts
        return [host for host in hosts if host.claim_retry(self._connect_timeout)]

    def _retry(self, host: Host) -> None:
        until = time.monotonic() + self._connect_timeout
        with contextlib.suppress(UnimqError):  # it was noted, and stays left out
            self.lend(host, until, lambda pooled, _: pooled.session.ping(until), None)

    # Lending

    @property
    def sessions(self) -> tuple[PooledSession, ...]:
        """All sessions."""
        return tuple(pooled for host in self.hosts for pooled in host.sessions)

    def on(self, pooled: PooledSession, deadline: float, call: Callable[[PooledSession], R]) -> R:
        """Run `call` with that very session; raises as `lend` with `only`."""
        return self.lend(pooled.host, deadline, lambda pooled, _: call(pooled), None, pooled)

    def lend(  # noqa: C901, PLR0913, PLR0917 - the one place where a session is taken, used and given back
        self,
        host: Host,
        deadline: float,
        call: Callable[[PooledSession, W], R],
        what: W,
        only: PooledSession | None = None,
        need: Need = "call",
        queues: Sequence[str] = (),
    ) -> R:
        """Take a session, run `call` with it and `what`, and give it back whatever happens, at whatever moment.

        With `only` it is that very session, for settling what it holds. For a receive `need` tells whether it polls or
        waits; the session that received from the same `queues` last is preferred: subscriptions belong to sessions.

        It is run again, on another session, when a connection turns out to have died while it was idle: not when it may
        have done something (`in_doubt`), and not when the connection was new.

        An exception may come out of a signal handler between any two steps, those of giving back too. So each step can
        be done again, and the outer handler does.

        Raises:
            LeaseLost: the `only` session is dead.
            NoneToWaitOn: no session may be waited on until `deadline`.
            Timeout: what will do is in use until `deadline`.
        """
        while True:
            me, pooled, was_used = object(), None, False
            try:
                try:
                    if need == "call":
                        pooled = host.free(me) if only is None else host.that(only, me)
                    else:
                        pooled = host.free_to_receive(me, need, queues)
                    if pooled is None:
                        pooled = self._wait(host, me, need, deadline, only)
                    was_used = pooled.proven
                    result = call(pooled, what)
                    pooled.proven = True
                    pooled.idle_looks = 0
                    if host.failures:
                        host.works()
                    if pooled.over or pooled.session.spent:
                        self._tidy(pooled, me)
                    host.give_back(pooled, me)
                except BaseException as error:
                    self._left(pooled, error)
                    host.recover(me)
                    raise
            except BaseException as error:
                self._left(pooled, error)
                host.recover(me)
                if was_used and isinstance(error, ConnectionLost) and not error.in_doubt and only is None:
                    continue
                raise
            return result

    def _tidy(self, pooled: PooledSession, me: object) -> None:
        """Do what is left to do at the end of a use that went well."""
        if pooled.over and pooled.user.get(0) is me:
            try:
                pooled.say_what_is_over()
            except UnimqError as error:  # what was on its way goes back with the connection, at the latest
                self._left(pooled, error)
        if pooled.session.spent:
            self.discard(pooled)

    def _left(self, pooled: PooledSession | None, error: BaseException) -> None:
        if pooled is not None and ends_session(error):
            self.discard(pooled, error)

    def ask_hosts(self, call: Callable[[Session, float], R], deadline: float) -> list[R]:
        """What every host answers, in the order of the URL; for what may be asked again on a broken connection."""
        return [
            self.lend(host, deadline, lambda pooled, _: call(pooled.session, deadline), None) for host in self.hosts
        ]

    def stop_ahead(self, queues: Sequence[str]) -> None:
        """Nobody iterates over `queues` any more: say so at once, or leave it to the one who uses the session now."""
        for pooled in self.sessions:
            if queues in pooled.ahead:
                pooled.over.add(queues)
                with contextlib.suppress(LeaseLost, Timeout):
                    self.on(pooled, time.monotonic() + _SHORT_CALL, lambda _: None)

    def polls_first(self, host: Host) -> bool:
        """Whether each free session holds something: then a poll there is cheaper than another one to wait on."""
        holds = False
        for pooled in host.sessions:
            if not pooled.may_wait:
                holds = True
            elif not pooled.user:
                return False
        return holds

    def pause(self, seconds: float) -> None:
        """Wait before another attempt; ends early when the pool is closed."""
        self._ended.wait(seconds)

    def _wait(
        self, host: Host, me: object, need: Need, deadline: float, only: PooledSession | None = None
    ) -> PooledSession:
        """A session that was not free at once: from the line, or opened."""
        pooled = host.wait(me, need, deadline, only)
        if pooled is not None:
            return pooled
        if self.closed:
            raise self._closed_error()
        if only is not None and not only.alive:
            msg = f"{host.label}: the connection that held this message is gone; it is delivered again"
            raise LeaseLost(msg)
        if me in host.opening:
            return self._open_for(host, me, need, deadline)
        if need == "wait":
            raise NoneToWaitOn
        if only is not None:
            msg = f"{host.label}: the session is busy with another call until the deadline"
        else:
            msg = f"{host.label}: no session was free in time; {host.most} are busy, raise ?max_sessions="
        busy = Timeout(msg)
        busy.ends_session = False
        raise busy

    def _open_for(self, host: Host, me: object, need: Need, deadline: float) -> PooledSession:
        pooled = self._open(host, deadline)
        try:
            (pooled.user if need == "call" else pooled.receiver).take(me)
            is_open = host.opened(pooled, me)
        except BaseException:
            self.discard(pooled)
            raise
        if not is_open:
            self.discard(pooled)
            raise self._closed_error()
        self.met = True
        self._idle.watch(host)
        self._tell(host, "connected", None)
        return pooled

    def _open(self, host: Host, deadline: float) -> PooledSession:
        url = with_credentials(host.url, self._credentials)
        now = time.monotonic()
        until = min(max(deadline, now + _CONNECT_LEAST), now + self._connect_timeout)
        if not host.failures and any(not other.failures for other in self.hosts if other is not host):
            until = min(until, now + _CONNECT_FIRST)
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
        pooled = PooledSession(host, session, capabilities)
        self.beats.begin(pooled)
        return pooled

    def _closed_error(self) -> Closed:
        return Closed(f"{self.hosts[0].label} was closed")

    # Ending

    def discard(self, pooled: PooledSession, error: BaseException | None = None) -> None:
        """Close a session for good and tell why. What it held is lost to its holders, and delivered again."""
        was_alive = pooled.host.remove(pooled)
        if pooled.closed:
            return
        pooled.held.clear()
        pooled.session.close()
        pooled.closed = True
        if was_alive and isinstance(error, (ConnectionLost, Timeout)):
            pooled.host.failed()
            self._tell(pooled.host, "lost", error)

    def discard_broken(self, pooled: PooledSession, outcomes: Sequence[object]) -> None:
        """Discard `pooled` where an outcome says that its session has ended."""
        for outcome in outcomes:
            if isinstance(outcome, UnimqError) and outcome.ends_session:
                self.discard(pooled, outcome)
                return

    def end_receives(self, until: float) -> None:
        """Interrupt what waits and is over, until it has ended: an interrupt that comes too early finds nothing."""
        nap = _NAP
        while sessions := [
            pooled for pooled in self.sessions if (one := pooled.receiving) is not None and one.is_over()
        ]:
            for pooled in sessions:
                pooled.session.interrupt()
            if time.monotonic() >= until:
                return
            time.sleep(nap)
            nap *= 2

    def end_later(self, until: float) -> None:
        """Drop what was to be done later; a call that goes on is waited for until then, a monotonic time."""
        for host in self.hosts:
            host.scheduler.close(until)

    def close(self, until: float | None = None) -> None:
        """Close every session; receives that wait return or raise `Closed`. Idempotent.

        Calls that do not end before `until`, a monotonic time, 0.7 s from now, are closed under their users.
        """
        self.closed = True
        self._ended.set()
        for host in self.hosts:
            host.close()
        until = time.monotonic() + _CLOSE_MOST if until is None else until
        self.end_receives(until)
        for pooled in self.sessions:
            with contextlib.suppress(UnimqError):
                self.on(pooled, until, lambda _: None)
            self.discard(pooled)

    def _forget(self) -> None:
        _inherited.extend(self.sessions)
        for pooled in self.sessions:
            pooled.alive = False
            pooled.session.abandon()
        closed = self.closed
        self._reset()
        self.closed = closed

    def _tell(self, host: Host, state: Any, error: UnimqError | None) -> None:
        if self._hooks.connection is not None:
            self._hooks.connection(ConnectionEvent(host.label, state, error))


_pools: "weakref.WeakSet[Pool]" = weakref.WeakSet()


def _forget_all() -> None:
    for pool in list(_pools):
        pool._forget()


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_forget_all)
