"""The frames of the remote protocol, version 1: MessagePack arrays, one frame per request and one per reply.

- A request is `[version, number, budget, [operation, argument, ...]]`. A client has one request under way at a time and
  numbers them; `budget` is the seconds that it will wait for the answer (`nil`: without end), never a point in time,
  because the clocks of two machines differ.
- A reply is `[version, number, true, value]`, or `[version, number, false, [kind, text, in_doubt]]` where `kind` is the
  name of an error in `unimq.errors`. A client skips replies to numbers that it has given up.
- Where many are asked for, each has its outcome: its value, or `[kind, text, in_doubt]`.
- Durations travel as seconds, points in time as seconds since the Unix epoch; the end of a lease as seconds left.
"""

from collections.abc import Sequence
from typing import Any, Final, TypeVar

import msgspec

from unimq import errors
from unimq.driver import Delivery, Outgoing, Stats
from unimq.errors import ProtocolError, ServerError, UnimqError

__all__ = [
    "BATCH_BYTES",
    "LARGEST_BODY",
    "LARGEST_FRAME",
    "VERSION",
    "Ack",
    "Cancel",
    "Delete",
    "Extend",
    "Fetch",
    "Held",
    "Hello",
    "Move",
    "Operation",
    "Peek",
    "Ping",
    "Problem",
    "Purge",
    "Queues",
    "Release",
    "Request",
    "Send",
    "Stats",
    "StatsOf",
    "Stop",
    "Welcome",
    "encode",
    "refusal",
    "reply",
    "request_of",
    "value_of",
]

VERSION: Final = 1
LARGEST_FRAME: Final = 64 * 1024 * 1024
"""Bytes; a transport ends the connection that brings a larger one."""
LARGEST_BODY: Final = 32 * 1024 * 1024
"""Bytes of one body: it must fit into a frame with its headers."""
BATCH_BYTES: Final = 4 * 1024 * 1024
"""Bytes of bodies after which a batch, in either direction, goes into another frame."""

T = TypeVar("T")


class Held(msgspec.Struct, array_like=True, frozen=True):
    """A delivery that is to be settled: where it came from, and the holder's name for it."""

    queue: str
    token: bytes
    id: str | None = None


class Problem(msgspec.Struct, array_like=True, frozen=True):
    """An error, as it travels."""

    kind: str
    text: str
    in_doubt: bool = False

    @classmethod
    def of(cls, error: UnimqError) -> "Problem":
        """The problem that `error` is."""
        return cls(type(error).__name__, str(error), error.in_doubt)

    def error(self) -> UnimqError:
        """The error that it tells of; one that this version does not know is a `ServerError`."""
        kind: Any = getattr(errors, self.kind, None) if self.kind in errors.__all__ else None
        if kind is None or kind is errors.BatchError:
            return ServerError(f"{self.kind}: {self.text}", in_doubt=self.in_doubt)
        made: UnimqError = kind(self.text, in_doubt=self.in_doubt)
        return made


class Hello(msgspec.Struct, array_like=True, frozen=True, tag="hello"):
    """The first request of a connection."""

    client: str


class Welcome(msgspec.Struct, array_like=True, frozen=True):
    """The answer to it."""

    server: str
    """Name and version of what answers, for people."""
    store: str
    """The scheme of the store's URL."""
    can: list[str]
    """The capabilities that the store proved."""
    largest_body: int


class Send(msgspec.Struct, array_like=True, frozen=True, tag="send"):
    """Store messages; answered by an id, `nil` or a problem for each."""

    queue: str
    messages: list[Outgoing]
    max_size: int | None = None


class Fetch(msgspec.Struct, array_like=True, frozen=True, tag="fetch"):
    """Take messages, waiting `wait` seconds for the first; answered by what there is, or by none at the end of it."""

    queues: list[str]
    limit: int
    lease: float
    wait: float


class Stop(msgspec.Struct, array_like=True, frozen=True, tag="stop"):
    """End the waiting of the fetch of that number, which is answered with none. Has no answer of its own."""

    number: int
    undo: bool = False
    """Whether what was sent for it is not wanted any more, and goes back."""


class Ack(msgspec.Struct, array_like=True, frozen=True, tag="ack"):
    """Remove deliveries; answered by `nil` or a problem for each."""

    deliveries: list[Held]


class Release(msgspec.Struct, array_like=True, frozen=True, tag="release"):
    """Give deliveries back; answered as `Ack`."""

    deliveries: list[Held]
    delay: float = 0.0
    unseen: bool = False


class Move(msgspec.Struct, array_like=True, frozen=True, tag="move"):
    """Store each message and settle its delivery; answered as `Send`."""

    queue: str
    pairs: list[tuple[Held, Outgoing]]


class Extend(msgspec.Struct, array_like=True, frozen=True, tag="extend"):
    """Prolong leases; answered by the seconds granted or a problem for each."""

    deliveries: list[Held]
    seconds: float


