"""What the admin protocol tells, on the connection that carries the jobs; and emptying a queue, which it cannot."""

import time

from unimq.errors import ProtocolError
from unimq_gearman import packets
from unimq_gearman.calls import Fences, Lines
from unimq_gearman.taking import grab
from unimq_gearman.wire import Wire

__all__ = ["drain", "status"]

_BATCH = 100
_COLUMNS = 4


def status(wire: Wire, deadline: float) -> dict[str, tuple[int, int]]:
    """By function: its jobs, those that wait for their time included, and how many of them are held.

    Raises:
        ProtocolError: a line is none of such a table.
    """
    call = Lines(many=True)
    wire.exchange(b"status\n", call, deadline)
    table: dict[str, tuple[int, int]] = {}
    for _, (line,) in call.results:
        columns = line.rsplit(b"\t", _COLUMNS - 1)
        if len(columns) != _COLUMNS or not (columns[1].isdigit() and columns[2].isdigit()):
            wire.broken = "it is out of step"
            msg = f"{wire.label}: unexpected line {line[:60]!r} in the status: is this a gearmand?"
            raise ProtocolError(msg)
        table[columns[0].decode("utf-8", "backslashreplace")] = (int(columns[1]), int(columns[2]))
    return table


def drain(wire: Wire, queue: str, most: int, deadline: float) -> int:
    """Take and complete up to `most` jobs, until the deadline; returns how many are gone."""
    wire.work_on((queue.encode(),), deadline)
    gone = 0
    while gone < most and time.monotonic() < deadline:
        found = grab(wire, min(_BATCH, most - gone), deadline)
        if not found:
            break
        call = Fences(len(found))
        wire.exchange(packets.completions([job.token[1] for job in found]), call, deadline)
        gone += len(found) - call.failures
    return gone
