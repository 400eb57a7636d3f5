"""The worker of asyncio: tasks that take messages and await their handlers, until it is told to stop."""

import asyncio
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

from unimq.aio import AsyncClient, AsyncMessage
from unimq.direct import is_direct
from unimq.errors import Closed, Empty, InvalidArgument, TooLarge, UnimqError
from unimq.options import seconds
from unimq.url import URL
from unimq.worker.handling import (
    AsyncHandler,
    AsyncMiddleware,
    Fate,
    pause_in_hand,
    settlement,
    tell,
    tell_given_back,
    unsendable,
    unsettled,
)
from unimq.worker.ledger import Health, Ledger
from unimq.worker.policy import RetryPolicy
from unimq.worker.settings import DEFAULT_POLICY, LOOK, LOOKS_IN_A_LEASE, STOP_SIGNALS, handled_queues, wrapped

__all__ = ["AsyncWorker"]


class AsyncWorker:
    """`Worker` for handlers that are coroutine functions: tasks of one event loop, instead of threads.

    ```python
    async def send(message: unimq.AsyncMessage) -> None:
        await mail(message.body["to"])

    asyncio.run(unimq.AsyncWorker("sqlite:///jobs.db?queue=mail", send, concurrency=200).run())
    ```

    Everything is as with `Worker`, with two differences: a handler that runs longer than `max_runtime` is cancelled,
    which counts as a failure, and one that does not end within `grace` is cancelled too, and its message given back.
    """

    def __init__(  # noqa: PLR0913 - each is a keyword of its own
        self,
        url: str | URL | AsyncClient | None,
        handlers: AsyncHandler | Mapping[str, AsyncHandler],
        *,
        concurrency: int = 1,
        retry: RetryPolicy = DEFAULT_POLICY,
        grace: float | timedelta = 30.0,
        max_runtime: float | timedelta | None = None,
        middleware: Sequence[AsyncMiddleware] = (),
    ) -> None:
        """Check everything that can be checked without I/O; arguments and errors are those of `Worker`."""
        self._own = not isinstance(url, AsyncClient)
        self._client = url if isinstance(url, AsyncClient) else AsyncClient(url)
        pairs = handled_queues(self._client, handlers, concurrency, retry)
        self._queues = [queue for queue, _ in pairs]
        self._handlers = {queue.name: wrapped(queue, handler, middleware) for queue, handler in pairs}
        self._policy = retry
        self._concurrency = concurrency
        self._grace = seconds(grace, "grace")
        self._max_runtime = None if max_runtime is None else seconds(max_runtime, "max_runtime")
        self._ran = False
        self._stopping = asyncio.Event()
        self._given_up = asyncio.Event()
        self._ledger: Ledger[AsyncMessage[Any]] = Ledger(self._client.sync.where)
        self._busy: set[asyncio.Task[Any] | None] = set()

    # What an application does with it

    async def run(self) -> None:
        """Work until `stop` is called or SIGTERM or SIGINT arrives, as `Worker.run`; or until this task is cancelled.

        Raises:
            ConnectError, AuthenticationFailed, Timeout: the server cannot be reached at the start.
            Closed: it has run before.
        """
        if self._ran:
            msg = "this worker has run before: make a new one"
            raise Closed(msg)
        self._ran = True
        await self._client.ping()
        self._ledger.reached()
        takers = [asyncio.create_task(self._work()) for _ in range(self._concurrency)]
        keeper = asyncio.create_task(self._keep())
        try:
            with self._signals():
                await self._stopping.wait()
                await self._end(takers)
        finally:
            self._stopping.set()
            for task in (keeper, *takers):
                task.cancel()
            await asyncio.gather(keeper, *takers, return_exceptions=True)
            if self._own:
                await self._client.close()

    async def drain(self) -> Health:
        """Handle what is ready now, one message at a time in this task, and return; as `Worker.drain`."""
        keeper = asyncio.create_task(self._keep())
        try:
            while True:
                message = await self._next(0)
                self._ledger.reached()
                await self._handle(message)
        except Empty:
            self._ledger.reached()
            return self.health()
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
            if self._own:
                await self._client.close()

    def stop(self) -> None:
        """Take no more messages, and let those at work be finished; returns at once. Again: cancel these.

        To be called in the event loop; from another thread by `loop.call_soon_threadsafe(worker.stop)`.
        """
        if self._stopping.is_set():
            self._given_up.set()
        self._stopping.set()

    def health(self) -> Health:
        """What it is doing; may be asked from any thread."""
        return self._ledger.health()

    # How

    async def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                message = await self._next(LOOK)
            except Empty:
                self._ledger.reached()
            except Closed:  # the client is the caller's
                self.stop()
                return
            except UnimqError as error:
                await asyncio.sleep(self._ledger.missed(error))
            else:
                self._ledger.reached()
                await self._handle(message)

    async def _next(self, timeout: float) -> AsyncMessage[Any]:  # noqa: ASYNC109 - that of a get, which tells Empty
        first, *more = self._queues
        message: AsyncMessage[Any] = await (self._client.get(self._queues, timeout) if more else first.get(timeout))
        return message

    async def _handle(self, message: AsyncMessage[Any]) -> None:
        me = asyncio.current_task()
        self._busy.add(me)
        self._ledger.begins(message)
        fate: Fate | None = None
        try:
            result, error = await self._outcome(message)
            while error is not None and await self._again(message, error):
                result, error = await self._outcome(message)
            fate = await self._settle(message, result, error)
        except asyncio.CancelledError:
            tell_given_back(message)
            with suppress(UnimqError):
                await message.release()
            raise
        finally:
            self._ledger.ended(message, fate)
            self._busy.discard(me)

    async def _again(self, message: AsyncMessage[Any], failed: Exception) -> bool:
        """Whether another try is to be made in hand, now that its pause is over."""
        if message.settled or not is_direct(message._endpoint):
            return False
        pause = await self._client.run(pause_in_hand, message, failed, self._policy)
        if pause is None:
            return False
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._stopping.wait()
                return False
        self._ledger.again(message)
        return True

    async def _outcome(self, message: AsyncMessage[Any]) -> tuple[object, Exception | None]:
        try:
            message.body  # noqa: B018 - what cannot be decoded is no handler's business
            async with asyncio.timeout(self._max_runtime):
                return await self._handlers[message.queue](message), None
        except Exception as error:  # noqa: BLE001 - of the application: any may come
            return None, error

    async def _settle(self, message: AsyncMessage[Any], result: object, error: Exception | None) -> Fate:
        can_wait = bool(self._client.capabilities.nack_delay)
        settled = settlement(message, error, self._policy, can_wait=can_wait)
        why = settled.why
        try:
            if result is not None and message.may_be_answered:
                try:
                    await message.reply(result)
                except (InvalidArgument, TooLarge) as mistake:
                    why = unsendable(message, mistake)
            if why is not None and message.reply_to is None:  # what a backend itself replies comes before the end
                await self._client.run(tell, message, why)
            if settled.name is not None:
                await getattr(message, settled.name)(*settled.arguments)
        except UnimqError as failed:
            return unsettled(message, failed)
        if why is not None and message.reply_to is not None:
            await self._client.run(tell, message, why)
        return settled.fate

    async def _keep(self) -> None:
        """Extend the leases of the messages at work, each when a third of it is over."""
        if not self._client.capabilities.extend:
            return
        lease = self._client.sync.settings.lease
        while True:
            await asyncio.sleep(lease / LOOKS_IN_A_LEASE)
            for message in self._ledger.to_extend(lease):
                with suppress(UnimqError):  # tried again, as long as it is at work
                    await message.extend()

    async def _end(self, takers: Sequence["asyncio.Task[None]"]) -> None:
        for task in takers:
            if task not in self._busy:
                task.cancel()  # a get that is cancelled loses nothing
        given_up = asyncio.create_task(self._given_up.wait())
        all_ended = asyncio.gather(*takers, return_exceptions=True)
        await asyncio.wait((all_ended, given_up), timeout=self._grace, return_when=asyncio.FIRST_COMPLETED)
        given_up.cancel()

    @contextmanager
    def _signals(self) -> Generator[None]:
        loop = asyncio.get_running_loop()
        try:
            for number in STOP_SIGNALS:
                loop.add_signal_handler(number, self.stop)
        except (NotImplementedError, ValueError, RuntimeError):  # Windows, or not the main thread
            yield
            return
        try:
            yield
        finally:
            for number in STOP_SIGNALS:
                loop.remove_signal_handler(number)
