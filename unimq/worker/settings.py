"""What workers of both faces check and know in the same way."""

import signal
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar, cast

from unimq.errors import InvalidArgument
from unimq.observing import around
from unimq.options import short
from unimq.worker.policy import RetryPolicy

__all__ = ["DEFAULT_POLICY", "LOOK", "LOOKS_IN_A_LEASE", "STOP_SIGNALS", "handled_queues", "wrapped"]

H = TypeVar("H", bound=Callable[..., Any])

DEFAULT_POLICY: Final = RetryPolicy()
STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
LOOK: Final = 1.0
"""Seconds after which who waits for a message looks whether it is to stop, and whether the server is still there."""
LOOKS_IN_A_LEASE: Final = 10
"""How often in the time of a lease is looked whether it has to be extended."""


def handled_queues(
    client: Any, handlers: H | Mapping[str, H], concurrency: int, retry: RetryPolicy
) -> list[tuple[Any, H]]:
    """The queues of a client, of either face, each with its handler."""
    if concurrency < 1:
        msg = f"concurrency={short(concurrency)}: must be 1 or more"
        raise InvalidArgument(msg)
    named: list[tuple[str | None, H]] = [(None, handlers)] if callable(handlers) else [*handlers.items()]
    if not named:
        msg = "handlers={}: must have one or more"
        raise InvalidArgument(msg)
    return [(client.queue(name, max_deliveries=retry.attempts), handler) for name, handler in named]


def wrapped(queue: Any, handler: H, middleware: Sequence[Callable[[Any, H], object]]) -> H:
    """The handler of a queue with its middleware around it, the first outermost; that of either face."""
    call: Any = handler
    for layer in reversed(middleware):
        call = partial(_through, layer, call)
    return around(queue._endpoint, cast("H", call))


def _through(layer: Callable[[Any, Any], object], handler: Any, message: Any) -> object:
    return layer(message, handler)  # of asyncio: what is awaited
