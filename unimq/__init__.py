"""One `Queue` over many message backends, chosen by a connection URL.

```python
import unimq

with unimq.Queue("sqlite:///jobs.db?queue=mail") as queue:
    queue.put({"to": "ada@example.org"})
    with queue.get(timeout=5) as message:
        print(message.body)
```

`Queue` and `Client` are synchronous, `AsyncQueue` and `AsyncClient` their twins for asyncio. Errors are in one tree,
`unimq.errors`; what a backend can do is data, `unimq.capabilities`; a new backend implements `unimq.driver`.
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

from unimq.version import __version__ as __version__

if TYPE_CHECKING:
    from unimq.admin import Pong
    from unimq.aio import AsyncClient, AsyncDeadLetterQueue, AsyncMessage, AsyncQueue
    from unimq.capabilities import Capabilities, Capability
    from unimq.driver import Stats
    from unimq.errors import (
        AlreadySettled,
        AuthenticationFailed,
        BatchError,
        Closed,
        ConnectError,
        ConnectionLost,
        DriverMissing,
        Empty,
        Full,
        InvalidArgument,
        InvalidMessage,
        InvalidName,
        InvalidURL,
        LeaseLost,
        ProtocolError,
        RemoteError,
        ServerError,
        StorageError,
        Timeout,
        TooLarge,
        UnimqError,
        Unsupported,
    )
    from unimq.hooks import ConnectionEvent, Hooks, Operation
    from unimq.message import Message, Receipt
    from unimq.queue import Client, DeadLetterQueue, Queue, connect
    from unimq.remote.serving import serve
    from unimq.telemetry import OpenTelemetry
    from unimq.url import URL
    from unimq.worker import AsyncWorker, Reject, Retry, RetryPolicy, Worker
    from unimq.worker.deduplicate import Deduplicate

__all__ = [
    "URL",
    "AlreadySettled",
    "AsyncClient",
    "AsyncDeadLetterQueue",
    "AsyncMessage",
    "AsyncQueue",
    "AsyncWorker",
    "AuthenticationFailed",
    "BatchError",
    "Capabilities",
    "Capability",
    "Client",
    "Closed",
    "ConnectError",
    "ConnectionEvent",
    "ConnectionLost",
    "DeadLetterQueue",
    "Deduplicate",
    "DriverMissing",
    "Empty",
    "Full",
    "Hooks",
    "InvalidArgument",
    "InvalidMessage",
    "InvalidName",
    "InvalidURL",
    "LeaseLost",
    "Message",
    "OpenTelemetry",
    "Operation",
    "Pong",
    "ProtocolError",
    "Queue",
    "Receipt",
    "Reject",
    "RemoteError",
    "Retry",
    "RetryPolicy",
    "ServerError",
    "Stats",
    "StorageError",
    "Timeout",
    "TooLarge",
    "UnimqError",
    "Unsupported",
    "Worker",
    "connect",
    "serve",
]

_ELSEWHERE = {
    **dict.fromkeys(("AsyncClient", "AsyncDeadLetterQueue", "AsyncMessage", "AsyncQueue"), "unimq.aio"),
    **dict.fromkeys(("Capabilities", "Capability"), "unimq.capabilities"),
    "Pong": "unimq.admin",
    **dict.fromkeys(("ConnectionEvent", "Hooks", "Operation"), "unimq.hooks"),
    **dict.fromkeys(("Client", "DeadLetterQueue", "Queue", "connect"), "unimq.queue"),
    **dict.fromkeys(("Message", "Receipt"), "unimq.message"),
    "OpenTelemetry": "unimq.telemetry",
    "Stats": "unimq.driver",
    "URL": "unimq.url",
    "serve": "unimq.remote.serving",
    **dict.fromkeys(("AsyncWorker", "Reject", "Retry", "RetryPolicy", "Worker"), "unimq.worker"),
    "Deduplicate": "unimq.worker.deduplicate",
}
"""Where the public names live; what is not here is an error. They are imported when they are first used: asyncio alone
takes as long as everything else."""


def __getattr__(name: str) -> Any:
    if name not in __all__:
        msg = f"module 'unimq' has no attribute {name!r}"
        raise AttributeError(msg)
    value = getattr(importlib.import_module(_ELSEWHERE.get(name, "unimq.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if "asyncio" in sys.modules:
    # Now, and not in the loop, which would stand still for that: a tenth of a second, on a busy machine one or more.
    importlib.import_module("unimq.aio")
