"""Waiting for messages: a notification within the process, a look at the file's version for other processes.

`PRAGMA data_version` changes with every commit of another connection. Looking at it takes no lock that a writer would
wait for, so an idle consumer looks 25 times per second; see the measured cost on the adapter's page.
"""

import os
import threading
import time
from typing import Final

from unimq_sqlite.store import Store

__all__ = ["Bell", "Waiter", "bell"]

_LOOK_EVERY: Final = 0.04
"""Seconds between two looks at the file."""


class Bell:
    """Wakes the waiting sessions of this process when one of them has stored something. One per file."""

    def __init__(self) -> None:
        self.condition = threading.Condition(threading.Lock())
        self.rings = 0
        self.waiters = 0

    def ring(self) -> None:
        """Something was stored."""
        # Two that ring at once may count once: they still leave a number that no waiter has seen.
        self.rings += 1
        if self.waiters:
            with self.condition:
                self.condition.notify_all()


class Waiter:
    """One session's waiting."""

    def __init__(self, store: Store, bell: Bell) -> None:
        self._store = store
        self._bell = bell
        self._active = False
        self.interrupted = False

    def begin(self) -> None:
        """A receive begins: from now on it can be interrupted."""
        self._active = True

    def end(self) -> None:
        """It ends: an interrupt has nothing to end any more."""
        self._active = self.interrupted = False

    def interrupt(self) -> None:
        """End the receive that goes on, if there is one."""
        with self._bell.condition:
            self.interrupted = self._active
            self._bell.condition.notify_all()

    def mark(self) -> tuple[int, int]:
        """To be taken before looking for messages: what is stored later ends the wait."""
        return self._bell.rings, self._version()

    def wait(self, mark: tuple[int, int], until: float) -> None:
        """Return when something was stored since `mark`, at `until` (monotonic seconds), or when interrupted."""
        bell, (rings, version) = self._bell, mark
        while self._version() == version:
            with bell.condition:
                # Counted before looking at `rings`: a ring that comes after the look sees that somebody waits.
                bell.waiters += 1
                try:
                    rest = until - time.monotonic()
                    if self.interrupted or bell.rings != rings or rest <= 0:
                        return
                    bell.condition.wait(min(rest, _LOOK_EVERY))
                finally:
                    bell.waiters -= 1
            self._store.check_now_and_then()

    def _version(self) -> int:
        return int(self._store.rows(0.0, "PRAGMA data_version")[0][0])


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
