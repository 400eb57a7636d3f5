"""Messages as rows, and back."""

import os
import re
import time
from typing import Any, Final

import msgspec

from unimq.driver import Delivery, Outgoing
from unimq_sqlite.schema import Row

__all__ = ["delivery_of", "id_of", "parse_id", "row_of"]

_encode_headers: Final = msgspec.msgpack.Encoder().encode
_decode_headers: Final = msgspec.msgpack.Decoder(dict[str, str]).decode
_ID: Final = re.compile(r"([0-9a-f]{1,16})-([0-9a-f]{8})\Z")
_HIGHEST: Final = 9


def row_of(queue: str, message: Outgoing, seq: int | None, now: float) -> tuple[Any, ...]:
    """The values of an INSERT; `None` for `seq` lets SQLite choose the next."""
    return (
        seq,
        queue,
        _HIGHEST - message.priority,
        now + message.delay if message.delay else None,
        int.from_bytes(os.urandom(4)),
        message.delivery_count,
        message.id,
        message.expires_at,
        now if message.enqueued_at is None else message.enqueued_at,
        None if message.headers is None else _encode_headers(dict(message.headers)),
        message.body,
    )


def id_of(seq: int, nonce: int, own_id: str | None) -> str:
    """The message's id: its own, or the place with a nonce, because places are given again after a queue was empty."""
    return f"{seq:x}-{nonce:08x}" if own_id is None else own_id


def parse_id(text: str) -> tuple[int, int] | None:
    """The place and nonce of an id that we gave; `None` for any other."""
    match = _ID.match(text)
    return None if match is None else (int(match[1], 16), int(match[2], 16))


def delivery_of(queue: str, row: Row, due: float | None) -> Delivery:
    """What is delivered, held until `due` (Unix epoch, seconds); `None` for a peek."""
    seq, rank, nonce, count, own_id, expires, enqueued, headers, body = row
    return Delivery(
        queue,
        body,
        None if due is None else (seq, nonce, count),
        None if headers is None else _decode_headers(headers),
        id_of(seq, nonce, own_id),
        _HIGHEST - rank,
        count,
        None,
        enqueued,
        expires,
        None if due is None else time.monotonic() + due - time.time(),
    )
