"""What the holder calls a delivery towards its clients.

Where every session of the store settles, the name is the store's own token behind an epoch, and the holder remembers
nothing: an ack works after the holder was killed and started again on a store that survived. The epoch is that of the
store, or of this run where the store dies with it: tokens are given again then, and a stale one must settle nothing.
Elsewhere the holder's own session holds the delivery: the name is a number in a table, and a newer delivery with the
same token of the store ends the older number.
"""

import hashlib
import itertools
import os
import time
from typing import Any, Final, Protocol

import msgspec

from unimq.driver import Delivery
from unimq.errors import LeaseLost
from unimq.remote.frames import Held, encode

__all__ = ["Named", "Numbered", "Tokens"]

_EPOCH: Final = 8
_decode: Final = msgspec.msgpack.Decoder().decode
_SWEEP_EVERY: Final = 1024
"""Deliveries after which the table is looked through for those whose lease has ended."""


class Tokens(Protocol):
    """Names for deliveries."""

    def name(self, delivery: Delivery) -> bytes:
        """The name of a delivery that was just received."""
        ...

    def find(self, held: Held) -> Delivery:
        """What a store's session needs to settle it. Raises `LeaseLost`."""
        ...

    def settled(self, held: Held) -> None:
        """It will not be asked for again."""
        ...


class Named:
    """Names that say everything."""

    def __init__(self, store: str | None) -> None:
        """`store` is the name of a store that survives; `None` for one that ends with this process."""
        self._epoch = os.urandom(_EPOCH) if store is None else hashlib.blake2b(store.encode(), digest_size=8).digest()

    def name(self, delivery: Delivery) -> bytes:
        """The epoch and the token."""
        return self._epoch + encode(delivery.token)

    def find(self, held: Held) -> Delivery:
        """Read from the name."""
        if held.token[:_EPOCH] != self._epoch:
            raise _lost(held, "the holder was started again since, on a store that does not survive that")
        try:
            token = _as_tuples(_decode(held.token[_EPOCH:]))
            hash(token)
        except (ValueError, RecursionError, TypeError) as error:
            raise _lost(held, "its token is none of this holder's") from error
        return Delivery(held.queue, b"", token, id=held.id)

    def settled(self, held: Held) -> None:
        """Nothing is remembered."""


class Numbered:
    """Names for what this process's session of the store holds."""

    def __init__(self) -> None:
        self._prefix = os.urandom(_EPOCH)
        self._numbers = itertools.count(1)
        self._held: dict[bytes, Delivery] = {}
        self._latest: dict[Any, bytes] = {}
        self._until_sweep = _SWEEP_EVERY

    def name(self, delivery: Delivery) -> bytes:
        """A number that was never given before."""
        self._sweep_now_and_then()
        name = self._prefix + next(self._numbers).to_bytes(8)
        older = self._latest.get(delivery.token)
        if older is not None:
            del self._held[older]
        self._latest[delivery.token] = name
        self._held[name] = delivery
        return name

    def find(self, held: Held) -> Delivery:
        """Looked up."""
        found = self._held.get(held.token)
        if found is None:
            raise _lost(held, "it was settled or delivered again, or the holder lost its connection to the store")
        return found

    def settled(self, held: Held) -> None:
        """Forget the number."""
        found = self._held.pop(held.token, None)
        if found is not None:
            del self._latest[found.token]

    def clear(self) -> None:
        """The session that held them is gone."""
        self._held.clear()
        self._latest.clear()

    def _sweep_now_and_then(self) -> None:
        self._until_sweep -= 1
        if self._until_sweep > 0:
            return
        now = time.monotonic()
        for name in [n for n, d in self._held.items() if d.lease_until is not None and d.lease_until <= now]:
            del self._latest[self._held.pop(name).token]
        self._until_sweep = max(_SWEEP_EVERY, len(self._held))


def _as_tuples(token: Any) -> Any:
    return tuple(map(_as_tuples, token)) if isinstance(token, list) else token  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


def _lost(held: Held, why: str) -> LeaseLost:
    return LeaseLost(f"message {held.id!r} of queue {held.queue!r} is no longer ours: {why}")
