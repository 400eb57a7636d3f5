"""The brokers of this process by name: queues behind one lock each, which survives a fork."""

import itertools
import os
import threading
import time
from collections.abc import Callable

from unimq_memory.store import Store

__all__ = ["Broker", "broker", "reset"]


class Broker:
    """The queues of one name. Its clocks may be replaced, by tests that do not want to wait."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.clock: Callable[[], float] = _clock
        """Seconds, for leases: a consumer keeps its own whatever is done to the wall clock."""
        self.wall: Callable[[], float] = _wall
        """Seconds since the epoch, for delays, expiry and ages: a message may be due at a time of day."""
        self.stores: dict[str, Store] = {}
        self.numbers = itertools.count(1)
        """Of messages, deliveries and sessions: never the same one twice."""
        self.waiters = 0
        self.remake_lock()

    def remake_lock(self) -> None:
        """Have a lock that nobody holds."""
        # Reentrant: a finalizer that the collector runs within a call may use a queue of the same broker.
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)

    def store(self, name: str) -> Store:
        """The queue of that name, made when it is first put to; to be called with the lock held."""
        found = self.stores.get(name)
        if found is None:
            found = self.stores[name] = Store(name)
        return found

    def wake(self) -> None:
        """Let the waiting receives look; to be called with the lock held."""
        if self.waiters:
            self.changed.notify_all()


def _clock() -> float:
    """`time.monotonic` as it is now: tests of applications replace it."""
    return time.monotonic()


def _wall() -> float:
    """`time.time` as it is now: tests of applications replace it."""
    return time.time()


_brokers: dict[str, Broker] = {}
_lock = threading.RLock()


def broker(name: str = "") -> Broker:
    """The broker of that name in this process, made when it is first asked for."""
    with _lock:
        found = _brokers.get(name)
        if found is None:
            found = _brokers[name] = Broker(name)
        return found


def reset(name: str | None = None) -> None:
    """Forget the queues of that broker, or of all, with everything in them. What is open keeps working, on nothing."""
    with _lock:
        found = list(_brokers.values()) if name is None else [_brokers[name]] if name in _brokers else []
    for one in found:
        with one.lock:
            one.stores.clear()


def _before_fork() -> None:
    """Wait until no other thread is in the middle of a change: the child's copy must be whole."""
    _lock.acquire()
    for one in _brokers.values():
        one.lock.acquire()


def _after_in_parent() -> None:
    for one in _brokers.values():
        one.lock.release()
    _lock.release()


def _after_in_child() -> None:
    """The threads that waited are not here."""
    global _lock  # noqa: PLW0603 - a lock of the parent is replaced, once per fork
    _lock = threading.RLock()
    for one in _brokers.values():
        one.remake_lock()
        one.waiters = 0


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
