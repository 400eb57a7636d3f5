"""A session of the driver contract on PUSH and PULL: plain ZeroMQ, at most once, no broker and nobody who counts.

A message is its body in one frame, so any program that speaks ZeroMQ is at home on the other side. What such a program
sends in several frames is one body, the frames one after the other, and the frames themselves as `native`.
"""

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any, Final

import zmq

from unimq.capabilities import Capabilities
from unimq.driver import BaseSession, Delivery, Outgoing, Settling
from unimq.errors import Full, InvalidName, UnimqError
from unimq.url import URL
from unimq_zeromq.endpoint import queue_endpoint
from unimq_zeromq.keys import Keys
from unimq_zeromq.pipes import Address, Pipe, pipes

__all__ = ["PushPullSession"]

_AT_ONCE: Final = int(zmq.NOBLOCK)
_LONGEST_POLL: Final = 3600.0
_ON_ITS_WAY: Final = 0.005
"""Seconds that a get without a timeout waits for what was put just before."""


class PushPullSession(BaseSession):
    """The sockets of this process, as one of their users."""

    settling: Settling = "nowhere"

    def __init__(self, url: URL, capabilities: Capabilities, own: Mapping[str, Any], ahead: int | None) -> None:
        self.capabilities = capabilities
        self._url = url
        self._own = own
        self._to_bind = Keys.to_bind(url, own) if own["server_key"] is None else None
        self._to_connect = Keys.to_connect(url, own) if own["server_key"] is not None else None
        self._ahead = ahead
        self._addresses: dict[str, Address] = {}
        self._pushes: dict[str, Pipe] = {}
        self._pulls: dict[str, Pipe] = {}
        self._turn = 0
        self._waits = self._interrupted = False
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._closed = False

    def _address(self, queue: str) -> Address:
        found = self._addresses.get(queue)
        if found is None:
            named = self._url.queue_name(path_is_queue=True)
            if (self._url.transport or "tcp") == "tcp" and queue != named:
                msg = f"queue {queue!r}: {self._url} is one endpoint, which is one queue: give each its own URL"
                raise InvalidName(msg)
            endpoint = queue_endpoint(self._url, queue)
            largest = self.capabilities.limits.body or 0
            keys = (self._to_connect, self._to_bind)
            found = Address(endpoint, self._own["bind"], self._ahead, largest, str(self._url), *keys)
            self._addresses[queue] = found
        return found

    # Messages

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Sequence[str | UnimqError | None]:
        """Give them to libzmq; what finds the pipe full until `deadline` is `Full`."""
        pipe = self._pushes.get(queue)
        if pipe is None:
            pipe = self._pushes[queue] = pipes().push(self._address(queue))
        with pipe.lock:
            # The method below pyzmq's own, which takes nearly half of the time to look for what is not given here.
            send = super(zmq.Socket, pipe.socket).send
            for sent, message in enumerate(messages):
                try:
                    send(message.body, _AT_ONCE)
                except zmq.Again:
                    if not self._sent_late(pipe, message.body, deadline):
                        msg = f"queue {queue!r} of {self._url}: no consumer takes what is put, and the pipe is full"
                        return [*[None] * sent, *[Full(msg)] * (len(messages) - sent)]
        return [None] * len(messages)

    def _sent_late(self, pipe: Pipe, body: bytes, deadline: float) -> bool:
        while (rest := deadline - time.monotonic()) > 0:
            if pipe.socket.poll(ceil(min(rest, _LONGEST_POLL) * 1000), zmq.POLLOUT):
                with contextlib.suppress(zmq.Again):
                    pipe.socket.send(body, zmq.NOBLOCK)
                    return True
        return False

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        """Take what has arrived at this process; wait for the first."""
        self._turn = (self._turn + 1) % len(queues)
        turned = [*queues[self._turn :], *queues[: self._turn]]
        for queue in queues:
            if queue not in self._pulls:
                self._pulls[queue] = pipes().pull(self._address(queue))
        wanted = {queue: self._pulls[queue] for queue in turned}
        self._waits = True
        # What was put before is on its way: no server can be asked for it.
        until = max(deadline, time.monotonic() + _ON_ITS_WAY, *(pipe.settles_at for pipe in wanted.values()))
        try:
            while True:
                found = self._look(wanted, limit, until)
                if found or self._interrupted or time.monotonic() >= until:
                    return found
        finally:
            self._waits = self._interrupted = False
            pipes().wait_no_more(self._wake)

    def _look(self, wanted: dict[str, Pipe], limit: int, deadline: float) -> list[Delivery]:
        """Take from the sockets that nobody else waits at; if there is nothing, wait for a message or for a socket."""
        mine = {queue: pipe for queue, pipe in wanted.items() if pipe.lock.acquire(blocking=False)}
        if len(mine) < len(wanted):
            # Told before it looks again, or what is let go in between would not wake it.
            pipes().wait_for(self._wake)
            missing = {queue: pipe for queue, pipe in wanted.items() if queue not in mine}
            mine |= {queue: pipe for queue, pipe in missing.items() if pipe.lock.acquire(blocking=False)}
        try:
            found = _taken(mine, limit)
            if not found:
                self._wait(mine, deadline)
                found = _taken(mine, limit)
            return found
        finally:
            for pipe in mine.values():
                pipes().let_go(pipe)

    def _wait(self, mine: dict[str, Pipe], deadline: float) -> None:
        rest = deadline - time.monotonic()
        if rest <= 0 or self._interrupted:
            return
        poller = zmq.Poller()
        poller.register(self._wake_read, zmq.POLLIN)
        for pipe in mine.values():
            poller.register(pipe.socket, zmq.POLLIN)
        poller.poll(ceil(min(rest, _LONGEST_POLL) * 1000))
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, 4096)

    # Settling: what was received is gone already

    def ack(self, deliveries: Sequence[Delivery], deadline: float) -> Sequence[UnimqError | None]:
        """Nobody needs to know."""
        return [None] * len(deliveries)

    def move(
        self, queue: str, pairs: Sequence[tuple[Delivery, Outgoing]], deadline: float
    ) -> Sequence[str | UnimqError | None]:
        """Send them to another queue."""
        return self.send(queue, [message for _, message in pairs], deadline)

    # The connection

    def ping(self, deadline: float) -> str:
        """There is nobody to ask: whoever is at the other side may come and go."""
        return f"ZeroMQ {zmq.zmq_version()}"

    def interrupt(self) -> None:
        """Wake the receive that waits."""
        if self._waits:
            self._interrupted = True
            self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full, or closed meanwhile
            os.write(self._wake_write, b"!")

    def close(self) -> None:
        """Use the process's sockets no more."""
        if not self._closed:
            self._closed = True
            pipes().wait_no_more(self._wake)
            pipes().leave([*self._pushes.values(), *self._pulls.values()])
            os.close(self._wake_read)
            os.close(self._wake_write)


def _taken(mine: dict[str, Pipe], limit: int) -> list[Delivery]:
    found: list[Delivery] = []
    for queue, pipe in mine.items():
        recv = pipe.socket.recv
        with contextlib.suppress(zmq.Again):
            while len(found) < limit:
                first = recv(_AT_ONCE, copy=False)  # as bytes it would not tell whether more belong to it
                if first.more:
                    frames = [first.bytes, *pipe.socket.recv_multipart(zmq.NOBLOCK)]
                    found.append(Delivery(queue, b"".join(frames), native=frames))
                else:
                    found.append(Delivery(queue, first.bytes))
    return found
