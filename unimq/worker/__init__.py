"""Workers: handlers that are called with each message of a queue, retried by a policy, stopped without loss.

- `policy`: when a message is tried again, and when it is given up
- `settings`: what workers of both faces check and know in the same way
- `handling`: what follows from how a handler ended
- `deduplicate`: middleware that does nothing twice; imported when it is first used
- `pauses`: how long to wait for what is away
- `ledger`: messages at work, counts, health
- `threads`, `tasks`: the workers themselves; that of asyncio is imported when it is first used
"""

from typing import TYPE_CHECKING, Any

from unimq.worker.handling import AsyncHandler, AsyncMiddleware, Handler, Middleware
from unimq.worker.ledger import Health
from unimq.worker.policy import Reject, Retry, RetryPolicy
from unimq.worker.threads import Worker

if TYPE_CHECKING:
    from unimq.worker.tasks import AsyncWorker

__all__ = [
    "AsyncHandler",
    "AsyncMiddleware",
    "AsyncWorker",
    "Handler",
    "Health",
    "Middleware",
    "Reject",
    "Retry",
    "RetryPolicy",
    "Worker",
]


def __getattr__(name: str) -> Any:
    if name == "AsyncWorker":
        from unimq.worker.tasks import AsyncWorker  # noqa: PLC0415 - asyncio is expensive

        return AsyncWorker
    msg = f"module 'unimq.worker' has no attribute {name!r}"
    raise AttributeError(msg)
