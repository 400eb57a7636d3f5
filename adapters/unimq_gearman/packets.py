"""What goes over the wire: binary packets, and the lines of the admin protocol between them. No input or output here.

The numbers of the commands and how many arguments each has are gearman3's. Its codec is not used: it packs a message in
3.5 to 4.4 us and parses one in 2.3 to 2.9 us, this in 0.5 to 1.5 us, and it does not know SUBMIT_JOB_EPOCH.
The protocol: http://gearman.org/protocol/
"""

import struct
from typing import Final

from gearman import protocol  # pyright: ignore[reportMissingTypeStubs] # it has none

from unimq.errors import ProtocolError

__all__ = [
    "CAN_DO",
    "ECHO_REQ",
    "ECHO_RES",
    "ERROR",
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


class Parser:
    """Cuts what the server sends into packets and lines, however it was split on its way."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._have = 0
        self._need = 1
        """How many bytes it takes before anything more can be said: a large packet is joined once, not at each read."""

    def feed(self, data: bytes) -> list[Packet]:
        """What is complete with `data`.

        Raises:
            ProtocolError: it is no answer of a gearmand. Nothing more can be parsed then.
        """
        self._parts.append(data)
        self._have += len(data)
        if self._have < self._need:
            return []
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        found: list[Packet] = []
        at = 0
        while (end := self._end(data, at)) is not None:
            found.append(_line(data[at:end]) if data[at] else _packet(data, at, end))
            at = end
        self._parts = [data[at:]] if at < len(data) else []
        self._have = len(data) - at
        return found

    def _end(self, data: bytes, at: int) -> int | None:
        """Where the packet or line that begins at `at` ends, if that is there; else notes how much is needed."""
        rest = len(data) - at
        self._need = rest + 1
        if not rest:
            return None
        if data[at]:
            end = data.find(b"\n", at)
            if end < 0 and rest > _LONGEST_LINE:
                raise _nonsense(data[at : at + 60])
            return None if end < 0 else end + 1
        if not _RESPONSE.startswith(data[at : at + 4]):
            raise _nonsense(data[at : at + 60])
        if rest < _HEADER.size:
            return None
        size: int = _HEADER.unpack_from(data, at)[2]
        self._need = _HEADER.size + size
        return None if rest < self._need else at + self._need


def _line(line: bytes) -> Packet:
    return TEXT, [line.rstrip(b"\r\n")]


def _packet(data: bytes, at: int, end: int) -> Packet:
    command: int = _HEADER.unpack_from(data, at)[1]
    count = _ARGUMENTS.get(command)
    if count is None:
        raise _nonsense(data[at : at + 60])
    start = at + _HEADER.size
    if not count:
        arguments: list[bytes] = []
        count = 1 if start < end else 0  # nothing may follow
    else:
        arguments = data[start:end].split(b"\0", count - 1)
    if len(arguments) != count:
        raise _nonsense(data[at : at + 60])
    return command, arguments


def _nonsense(said: bytes) -> ProtocolError:
    return ProtocolError(f"unexpected answer {said!r}: is this a gearmand?", in_doubt=True)
