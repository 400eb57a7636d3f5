"""Transforms: pure pairs that carry what a protocol has no place for. Where everything is native there are none.

An outgoing message passes them from first to last, a delivery from last to first. A transform does no I/O, keeps no
state and knows one meaning; a meaning that needs a store or names of its own is a wrapping session instead.
"""

from typing import Protocol

from unimq.capabilities import Capabilities
from unimq.driver import Delivery, Outgoing
from unimq.envelope import Mode
from unimq.layers.framing import Framing
from unimq.layers.stamps import Stamps

__all__ = ["Transform", "transforms"]


class Transform(Protocol):
    """One reversible change of messages on their way to and from the driver.

    A message that has a body and nothing else, and does not look like a frame, is plain. Most are, so they have a way
    of their own, which is short.
    """

    @property
    def sends_plain(self) -> bool:
        """Whether `encode` leaves plain messages as they are."""
        ...

    @property
    def completes(self) -> bool:
        """Whether `plain` adds something."""
        ...

    def plain(self, delivery: Delivery) -> Delivery:
        """What `decode` makes of a plain message."""
        ...

    def encode(self, message: Outgoing) -> Outgoing:
        """What to send in place of `message`."""
        ...

    def decode(self, delivery: Delivery) -> Delivery:
        """What was sent, from what arrived. Raises `InvalidMessage`; foreign messages pass as they are."""
        ...


def transforms(capabilities: Capabilities, envelope: Mode) -> tuple[Transform, ...]:
    """The transforms that a backend with these `capabilities` needs, in the order of sending.

    Stamps turn what the protocol does not keep (id, expiry, count, age, priority) into reserved headers; framing puts
    headers into an envelope where the protocol has none.
    """
    needed: list[Transform] = []
    framed = capabilities.headers.level != "native"
    stamps = Stamps.for_backend(capabilities, names_all=framed and envelope == "always")
    if stamps is not None:
        needed.append(stamps)
    if framed:
        needed.append(Framing(envelope))
    return tuple(needed)
