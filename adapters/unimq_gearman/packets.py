"""What goes over the wire: binary packets, and the lines of the admin protocol between them. No input or output here.

The numbers of the commands and how many arguments each has are gearman3's. Its codec is not used: it packs a message in
3.5 to 4.4 us and parses one in 2.3 to 2.9 us, this in 0.5 to 1.5 us, and it does not know SUBMIT_JOB_EPOCH.
The protocol: http://gearman.org/protocol/
"""

import struct
from collections.abc import Sequence
from typing import Final

from gearman import protocol  # pyright: ignore[reportMissingTypeStubs] # it has none

from unimq.errors import ProtocolError

__all__ = [
    "CAN_DO",
    "ECHO_REQ",
    "ECHO_RES",
    "ERROR",
    "FENCE",
    "GET_STATUS_UNIQUE",
    "GRAB_JOB_UNIQ",
    "JOB_ASSIGN_UNIQ",
    "JOB_CREATED",
    "NOOP",
    "NO_JOB",
    "OPTION_REQ",
    "OPTION_RES",
    "PRE_SLEEP",
    "RESET_ABILITIES",
    "STATUS_RES_UNIQUE",
    "SUBMIT_BACKGROUND",
    "SUBMIT_FOREGROUND",
    "SUBMIT_JOB_EPOCH",
    "TEXT",
    "WORKS",
    "WORK_COMPLETE",
    "WORK_DATA",
    "WORK_EXCEPTION",
    "WORK_FAIL",
    "WORK_STATUS",
    "WORK_WARNING",
    "Packet",
    "Parser",
    "completions",
    "packet",
]

CAN_DO: Final = protocol.GEARMAN_COMMAND_CAN_DO
RESET_ABILITIES: Final = protocol.GEARMAN_COMMAND_RESET_ABILITIES
PRE_SLEEP: Final = protocol.GEARMAN_COMMAND_PRE_SLEEP
NOOP: Final = protocol.GEARMAN_COMMAND_NOOP
JOB_CREATED: Final = protocol.GEARMAN_COMMAND_JOB_CREATED
NO_JOB: Final = protocol.GEARMAN_COMMAND_NO_JOB
WORK_COMPLETE: Final = protocol.GEARMAN_COMMAND_WORK_COMPLETE
WORK_FAIL: Final = protocol.GEARMAN_COMMAND_WORK_FAIL
ECHO_REQ: Final = protocol.GEARMAN_COMMAND_ECHO_REQ
ECHO_RES: Final = protocol.GEARMAN_COMMAND_ECHO_RES
ERROR: Final = protocol.GEARMAN_COMMAND_ERROR
GRAB_JOB_UNIQ: Final = protocol.GEARMAN_COMMAND_GRAB_JOB_UNIQ
JOB_ASSIGN_UNIQ: Final = protocol.GEARMAN_COMMAND_JOB_ASSIGN_UNIQ
OPTION_REQ: Final = protocol.GEARMAN_COMMAND_OPTION_REQ
OPTION_RES: Final = protocol.GEARMAN_COMMAND_OPTION_RES
WORK_DATA: Final = protocol.GEARMAN_COMMAND_WORK_DATA
WORK_EXCEPTION: Final = protocol.GEARMAN_COMMAND_WORK_EXCEPTION
WORK_STATUS: Final = protocol.GEARMAN_COMMAND_WORK_STATUS
WORK_WARNING: Final = protocol.GEARMAN_COMMAND_WORK_WARNING
SUBMIT_FOREGROUND: Final = protocol.GEARMAN_COMMAND_SUBMIT_JOB
WORKS: Final = frozenset(
    {
        WORK_COMPLETE,
        WORK_DATA,
        WORK_EXCEPTION,
        WORK_FAIL,
        WORK_STATUS,
        WORK_WARNING,
    }
)
"""What a client is told of its jobs, at any time."""
GET_STATUS_UNIQUE: Final = 41
STATUS_RES_UNIQUE: Final = 42
"""Not in gearman3 either: unique id, whether it is known and runs, how far it is, and how many clients wait for it."""
SUBMIT_JOB_EPOCH: Final = 36
"""Not in gearman3: a background job that is not given out before a point in time."""
SUBMIT_BACKGROUND: Final = (
    protocol.GEARMAN_COMMAND_SUBMIT_JOB_HIGH_BG,
    protocol.GEARMAN_COMMAND_SUBMIT_JOB_BG,
    protocol.GEARMAN_COMMAND_SUBMIT_JOB_LOW_BG,
)
"""By priority, the first one first."""
TEXT: Final = 0
"""The pseudo command of a line of the admin protocol; gearmand has no command 0."""

