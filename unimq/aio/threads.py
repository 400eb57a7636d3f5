"""Blocking calls in threads of their own."""

import asyncio
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import ParamSpec, TypeVar

__all__ = ["in_background", "in_thread"]

P = ParamSpec("P")
R = TypeVar("R")


def in_thread(call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> "asyncio.Future[R]":
    """Run `call` in a thread of its own: it may wait long, or end the threads of the client."""
    loop = asyncio.get_running_loop()
    result: Future[R] = Future()
    result.set_running_or_notify_cancel()  # from here on it cannot be cancelled, only left alone

    def run() -> None:
        try:
            result.set_result(call(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - belongs to the task that waits
            result.set_exception(error)

    in_background(run)
    return asyncio.wrap_future(result, loop=loop)


def in_background(call: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
    """Run `call` in a thread that nobody waits for; at the end of the interpreter, which runs none, not at all."""
    if not sys.is_finalizing():  # or the start would be waited for without end
        threading.Thread(target=call, args=args, kwargs=kwargs, name="unimq call", daemon=True).start()
