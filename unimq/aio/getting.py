"""Getting for tasks, from one queue or several: at once where that needs no thread, else at a pump."""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import timedelta
from typing import Any, Final, ParamSpec, cast

from unimq.aio.lane import Member
from unimq.aio.message import AsyncMessage
from unimq.aio.runner import Runner
from unimq.errors import Empty
from unimq.message import BaseMessage
from unimq.options import timeout_seconds
from unimq.receiver import deliver_all, is_delivered_locally, park
from unimq.several import Several

__all__ = ["deliver", "fetch", "get", "or_park"]

P = ParamSpec("P")
_Messages = list[BaseMessage[Any]]

_PUMPED_FROM: Final = 0.05
"""Seconds: a get that waits shorter asks the server itself, so that it sees what is there now."""


async def get(
    client: Runner, queues: Sequence[Member], limit: int, timeout: float | timedelta | None
) -> list[AsyncMessage[Any]]:
    """Between 1 and `limit` messages, waiting for the first one only; `Empty` when there is none in time."""
    longest = timeout_seconds(timeout)
    until = math.inf if longest is None else time.monotonic() + longest
    while True:
        rest = None if longest is None else max(0.0, until - time.monotonic())
        ready = await deliver(client, await fetch(client, queues, limit, rest))
        if ready:
            return ready


async def fetch(client: Runner, queues: Sequence[Member], limit: int, timeout: float | None) -> _Messages:
    """As `get`, but not handed over yet."""
    for queue in queues:
        queue.check_open()
    first = queues[0]
    several = None if len(queues) == 1 else Several([queue._endpoint for queue in queues])
    source = several or first._endpoint.receiver
    if client.at_once() and not _is_waited_for(client, queues):
        try:
            return await client.run_at_once(source.fetch, limit, time.monotonic())
        except Empty:
            if timeout == 0:
                raise
    if timeout is not None and timeout < _PUMPED_FROM:
        return await or_park(client, source.fetch, limit, time.monotonic() + timeout)
    pump, waiter = client.pumps.add(queues, limit) if several else (first._lane.pump, None)
    return await pump.result(waiter or pump.add(queues, limit), timeout)


def _is_waited_for(client: Runner, queues: Sequence[Member]) -> bool:
    """Whether other tasks wait already, which come first."""
    if any(queue._lane.pump.is_waited_at for queue in queues):
        return True
    return len(queues) > 1 and any(pump.is_waited_at for pump in client.pumps.all)


async def deliver(client: Runner, messages: _Messages) -> list[AsyncMessage[Any]]:
    """Those that the application gets."""
    if all(map(is_delivered_locally, messages)) or client.at_once():
        ready = deliver_all(messages)
    else:
        ready = await or_park(client, deliver_all, messages)
    return cast("list[AsyncMessage[Any]]", ready)


async def or_park(client: Runner, call: Callable[P, _Messages], *args: P.args, **kwargs: P.kwargs) -> _Messages:
    """Run `call` in a thread; what it brings for a task that is cancelled meanwhile goes to the next get."""
    running = client.submit(call, *args, **kwargs)
    try:
        return await asyncio.shield(asyncio.wrap_future(running))
    except asyncio.CancelledError:
        running.add_done_callback(_park)
        raise


def _park(done: "Future[_Messages]") -> None:
    if done.exception() is None:
        park(done.result())
