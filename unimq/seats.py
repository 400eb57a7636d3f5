"""Who has something that only one may have: a session, or the settling of a message."""

from typing import Final

__all__ = ["ENDED", "Seat"]

ENDED: Final = object()
"""Who settles a message when unimq itself ends its lease."""


class Seat(dict[int, object]):
    """Room for one user at a time, at key 0: the object that took it, by which its user proves to have it.

    A lock could not tell whose it is: an exception that arrives at any moment (Ctrl-C, a time limit by signal) may
    come between taking it and noting that, and it would stay taken for ever. Taking (`setdefault`) is one step of the
    interpreter, and whoever gives back asks by the same object whether there is something to give back.
    """

    __slots__ = ()

    def take(self, me: object) -> bool:
        """Whether it is `me` who has it now."""
        return self.setdefault(0, me) is me

    def leave(self, me: object) -> None:
        """Give it back, if `me` has it."""
        if self.get(0) is me:
            self.pop(0, None)
