"""The part of the driver contract for backends that themselves bring a reply to whoever asked: `call` is native.

Everything that `unimq.driver` says of sessions holds here too.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from unimq.driver import Delivery, Outgoing, Session
from unimq.errors import UnimqError

__all__ = ["Answering", "Progress"]


class Progress(NamedTuple):
    """How far the work on a request is."""

    done: int
    total: int


class Answering(Session, Protocol):
    """A session whose `call` is native; its `settling` is "duplex"."""

    def ask(self, queue: str, requests: Sequence[tuple[str, Outgoing]], deadline: float) -> Sequence[UnimqError | None]:
        """Send requests whose replies come to this session, each with the caller's number for it.

        Several threads may do it at a time, while another one is in `answers`. A number is used once.
        """
        ...

    def answers(self, deadline: float) -> Sequence[tuple[str, Delivery | Progress | UnimqError]]:
        """The replies that came, with the numbers of their requests; waits until `deadline` for the first one only.

        A `Progress` is no reply yet: more comes with that number. A `RemoteError` stands for a request that was given
        up: its text is what its worker said, or is empty. As `receive`, which never runs beside it, it may return early
        and empty, and `interrupt` ends it.
        """
        ...

    def forget(self, numbers: Sequence[str]) -> None:
        """Nobody waits for these replies any more. What is not begun need not be done, if possible.

        Without numbers: nobody waits for any, and for now there is no caller.
        """
        ...

    def reply(
        self, delivery: Delivery, message: Outgoing, deadline: float, *, failed: bool = False
    ) -> UnimqError | None:
        """Let whoever waits have this reply when the delivery, which stays in hand, is acked; harmless if nobody does.

        `failed`: the body says why there is none, and that the delivery will be given up. Of several replies the first
        counts.
        """
        ...

    def again(self, delivery: Delivery, deadline: float) -> bool:
        """Whether somebody waits for the reply to a delivery, and would hear of it if that was given back.

        Then another try is made while it stays in hand; what was replied to it so far is forgotten.
        """
        ...

    def progress(self, delivery: Delivery, progress: Progress, deadline: float) -> UnimqError | None:
        """Tell whoever waits for the reply to a delivery in hand. Capability *progress*."""
        ...
