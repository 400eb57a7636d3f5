"""The message in hand, settled by awaiting."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any, TypeVar, cast

from unimq.aio.lane import Lane
from unimq.aio.twins import twin_of
from unimq.errors import LeaseLost, UnimqError
from unimq.message import BaseMessage, Message, Receipt

__all__ = ["AsyncMessage"]

T = TypeVar("T")


@twin_of(Message)
class AsyncMessage(BaseMessage[T]):
    __slots__ = ()

    async def ack(self) -> None:
        await self._lane.ack(self)

    async def nack(self, delay: float | timedelta = 0) -> None:
        await self._lane.run(self._endpoint.settler.nack, self, delay)

    async def reject(self, reason: str = "rejected", details: str = "") -> None:
        await self._lane.run(self._endpoint.settler.reject, self, reason, details)

    async def discard(self) -> None:
        await self._lane.run(self._endpoint.settler.ack, self, "discard")

    async def release(self) -> None:
        await self._lane.run(self._endpoint.settler.release, self)

    async def extend(self, seconds: float | timedelta | None = None) -> float:
        return await self._lane.run(self._endpoint.settler.extend, self, seconds)

    async def reply(self, body: Any, *, headers: Mapping[str, str] | None = None) -> Receipt:
        return await self._lane.reply(self, body, headers)

    async def progress(self, done: int, total: int) -> None:
        await self._lane.run(self._endpoint.report, self, done, total)

    async def __aenter__(self) -> "AsyncMessage[T]":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.settled and not self._lost:
            return
        if error is None:
            try:
                await self.ack()
            except LeaseLost as lost:
                self._done_too_late(lost)
            return
        if not isinstance(error, Exception):
            # Not stopped by another cancellation of the same task.
            await asyncio.shield(self._lane.run(self._endpoint.settler.give_back, [self]))
            return
        try:
            await self.nack(self._pause())
        except UnimqError as failed:
            self._note_failure(error, failed)

    @property
    def _lane(self) -> Lane[T]:
        return cast("Lane[T]", self._endpoint.face)
