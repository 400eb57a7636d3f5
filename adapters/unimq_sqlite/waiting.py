"""Waiting for messages: a notification within the process, a look at the file's version for other processes.

`PRAGMA data_version` changes with every commit of another connection. Looking at it takes no lock that a writer would
wait for, so an idle consumer looks 25 times per second; see the measured cost on the adapter's page.
"""

import time
from typing import Final

from unimq_sqlite.sharing import Bell, Sleeper
from unimq_sqlite.store import Store

__all__ = ["Waiter"]

_LOOK_EVERY: Final = 0.04
"""Seconds between two looks at the file."""


class Waiter:
    """One session's waiting."""

    def __init__(self, store: Store, bell: Bell) -> None:
        self._store = store
        self._bell = bell
        self._sleeper = Sleeper()
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
        self.interrupted = self._active
        self._sleeper.wake()

    def mark(self) -> tuple[int, int]:
        """To be taken before looking for messages: what is stored later ends the wait."""
        return self._bell.rings, self._version()

    def wait(self, queues: tuple[str, ...], mark: tuple[int, int], until: float) -> None:
        """Return when something may have been stored since `mark`, at `until` (monotonic), or when interrupted."""
        bell, (rings, version) = self._bell, mark
        try:
            with bell.lock:
                bell.add(self._sleeper, queues)
            # Looked at after it was added: a ring that comes after the look sees that somebody waits.
            while self._version() == version and bell.rings == rings and not self.interrupted:
                rest = until - time.monotonic()
                if rest <= 0 or self._sleeper.sleep(min(rest, _LOOK_EVERY)):
                    return
                rings = bell.rings  # those that rang meanwhile rang for others, or woke somebody else
                self._store.check_now_and_then()
        finally:
            with bell.lock:
                bell.remove(self._sleeper, queues)

    def _version(self) -> int:
        return int(self._store.rows(0.0, "PRAGMA data_version")[0][0])
