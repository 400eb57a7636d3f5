"""What the sender, the receiver and the settler of one queue share: its name, settings, codec, and whether it is open.

It builds none of them, and knows nothing of the client: what it needs of that it is given.
"""

import math
import time
from dataclasses import replace
from typing import Final, Generic, NoReturn, TypeVar

from unimq.capabilities import Capabilities
from unimq.codec import Codec
from unimq.driver import Delivery
from unimq.errors import Closed, InvalidMessage, Unsupported
from unimq.hooks import Hooks
from unimq.layers import transforms
from unimq.masking import shown_name
from unimq.message import BaseMessage
from unimq.naming import DEAD_SUFFIX, check_name
from unimq.options import Settings
from unimq.owner import Owner
from unimq.pool import Pool

__all__ = ["QueueState"]

T = TypeVar("T")

_INTERRUPT_MOST: Final = 1.0
"""Seconds that ending what waits may take."""
_NEEDS: Final = {"lease": "lease", "max_deliveries": "delivery_count", "dead": "dead_letters", "max_size": "max_size"}
"""Which capability an option needs."""


class QueueState(Generic[T]):
    """One queue name on one client."""

    owner: Owner
    """What its messages settle through; whoever wires the parts together gives it."""

    def __init__(  # noqa: PLR0913 - what a queue is made of
        self,
        pool: Pool,
        name: str,
        settings: Settings,
        codec: Codec[T],
        *,
        where: str,
        hooks: Hooks,
        message_type: type[BaseMessage[T]],
        is_dead: bool = False,
    ) -> None:
        """Check the name and what the options need. No I/O."""
        self.pool = pool
        capabilities = pool.capabilities
        self.name = name
        check_name(name, capabilities.limits)
        self.shown = shown_name(name)
        """The name for texts."""
        self.is_dead = is_dead or name == settings.dead
        """Whether this is the dead-letter queue of another: a reject discards in it. Its name alone says nothing."""
        if self.is_dead:
            # Dead letters are kept until somebody decides: nothing in here is given up by itself.
            settings = replace(settings, max_deliveries=None, invalid="raise")
        self.settings = settings
        self.codec = codec
        self.message_type = message_type
        """What to hand over: `Message`, or its async twin."""
        self.hooks = hooks
        self.where = where
        """The backend's masked URL, for error texts."""
        self.closed = False
        self.interruptions = 0
        """How often the gets that waited were told to end."""
        self.closing_until = math.inf
        """Until when, as a monotonic time, what goes on may last: while it is closed, not long."""
        self.transforms = transforms(capabilities, settings.envelope)
        self.sends_plain = all(transform.sends_plain for transform in self.transforms)
        self.completes = [transform.plain for transform in self.transforms if transform.completes]
        """What is to be done with a plain message that came."""
        self.keeps_lease = capabilities.lease.level == "layered"
        """Whether unimq itself ends leases, because the backend's own ends with the connection only."""
        self.inspects = settings.max_deliveries is not None or settings.invalid == "reject"
        """Whether a message is looked at before the application has it, and may have to be dealt with."""
        self.put_lease = settings.lease if capabilities.lease_by == "put" else None
        """The lease that each put has to name; `None`: puts name none."""
        self._refuse_useless_options()
        if not (self.is_dead or settings.dead):
            check_name(name, capabilities.limits, room=DEAD_SUFFIX)

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

    def deadline(self, timeout: float | None = None) -> float:
        """The `time.monotonic()` value until which an operation may last; `None` is `?timeout=`."""
        until = time.monotonic() + (self.settings.timeout if timeout is None else timeout)
        return min(self.closing_until, until)

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
