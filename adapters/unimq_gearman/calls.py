"""What is expected of the server, in the order of the requests: it answers a connection strictly in turn.

Two things come out of turn and are never an answer: NOOP, which wakes a sleeping worker, and WORK_* for a client.
"""

from typing import Final

from unimq.errors import Full, LeaseLost, ServerError, UnimqError
from unimq_gearman import packets
from unimq_gearman.packets import Packet

__all__ = ["Answers", "Call", "Fences", "Lines", "Options", "Status", "refusal"]

_KINDS: Final[dict[bytes, type[UnimqError]]] = {b"QUEUE_ERROR": Full, b"JOB_NOT_FOUND": LeaseLost}


class Call:
    """One request, or several written together, and what has been answered so far."""

    __slots__ = ("done", "results", "sent", "wanted")
    accepts: frozenset[int]

    def __init__(self, wanted: int = 1) -> None:
        self.wanted = wanted
        self.results: list[Packet] = []
        self.sent = 0
        """How many bytes of the request have left."""
        self.done = False
        """Whether all of it is answered."""

    def take(self, packet: Packet) -> None:
        """Note an answer whose command is one of `accepts`."""
        results = self.results
        results.append(packet)
        self.done = len(results) == self.wanted


class Answers(Call):
    """One packet for each request."""

    __slots__ = ()
    accepts = frozenset({packets.JOB_CREATED, packets.JOB_ASSIGN_UNIQ, packets.NO_JOB, packets.ERROR})


class Options(Call):
    """One packet for an option of the connection."""

    __slots__ = ()
    accepts = frozenset({packets.OPTION_RES, packets.ERROR})


class Status(Call):
    """One packet for a question about a job."""

    __slots__ = ()
    accepts = frozenset({packets.STATUS_RES_UNIQUE, packets.ERROR})


class Fences(Call):
    """Requests that are answered only when they fail, each with an echo behind it: an error before it is its own."""

    __slots__ = ("_failed", "failures")
    accepts = frozenset({packets.ECHO_RES, packets.ERROR})

    def __init__(self, wanted: int = 1) -> None:
        super().__init__(wanted)
        self._failed: Packet | None = None
        self.failures = 0

    def take(self, packet: Packet) -> None:
        """Keep an error until the echo that ends its request."""
        if packet[0] == packets.ERROR:
            self._failed = packet
            self.failures += 1
            return
        results = self.results
        results.append(self._failed or packet)
        self._failed = None
        self.done = len(results) == self.wanted


class Lines(Call):
    """A command of the admin protocol: one line, or `many` up to a line with a dot."""

    __slots__ = ("_many",)
    accepts = frozenset({packets.TEXT})

    def __init__(self, *, many: bool = False) -> None:
        super().__init__()
        self._many = many

    def take(self, packet: Packet) -> None:
        """Note a line."""
        if self._many and packet[1][0] == b".":
            self.done = True
            return
        self.results.append(packet)
        self.done = not self._many


def refusal(label: str, packet: Packet) -> UnimqError | None:
    """The error that an answer stands for, or `None` if it is none."""
    command, arguments = packet
    if command != packets.ERROR:
        return None
    code, text = arguments
    told = f"{label}: {code.decode('ascii', 'replace')}: {text.decode('utf-8', 'replace')}"
    return _KINDS.get(code, ServerError)(told)
