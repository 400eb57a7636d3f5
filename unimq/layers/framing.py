"""Framing: headers travel in an envelope in front of the body where the protocol has no headers of its own."""

from dataclasses import dataclass

import msgspec

from unimq import envelope
from unimq.driver import Delivery, Outgoing

__all__ = ["Framing"]


@dataclass(frozen=True, slots=True)
class Framing:
    """Headers into the envelope, and back."""

    mode: envelope.Mode
    completes = False

    @property
    def sends_plain(self) -> bool:
        """Whether only what has headers is framed."""
        return self.mode != "always"

    def encode(self, message: Outgoing) -> Outgoing:
        """Frame the body when there are headers, when it looks like a frame, or when the mode says always."""
        body = envelope.pack(message.body, message.headers, mode=self.mode)
        if body is message.body and message.headers is None:
            return message
        return msgspec.structs.replace(message, body=body, headers=None)

    def plain(self, delivery: Delivery) -> Delivery:
        """As it is."""
        return delivery

    def decode(self, delivery: Delivery) -> Delivery:
        """The body without its frame; what is no frame is a plain body."""
        body, headers = envelope.unpack(delivery.body, mode=self.mode)
        if headers is None:
            return delivery
        return msgspec.structs.replace(delivery, body=body, headers=headers)
