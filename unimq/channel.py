"""What the sender, receiver and settler of one queue share; no behaviour of its own but the name rules."""

import math
import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Generic, NoReturn, TypeVar

from unimq import headers as reserved
from unimq.capabilities import Capabilities, Limits
from unimq.codec import Codec
from unimq.driver import Delivery
from unimq.errors import Closed, InvalidArgument, InvalidMessage, InvalidName, Unsupported
from unimq.hooks import Hooks
from unimq.layers import transforms
from unimq.masking import shown_name
from unimq.options import Settings, count
from unimq.pool import Pool
from unimq.receiver import Receiver
from unimq.sender import Sender
from unimq.settler import Settler
from unimq.url import URL

if TYPE_CHECKING:
    from unimq.client import Client
    from unimq.message import Letter

__all__ = ["DEAD_SUFFIX", "Channel", "check_name", "label", "refuse_pickling", "with_count"]

T = TypeVar("T")

DEAD_SUFFIX: Final = ".dead"
_INTERRUPT_MOST: Final = 1.0
_CLOSE_MOST: Final = 0.5
"""Seconds that ending what waits, and giving back what nobody came for, may take."""
_NEEDS: Final = {"lease": "lease", "max_deliveries": "delivery_count", "dead": "dead_letters", "max_size": "max_size"}
"""Which capability an option needs."""


class Channel(Generic[T]):
    """One queue name on one client."""

    def __init__(  # noqa: PLR0913 - what a queue is made of
        self,
        client: "Client",
        name: str,
        settings: Settings,
        codec: Codec[T],
        *,
        letter: "type[Letter[T]]",
        is_dead: bool = False,
    ) -> None:
        """Check the name and wire the parts together. No I/O."""
        self.client = client
        self.pool: Pool = client.pool
        self.name = name
        check_name(name, client.capabilities.limits)
        self.shown = shown_name(name)
        """The name for texts."""
        self.is_dead = is_dead or name == settings.dead
        """Whether this is the dead-letter queue of another: a reject discards in it. Its name alone says nothing."""
        if self.is_dead:
            # Dead letters are kept until somebody decides: nothing in here is given up by itself.
            settings = replace(settings, max_deliveries=None, invalid="raise")
        self.settings = settings
        self.codec = codec
        self.letter = letter
        """What to hand over: `Message`, or its async twin."""
        self.face: Any = None
        """What messages of asyncio settle through."""
        self.hooks: Hooks = client.hooks
        self.where = client.where
        """The backend's masked URL, for error texts."""
        self.closed = False
        self.interruptions = 0
        """How often the gets that waited were told to end."""
        self._closing_until = math.inf
        self.transforms = transforms(client.capabilities, settings.envelope)
        self.sends_plain = all(transform.sends_plain for transform in self.transforms)
        self.completes = [transform.plain for transform in self.transforms if transform.completes]
        """What is to be done with a plain message that came."""
        self.keeps_lease = client.capabilities.lease.level == "layered"
        """Whether unimq itself ends leases, because the backend's own ends with the connection only."""
        self.inspects = settings.max_deliveries is not None or settings.invalid == "reject"
        """Whether a message is looked at before the application has it, and may have to be dealt with."""
        self.put_lease = settings.lease if client.capabilities.lease_by == "put" else None
        """The lease that each put has to name; `None`: puts name none."""
        self._dead: Channel[T] | None = None
        self._refuse_useless_options()
        if not (self.is_dead or settings.dead):
            check_name(name, client.capabilities.limits, room=DEAD_SUFFIX)
        self.sender: Sender[T] = Sender(self)
        self.receiver: Receiver[T] = Receiver(self)
        self.settler: Settler[T] = Settler(self)

    def _refuse_useless_options(self) -> None:
        """An option that this backend cannot keep is refused, not ignored."""
        given = self.settings.given()
        for option, capability in _NEEDS.items():
            if option in given and not self.capabilities[capability]:
                self.refuse(capability, f"{option}= needs it; ")

    @property
    def capabilities(self) -> Capabilities:
        """What the backend can do, as far as is known: the server may have proved less than was declared."""
        return self.pool.capabilities

    def refuse(self, name: str, why: str = "") -> NoReturn:
        """Raise the error for an absent capability: what, where, why, and what would have it."""
        capability = self.capabilities[name]
        reason = f" ({capability.note})" if capability.note else ""
        remedy = "choose a backend that has it: `unimq diff`"
        if capability.level == "opt-in":
            remedy = f"add ?emulate={name}"
        where = f"queue {self.shown!r} of {self.where}"
        msg = f"{name} is {capability.level} on {where}{reason}; {why}{remedy}"
        raise Unsupported(msg)

    def dead_channel(self) -> "Channel[T]":
        """The dead-letter queue: a sibling `<name>.dead`, or what `?dead=` names, on another client for a URL."""
        if self.is_dead:
            msg = f"queue {self.shown!r} of {self.where} is a dead-letter queue and has none of its own"
            raise InvalidArgument(msg)
        if self._dead is None:
            self._dead = self.client.dead_channel(self)
        return self._dead

    def deadline(self, timeout: float | None = None) -> float:
        """The `time.monotonic()` value until which an operation may last; `None` is `?timeout=`."""
        until = time.monotonic() + (self.settings.timeout if timeout is None else timeout)
        return min(self._closing_until, until)

    def decode(self, raw: Delivery) -> tuple[Delivery, InvalidMessage | None]:
        """What was sent, or `raw` itself with the reason why it cannot be read."""
        if raw.damage is not None:
            return raw, InvalidMessage(raw.damage)
        delivery = raw
        try:
            for transform in reversed(self.transforms):
                delivery = transform.decode(delivery)
        except InvalidMessage as error:
            return raw, error
        return delivery, None

    def check_open(self) -> None:
        """Refuse the use of what was closed."""
        if self.closed or self.pool.closed:
            raise self.closed_error()

    def closed_error(self) -> Closed:
        """What the use of a closed queue raises."""
        return Closed(f"queue {self.shown!r} of {self.where} was closed: make a new one")

    def interrupt(self, until: float | None = None) -> None:
        """End the gets that wait; what is not told by `until`, a monotonic time, a second from now, ends by itself."""
        self.interruptions += 1
        self.pool.end_receives(time.monotonic() + _INTERRUPT_MOST if until is None else until)

    def close(self, until: float | None = None) -> None:
        """End the gets that wait, give back what nobody came for, and refuse further use. Idempotent.

        It lasts until then, a monotonic time, half a second from now.
        """
        if not self.closed:
            self.closed = True
            self._closing_until = time.monotonic() + _CLOSE_MOST if until is None else until
            try:
                self.interrupt(self._closing_until)
                self.receiver.close()
            finally:
                self._closing_until = math.inf


