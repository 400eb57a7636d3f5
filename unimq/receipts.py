"""What a put returns."""

import msgspec

__all__ = ["Receipt"]


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """What a put returns."""

    id: str | None
    """The message's id, the same that its consumer sees; `None` where the protocol has none and it travels plain."""
    confirmed: bool
    """True: the server stored it. False: it was only accepted, see the capability *confirmed*."""
    queue: str
    """The queue it was put on."""
