"""The asyncio faces: `AsyncQueue`, `AsyncClient` and `AsyncMessage`, the same names and meanings, awaited.

They run the same sessions in threads. What each method does is documented once, at its synchronous twin; a test
compares names, parameters, defaults and documentation.
"""

from unimq.aio.message import AsyncMessage
from unimq.aio.queue import AsyncClient, AsyncDeadLetterQueue, AsyncQueue

__all__ = ["AsyncClient", "AsyncDeadLetterQueue", "AsyncMessage", "AsyncQueue"]
