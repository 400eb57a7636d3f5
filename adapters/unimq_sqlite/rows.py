"""Messages as rows, and back."""

import itertools
import os
import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from unimq.driver import Delivery, Outgoing
from unimq_sqlite.schema import DELAYED, NEVER, READY, Row

__all__ = ["delivery_of", "id_of", "is_plain", "nonces", "parse_id", "plain_row_of", "row_of"]

_encode_headers: Final = msgspec.msgpack.Encoder().encode
_decode_headers: Final = msgspec.msgpack.Decoder(dict[str, str]).decode
_ID: Final = re.compile(r"([0-9a-f]{1,15})-([0-9a-f]{16})\Z")
_HIGHEST: Final = 9
_SOUND: Final = frozenset(
    (int, int, int, int, own_id, expires, enqueued, headers, bytes)
    for own_id in (str, type(None))
    for expires in (float, int, type(None))
    for enqueued in (float, int)
    for headers in (bytes, type(None))
)
"""The types of a row as we write it. SQLite would keep any, and RETURNING makes an int of a REAL without a fraction."""


def nonces() -> Iterator[int]:
    """Numbers of 63 bits that nobody else has: they begin anywhere, and run on, which is faster than drawing each."""
    return itertools.count(int.from_bytes(os.urandom(8)) >> 2)


def row_of(queue: str, message: Outgoing, seq: int | None, nonce: int, now: float) -> tuple[Any, ...]:
    """The values of an INSERT; `None` for `seq` lets SQLite choose the next."""
    expires, delay = message.expires_at, message.delay
    if delay:
        state, due = DELAYED, now + delay
    else:
        state, due = READY, NEVER if expires is None else expires
    return (
        seq,
        queue,
        _HIGHEST - message.priority,
        due,
        state,
        nonce,
        message.delivery_count,
        message.id,
        expires,
        now if message.enqueued_at is None else message.enqueued_at,
        None if message.headers is None else _encode_headers(dict(message.headers)),
        message.body,
    )


def plain_row_of(queue: str, message: Outgoing, seq: int | None, nonce: int, now: float) -> tuple[Any, ...]:
    """The same of a message that `is_plain`, for an INSERT that has the rest in its text."""
    return seq, queue, _HIGHEST - message.priority, nonce, now, message.body


def is_plain(message: Outgoing) -> bool:
    """Whether it has a body and perhaps a priority, and nothing else."""
    return (
        message.headers is None
        and message.id is None
        and message.expires_at is None
        and message.enqueued_at is None
        and not message.delay
        and not message.delivery_count
    )


def id_of(seq: int, nonce: int, own_id: str | None) -> str:
    """The message's id: its own, or the place with a nonce of 63 bits, because places are given again."""
    return f"{seq:x}-{nonce:016x}" if own_id is None else own_id


def parse_id(text: str) -> tuple[int, int] | None:
    """The place and nonce of an id that we gave; `None` for any other."""
    match = _ID.match(text)
    if match is None or (nonce := int(match[2], 16)) >> 63:
        return None
    return int(match[1], 16), nonce


def delivery_of(queue: str, row: Row, until: float | None) -> Delivery:
    """What is delivered, held until then (monotonic seconds); `None` for a peek."""
    seq, rank, nonce, count, own_id, expires, enqueued, headers, body = row
    try:
        told = None if headers is None else _decode_headers(headers)
    except (msgspec.DecodeError, TypeError) as error:
        return _damaged(queue, row, until, f"its headers: {error}")
    if tuple(map(type, row)) not in _SOUND:
        kinds = ", ".join(type(value).__name__ for value in row)
        return _damaged(queue, row, until, f"its columns hold {kinds}")
    return Delivery(
        queue,
        body,
        None if until is None else (seq, nonce, count),
        told,
        id_of(seq, nonce, own_id),
        _HIGHEST - rank,
        count,
        None,
        float(enqueued),
        None if expires is None else float(expires),
        until,
    )


def _damaged(queue: str, row: Row, until: float | None, why: str) -> Delivery:
    """A row that a foreign program or a fault has damaged, with what can be told of it."""
    seq, _, nonce, count, own_id, *_, body = row
    return Delivery(
        queue,
        body if isinstance(body, bytes) else str(body).encode(),
        None if until is None else (seq, nonce, count),
        id=own_id if isinstance(own_id, str) else None,
        delivery_count=count if isinstance(count, int) else None,
        lease_until=until,
        damage=f"the row {seq} of the store is damaged: {why}",
    )