class Peek(msgspec.Struct, array_like=True, frozen=True, tag="peek"):
    """Look at ready messages."""

    queue: str
    limit: int


class Cancel(msgspec.Struct, array_like=True, frozen=True, tag="cancel"):
    """Remove a message that nobody holds."""

    queue: str
    id: str


class StatsOf(msgspec.Struct, array_like=True, frozen=True, tag="stats"):
    """Count."""

    queue: str


class Purge(msgspec.Struct, array_like=True, frozen=True, tag="purge"):
    """Remove what nobody holds; answered by how many."""

    queue: str


class Delete(msgspec.Struct, array_like=True, frozen=True, tag="delete"):
    """Remove a queue."""

    queue: str


class Queues(msgspec.Struct, array_like=True, frozen=True, tag="queues"):
    """List the queues."""


class Ping(msgspec.Struct, array_like=True, frozen=True, tag="ping"):
    """Answer with the store's own words."""


Operation = (
    Hello
    | Send
    | Fetch
    | Stop
    | Ack
    | Release
    | Move
    | Extend
    | Peek
    | Cancel
    | StatsOf
    | Purge
    | Delete
    | Queues
    | Ping
)


class Request(msgspec.Struct, array_like=True, frozen=True):
    """What a client asks."""

    version: int
    number: int
    budget: float | None
    operation: Operation


class _Reply(msgspec.Struct, array_like=True, frozen=True):
    version: int
    number: int
    ok: bool
    value: msgspec.Raw


_Encoder: Final = msgspec.msgpack.Encoder()
encode: Final = _Encoder.encode
_request: Final = msgspec.msgpack.Decoder(Request).decode
_reply: Final = msgspec.msgpack.Decoder(_Reply).decode
_anything: Final = msgspec.msgpack.Decoder().decode
_problem: Final = msgspec.msgpack.Decoder(Problem).decode


def request_of(frame: bytes) -> Request:
    """The request in `frame`.

    Raises:
        ProtocolError: it is none, or one of another version.
    """
    try:
        request = _request(frame)
    except (ValueError, RecursionError) as error:  # msgspec's own errors, and UnicodeDecodeError, are ValueErrors
        raise ProtocolError(_why(frame, error)) from error
    if request.version != VERSION:
        raise ProtocolError(_other_version(request.version))
    return request


def number_in(frame: bytes) -> int:
    """The number of a request that cannot be read otherwise; 0 where it has none that can be told."""
    try:
        found: Any = _anything(frame)
    except (ValueError, RecursionError):
        return 0
    number = found[1] if isinstance(found, list) and len(found) > 1 else 0  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return number if type(number) is int and 0 <= number < 1 << 63 else 0  # pyright: ignore[reportUnknownArgumentType]


def reply(number: int, value: Any) -> bytes:
    """The frame that answers `number` with `value`."""
    return encode((VERSION, number, True, value))


def refusal(number: int, error: UnimqError) -> bytes:
    """The frame that answers `number` with `error`."""
    return encode((VERSION, number, False, Problem.of(error)))


def value_of(frame: bytes) -> tuple[int, bool, msgspec.Raw]:
    """The number that `frame` answers, whether it was done, and the value or problem.

    Raises:
        ProtocolError: it is no reply of this version.
    """
    try:
        found = _reply(frame)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(_why(frame, error)) from error
    if found.version != VERSION:
        raise ProtocolError(_other_version(found.version))
    return found.number, found.ok, found.value


def problem_of(value: msgspec.Raw) -> UnimqError:
    """The error that a reply tells of."""
    try:
        return _problem(value).error()
    except (ValueError, RecursionError) as error:
        return ProtocolError(f"the holder refused with what is no problem: {error}")


def split(sizes: Sequence[int]) -> list[slice]:
    """Slices of a batch whose members have those sizes, each of about `BATCH_BYTES` or a single member."""
    slices: list[slice] = []
    start = total = 0
    for position, size in enumerate(sizes):
        if position > start and total + size > BATCH_BYTES:
            slices.append(slice(start, position))
            start, total = position, 0
        total += size
    return [*slices, slice(start, len(sizes))] if sizes else slices


def size_of(message: Outgoing | Delivery) -> int:
    """About how many bytes it takes in a frame."""
    headers = message.headers
    return len(message.body) + 200 + (sum(len(k) + len(v) for k, v in headers.items()) if headers else 0)


def _why(frame: bytes, error: Exception) -> str:
    try:
        found: Any = _anything(frame)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, list) and found and type(found[0]) is int and found[0] != VERSION:  # pyright: ignore[reportUnknownArgumentType]
        return _other_version(found[0])
    return f"a frame of {len(frame)} bytes is none of the remote protocol: {str(error)[:200]}"


def _other_version(version: int) -> str:
    return f"version {version} of the remote protocol is spoken there, {VERSION} here: upgrade the older side"
