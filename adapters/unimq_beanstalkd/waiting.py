"""Waiting for a message in a way that another thread can end."""

import threading
import time
from typing import Final

from unimq_beanstalkd.wire import Wire

__all__ = ["Waiting"]

_POLL: Final = 0.02
"""Seconds between two looks where the server cannot wait for us: its clock counts whole seconds."""
_LONGEST: Final = 30
"""Seconds that the server is asked to wait at once, so that one that has vanished is noticed."""


class Waiting:
    """The wait of one session: whether it is in the server's hands, and whether it was ended."""

    def __init__(self) -> None:
        self.broke_off = False
        """Whether the connection had to be broken, and must be made again."""
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._blocking: Wire | None = None

    @property
    def ended(self) -> bool:
        """Whether `end` was called since `begin`."""
        return self._ended.is_set()

    def begin(self) -> None:
        """A wait begins, and may be ended from now on."""
        if self._ended.is_set():
            self._ended.clear()

    def blocks(self, wire: Wire) -> bool:
        """From here on the server waits for us; false when the wait is over already."""
        with self._lock:
            if self._ended.is_set():
                return False
            self._blocking = wire
            return True

    def unblocks(self) -> None:
        """The server has answered."""
        with self._lock:
            self._blocking = None

    def end(self) -> None:
        """Let the wait return; harmless when there is none."""
        with self._lock:
            self._ended.set()
            if self._blocking is not None:
                self.broke_off = True
                self._blocking.break_off()

    def rest(self, deadline: float) -> None:
        """Pause before the next look."""
        self._ended.wait(min(_POLL, max(0.0, deadline - time.monotonic())))

    @staticmethod
    def whole_seconds(rest: float) -> int:
        """How long to let the server wait; 0: it is too short for its clock."""
        return int(min(max(rest + 0.02, 0.0), _LONGEST))