Packet = tuple[int, list[bytes]]
"""A command and its arguments, or `TEXT` and a line without its end."""

_HEADER: Final = struct.Struct(">4sII")
_unpack: Final = _HEADER.unpack_from
_REQUEST: Final = b"\0REQ"
_RESPONSE: Final = b"\0RES"
_LONGEST_LINE: Final = 65536
_ARGUMENTS: Final[dict[int, int]] = {
    **{command: len(names) for command, names in protocol.GEARMAN_PARAMS_FOR_COMMAND.items()},
    STATUS_RES_UNIQUE: 6,
}


def packet(command: int, *arguments: bytes) -> bytes:
    """A request. No argument but the last may have a NUL in it."""
    data = b"\0".join(arguments)
    return _HEADER.pack(_REQUEST, command, len(data)) + data


FENCE: Final = packet(ECHO_REQ, b"")
"""Answered when all before it has been seen."""


def completions(handles: Sequence[bytes]) -> bytes:
    """A WORK_COMPLETE without a reply for each job, and a fence behind it."""
    return b"".join([_COMPLETE[len(handle)] + handle + _COMPLETED for handle in handles])


class _Headers(dict[int, bytes]):
    """How a completion begins, by the length of its handle: few lengths come again and again."""

    def __missing__(self, length: int) -> bytes:
        made = self[length] = _HEADER.pack(_REQUEST, WORK_COMPLETE, length + 1)
        return made


_COMPLETE: Final = _Headers()
_COMPLETED: Final = b"\0" + FENCE


class Parser:
    """Cuts what the server sends into packets and lines, however it was split on its way."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._have = 0
        self._need = 1
        """How many bytes it takes before anything more can be said: a large packet is joined once, not at each read."""

    def feed(self, data: bytes) -> list[Packet]:  # noqa: C901 - calls would double what a packet costs
        """What is complete with `data`.

        Raises:
            ProtocolError: it is no answer of a gearmand. Nothing more can be parsed then.
        """
        if self._have:
            self._parts.append(data)
            self._have += len(data)
            if self._have < self._need:
                return []
            data = b"".join(self._parts)
        found: list[Packet] = []
        size, at, need, header = len(data), 0, 1, _HEADER.size
        while at < size:
            start = at + header
            if data[at] or start > size:
                line = _line(data, at)
                if line is None:
                    break
                found.append((TEXT, [line.rstrip(b"\r\n")]))
                at += len(line)
                continue
            magic, command, length = _unpack(data, at)
            count = _ARGUMENTS.get(command)
            if magic != _RESPONSE or count is None:
                raise _nonsense(data, at)
            end = start + length
            if end > size:
                need = end - at
                break
            if count > 1:
                arguments = data[start:end].split(b"\0", count - 1)
                if len(arguments) != count:
                    raise _nonsense(data, at)
            elif count:
                arguments = [data[start:end]]
            elif length:
                raise _nonsense(data, at)
            else:
                arguments = []
            found.append((command, arguments))
            at = end
        self._have = size - at
        self._parts = [data[at:]] if self._have else []
        self._need = max(need, self._have + 1)
        return found


def _line(data: bytes, at: int) -> bytes | None:
    """The line that begins at `at`, with its end; `None`: it is not there yet, or is the beginning of a packet."""
    if not data[at]:
        if not _RESPONSE.startswith(data[at : at + len(_RESPONSE)]):
            raise _nonsense(data, at)
        return None
    end = data.find(b"\n", at)
    if end < 0 and len(data) - at > _LONGEST_LINE:
        raise _nonsense(data, at)
    return None if end < 0 else data[at : end + 1]


def _nonsense(data: bytes, at: int) -> ProtocolError:
    return ProtocolError(f"unexpected answer {data[at : at + 60]!r}: is this a gearmand?", in_doubt=True)
