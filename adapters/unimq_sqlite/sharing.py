"""What the sessions of one file share within a process: turns at writing, and a bell that wakes those that wait."""

import os
import threading
import time
from collections import deque
from typing import Final

from unimq.errors import StorageError

__all__ = ["Bell", "Sleeper", "Turn", "bell"]

_PATIENCE: Final = 0.05
"""Seconds that a call whose deadline is over still waits: others hold the lock for a commit, as a rule."""


class Turn:
    """Lets the threads of this process write one after the other.

    SQLite's own lock can only be asked for again and again: the more threads do so, the less gets done.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.inside = False
        """Whether the thread that has the turn is in the middle of a statement or transaction."""

    def take(self, until: float) -> bool:
        """Wait for it until then (monotonic seconds) and 50 ms at least; whether it was got. To be followed by `give`.

        Raises:
            StorageError: this very thread is in the middle of writing: a signal handler or a finalizer asks.
        """
        lock = self._lock
        if not lock.acquire(blocking=False):
            rest = max(until - time.monotonic(), _PATIENCE)
            if not lock.acquire(timeout=min(rest, threading.TIMEOUT_MAX)):
                return False
        if self.inside:
            msg = (
                "this thread is in the middle of another call on the store, which a signal handler or a finalizer "
                "interrupted: nothing was done; let another thread do it, or do it later"
            )
            raise StorageError(msg)
        return True

    def give(self) -> None:
        """Give it back, if this thread has it. An interrupt may come at any moment, so nobody remembers that he has."""
        try:
            self._lock.release()
        except RuntimeError:
            return


class Sleeper:
    """Somebody who waits for messages; made so that a signal handler may wake the thread that it interrupted."""

    __slots__ = ("_gate",)

    def __init__(self) -> None:
        self._gate = threading.Lock()
        self._gate.acquire()

    def sleep(self, seconds: float) -> bool:
        """Sleep for so long, or until woken; whether it was woken. A wake that came before counts."""
        return self._gate.acquire(timeout=seconds)

    def wake(self) -> None:
        """End the sleep, or the next one."""
        try:
            self._gate.release()
        except RuntimeError:  # it is awake
            return


class Bell:
    """Wakes the waiting sessions of this process when one of them has stored something. One per file."""

    def __init__(self) -> None:
        self.turn = Turn()
        self.lock = threading.RLock()  # reentrant: a signal handler may put
        self.rings = 0
        self._asleep: dict[str, deque[Sleeper]] = {}

    @property
    def waiters(self) -> int:
        """How many wait."""
        return len({id(one) for sleepers in self._asleep.values() for one in sleepers})

    def ring(self, queue: str, count: int) -> None:
        """So many messages were stored on that queue: wake as many of those that wait for it, the first ones first.

        One that was woken and takes none after all leaves the others to look by themselves, which they do every 40 ms.
        """
        # Two that ring at once may count once: they still leave a number that no waiter has seen.
        self.rings += 1
        if self._asleep:
            with self.lock:
                sleepers = self._asleep.get(queue)
                for _ in range(count):
                    if not sleepers:
                        return
                    sleepers.popleft().wake()

    def add(self, sleeper: Sleeper, queues: tuple[str, ...]) -> None:
        """Let it be woken by what is stored on one of `queues`; with the lock held."""
        for queue in queues:
            self._asleep.setdefault(queue, deque()).append(sleeper)

    def remove(self, sleeper: Sleeper, queues: tuple[str, ...]) -> None:
        """Forget it; with the lock held."""
        for queue in queues:
            sleepers = self._asleep.get(queue)
            if sleepers is not None:
                if sleeper in sleepers:
                    sleepers.remove(sleeper)
                if not sleepers:
                    del self._asleep[queue]


_bells: dict[str, Bell] = {}
_lock = threading.Lock()


def bell(path: str) -> Bell:
    """The bell of that file in this process."""
    with _lock:
        return _bells.setdefault(os.path.realpath(path), Bell())


def _after_fork() -> None:
    """Nobody waits in a forked child yet, whatever the parent's locks say."""
    global _lock  # noqa: PLW0603
    _lock = threading.Lock()
    _bells.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
