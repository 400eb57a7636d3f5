"""What the queue objects of one client share that have the same name and options: their way to the server and back."""

import weakref
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Generic, ParamSpec, Protocol, TypeVar

from unimq.aio.batcher import Batcher
from unimq.aio.pump import Asker, Pump
from unimq.aio.runner import Runner
from unimq.calls import Caller
from unimq.direct import Asked, answer_each
from unimq.driver import Outgoing
from unimq.endpoint import Endpoint
from unimq.errors import UnimqError
from unimq.hosts import Host
from unimq.message import BaseMessage, Receipt

__all__ = ["Lane", "Member"]

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")

_AT_ONCE: Final = 4
"""Batches of puts that may be on their way; each has a session."""


class Member(Asker, Protocol):
    """A queue object that has a lane."""

    _lane: "Lane[Any]"


class Lane(Generic[T]):
    """One pump, and one batcher of each kind. Messages settle through the lane that brought them."""

    def __init__(self, client: Runner, endpoint: Endpoint[T]) -> None:
        self.client = client
        self.endpoint = endpoint
        self.pump = Pump()
        self.puts: Batcher[Outgoing, Receipt] = Batcher(
            self._send, client.batches, endpoint.deadline, self._puts_at_once
        )
        self.asks: Batcher[tuple[str, Outgoing], Receipt | None] = Batcher(self._ask, client.batches, endpoint.deadline)
        # By the host whose messages they are of: what stands still there holds up nothing that is for another one.
        self.acks: defaultdict[Host | None, Batcher[BaseMessage[T], None]] = defaultdict(
            lambda: Batcher(lambda messages, _: endpoint.settler.ack_many(messages), client.batches, endpoint.deadline)
        )
        self.answers: defaultdict[Host | None, Batcher[tuple[BaseMessage[T], Outgoing], None]] = defaultdict(
            lambda: Batcher(lambda replies, _: answer_each(replies), client.batches, endpoint.deadline)
        )
        self.queues: weakref.WeakSet[Member] = weakref.WeakSet()
        """Those that are open."""
        endpoint.face = self

    async def put(self, message: Outgoing) -> Receipt:
        """Put together with what other tasks put at the same time."""
        client, endpoint = self.client, self.endpoint
        endpoint.check_open()
        if client.at_once():
            return await client.run_at_once(endpoint.sender.send_one, message, None, endpoint.deadline())
        return await self.puts.run(message)

    async def ack(self, message: BaseMessage[T]) -> None:
        """Ack together with what other tasks ack at the same time."""
        if self.client.at_once():
            await self.client.run_at_once(self.endpoint.settler.ack, message)
        else:
            await self.acks[_host_of(message)].run(message)

    async def reply(self, message: BaseMessage[T], body: Any, headers: Mapping[str, str] | None) -> Receipt:
        """What `Message.reply` does, together with the replies of other tasks."""
        if message.reply_to is None and message.may_be_answered:
            await self.answers[_host_of(message)].run((message, self.endpoint.sender.build(body, headers)))
            return Receipt(None, confirmed=True, queue=message.queue)
        name, needed = self.endpoint.reply_address(message)
        there = self.endpoint.counterpart(name)
        outgoing = there.sender.build(body, headers, **needed)
        lane: Lane[Any] | None = there.face
        if lane is None:  # of a client without tasks: that of the dead letters on another URL
            return await self.run(there.sender.send_one, outgoing, None, there.deadline())
        return await lane.put(outgoing)

    async def run(self, call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a part that asks the server."""
        return await self.client.run(call, *args, **kwargs)

    def close(self) -> None:
        """End the receiving thread and give back what nobody came for; blocking."""
        self.pump.close()
        self.endpoint.close()

    def _puts_at_once(self) -> int:
        """One where puts have an order, which is that in which they are asked for; one for each of several hosts."""
        hosts = len(self.endpoint.pool.hosts)
        if hosts > 1:
            return min(hosts, _AT_ONCE)
        return _AT_ONCE if self.endpoint.capabilities.order == "none" else 1

    def _ask(self, requests: Sequence[tuple[str, Outgoing]], until: float) -> Sequence[Receipt | UnimqError | None]:
        numbers, messages = [number for number, _ in requests], [message for _, message in requests]
        caller: Caller = self.endpoint.client.calls
        return caller.send(self.endpoint, Asked(numbers, messages, [], until))

    def _send(self, messages: Sequence[Outgoing], until: float) -> Sequence[Receipt | UnimqError]:
        return self.endpoint.sender.send(messages, None, until)


def _host_of(message: BaseMessage[Any]) -> Host | None:
    """Where it came from; `None` where it was only peeked at."""
    return None if message._session is None else message._session.host
