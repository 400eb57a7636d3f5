"""Where the parts that ask a server run for tasks: in threads of a client, or at once where they do not block."""

import asyncio
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

from unimq.aio.pump import Pumps
from unimq.aio.threads import in_background
from unimq.queue import Client

__all__ = ["Runner"]

P = ParamSpec("P")
R = TypeVar("R")

_THREADS: Final = 8
"""Most threads of one client for single calls; they start when they are needed."""
_BREATHES: Final = 50
"""After so many calls that needed no thread, other tasks have their turn."""
_BATCHES: Final = 10_000
"""Most threads for batches, of which each queue has one at a time of each kind: one that stalls keeps none waiting."""


class Runner:
    """The threads of one client. A child process starts with none."""

    def __init__(self, sync: Client) -> None:
        self.sync = sync
        """The client whose sessions are used; for unimq's own use."""
        self._forget()
        self._calls = 0
        """How many needed no thread."""

    def batches(self) -> ThreadPoolExecutor:
        """The threads for what the tasks of one queue do together."""
        return self._executor(_BATCHES)

    def _executor(self, most: int) -> ThreadPoolExecutor:
        """So many threads, made when they are first needed."""
        self.sync.check_open()
        self._check_process()
        found = self._executors.get(most)
        if found is None:
            made = ThreadPoolExecutor(most, thread_name_prefix=f"unimq {self.sync.driver.name}")
            found = self._executors.setdefault(most, made)
        return found

    @property
    def pumps(self) -> Pumps:
        """For gets over several queues."""
        self._check_process()
        return self._pumps

    @property
    def lock(self) -> threading.RLock:
        """For those who join and leave lanes."""
        self._check_process()
        return self._lock

    def _check_process(self) -> None:
        if self._pid != os.getpid():
            self._forget()

    def _forget(self) -> None:
        """Begin without threads: anew, or in the child of a fork, where the parent's are not."""
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._executors: dict[int, ThreadPoolExecutor] = {}
        """By how many threads they may have."""
        self._pumps = Pumps()

    def submit(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> "Future[R]":
        """Start a blocking part in a thread."""
        return self._executor(_THREADS).submit(call, *args, **kwargs)

    async def run(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a part that asks the server: in a thread, unless it does not block."""
        how = self.run_at_once if self.at_once() else self.run_in_thread
        return await how(call, *args, **kwargs)

    async def run_at_once(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it here; others have their turn now and then, or a loop of calls that never wait would shut them out."""
        self._calls += 1
        if not self._calls % _BREATHES:
            await asyncio.sleep(0)
        return call(*args, **kwargs)

    async def run_in_thread(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a part that may wait."""
        return await asyncio.wrap_future(self.submit(call, *args, **kwargs))

    def at_once(self) -> bool:
        """Whether what asks the server needs no thread: there is a free session, whose calls do not block."""
        hosts = self.sync.pool.hosts
        if len(hosts) == 1 and self.sync._dead_client is None:
            for pooled in hosts[0].sessions:
                if not pooled.session.blocks and not pooled.user:
                    return True
        return False

    def is_in_use(self) -> bool:
        """Whether something of this process is open that a close would end."""
        if self.sync.pool.closed or self._pid != os.getpid():
            return False
        return bool(self._executors or self.sync.pool.sessions)

    def end(self) -> None:
        """Close the client and end the threads; blocking."""
        _close(self.sync, list(self._executors.values()))

    def end_in_background(self) -> None:
        """Do that for a client that nobody has any more."""
        in_background(_close, self.sync, list(self._executors.values()))


def _close(client: Client, executors: Sequence[ThreadPoolExecutor]) -> None:
    client.close()
    for executor in executors:
        executor.shutdown()