def label(self: Any) -> str:
    """What `repr` shows of a queue, while it is half made too."""
    kind, channel = type(self).__name__, getattr(self, "_channel", None)
    if channel is None:
        return f"<{kind}, not made>"
    return f"<{kind} {channel.shown!r} of {channel.where}>"


def refuse_pickling(self: Any) -> NoReturn:
    """Say why a queue or client is not pickled, and what is."""
    msg = (
        f"{self!r} has connections: give another process its URL (a client's `url` can be pickled) and the queue's name"
    )
    raise TypeError(msg)


def check_name(name: str, limits: Limits, *, room: str = "") -> None:
    """Raise `InvalidName` unless `name`, with `room` for a suffix, is one that the backend can take."""
    if not isinstance(name, str):
        msg = f"queue name {name!r}: must be a str, is {type(name).__name__}"
        raise InvalidName(msg)
    if not name:
        msg = "queue name '': must not be empty; name it in the URL (?queue=jobs) or in the call"
        raise InvalidName(msg)
    masked = shown_name(name)
    shown = masked if len(masked) <= 80 else f"{masked[:80]}..."  # noqa: PLR2004 - a line of an error text
    if name.startswith(reserved.PREFIX) or set(name) <= {"."} or ".." in name.split("/"):
        msg = f"queue name {shown!r}: must not begin with {reserved.PREFIX!r} nor climb with '..'"
        raise InvalidName(msg)
    wrong = re.sub(f"(?:{limits.name_characters})+", "", name) or _surrogates(name)
    if wrong:
        msg = f"queue name {shown!r}: {wrong[0]!r} is not allowed here; allowed: {limits.name_words}"
        raise InvalidName(msg)
    if limits.reserved is not None and re.fullmatch(limits.reserved, name + room):
        msg = f"queue name {shown!r}: the server keeps it for itself, or cannot take it"
        raise InvalidName(msg)
    size = len(name.encode())
    if size + len(room) > limits.name:
        note = f" ({len(room)} of them kept for {room!r})" if room else ""
        msg = f"queue name {shown!r}: {size} bytes, at most {limits.name - len(room)} are possible here{note}"
        raise InvalidName(msg)


def _surrogates(name: str) -> str:
    """What of a name UTF-8 cannot write."""
    return "".join(character for character in name if "\ud800" <= character <= "\udfff")


def with_count(url: URL, max_deliveries: int | None) -> URL:
    """The URL with that option: some backends count deliveries only where they are told that it matters."""
    if max_deliveries is None:
        return url
    return url.with_options(max_deliveries=str(count(max_deliveries, "max_deliveries", most=2**53)))
