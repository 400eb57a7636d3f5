"""How long to wait before what failed for no fault of a message is tried again: a server, or a process."""

from typing import Final

__all__ = ["LONGEST", "Pauses"]

LONGEST: Final = 10.0
_FIRST: Final = 0.1


class Pauses:
    """Seconds between tries: twice as long each time, `LONGEST` at most."""

    def __init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        """It went well: the next pause is short."""
        self._next = _FIRST

    def next(self) -> float:
        """The seconds until the next try."""
        pause, self._next = self._next, min(2 * self._next, LONGEST)
        return pause
