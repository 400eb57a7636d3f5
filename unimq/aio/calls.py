"""Calls for asyncio: any number of tasks wait for replies that one thread receives."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar, cast

from unimq.aio.batcher import in_loops
from unimq.aio.lane import Lane
from unimq.aio.message import AsyncMessage
from unimq.calling import in_order
from unimq.calls import Caller, Listener, Reported
from unimq.direct import is_direct
from unimq.errors import UnimqError
from unimq.message import BaseMessage
from unimq.sender import bodies_of

__all__ = ["AsyncCaller", "call_each", "call_one"]

T = TypeVar("T")


class AsyncCaller(Caller):
    """The calls of one client, whose callers are tasks."""

    def slot(self) -> "asyncio.Future[BaseMessage[Any] | BaseException]":
        """Where one task waits: an error is a result too, so that one nobody comes for is not complained about."""
        return asyncio.get_running_loop().create_future()

    def fill(self, found: Sequence[tuple[Any, BaseMessage[Any] | Reported | BaseException]]) -> None:
        """Let those who wait have what was found for each, in one hop for each event loop."""
        in_loops(_fill, found)


async def call_one(
    lane: Lane[T],
    body: T,
    timeout: float | timedelta | None,
    headers: Mapping[str, str] | None,
    listener: Listener | None,
) -> AsyncMessage[Any]:
    """What `Queue.call` does; the put is coalesced with those of other tasks."""
    endpoint = lane.endpoint
    caller: Caller = endpoint.client.calls
    with caller.asking(endpoint, [body], headers, timeout, listener) as asked:
        limit = asyncio.timeout(asked.deadline - time.monotonic())
        try:
            async with limit:
                if is_direct(endpoint):
                    await lane.asks.run((asked.numbers[0], asked.messages[0]))
                else:
                    await lane.put(asked.messages[0])
                outcome = await asked.slots[0]
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise caller.too_late(endpoint) from error
    if isinstance(outcome, BaseException):
        raise outcome
    return cast("AsyncMessage[Any]", outcome)


async def call_each(
    lane: Lane[T], bodies: Iterable[T], timeout: float | timedelta | None, headers: Mapping[str, str] | None
) -> list[AsyncMessage[Any]]:
    """What `Queue.call_many` does."""
    endpoint = lane.endpoint
    caller: Caller = endpoint.client.calls
    with caller.asking(endpoint, bodies_of(bodies), headers, timeout) as asked:
        sent = await lane.run(caller.send, endpoint, asked)
        waited = [slot for one, slot in zip(sent, asked.slots, strict=True) if not isinstance(one, UnimqError)]
        if waited:
            await asyncio.wait(waited, timeout=max(0.0, asked.deadline - time.monotonic()))
        outcomes = [
            one if isinstance(one, UnimqError) else slot.result() if slot.done() else caller.too_late(endpoint)
            for one, slot in zip(sent, asked.slots, strict=True)
        ]
    return cast("list[AsyncMessage[Any]]", in_order(outcomes))


def _fill(found: "list[tuple[asyncio.Future[Any], BaseMessage[Any] | Reported | BaseException]]") -> None:
    for future, outcome in found:
        if future.done():
            continue
        if isinstance(outcome, Reported):
            try:
                outcome.tell()
            except Exception as error:  # noqa: BLE001 - of the application: any may come, and the call raises it
                future.set_result(error)
        else:
            future.set_result(outcome)
