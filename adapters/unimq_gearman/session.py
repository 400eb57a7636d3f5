"""A session of the driver contract on gearmand."""

import contextlib
import itertools
import math
import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from unimq.answering import Progress
from unimq.capabilities import Capabilities
from unimq.driver import BaseSession, Delivery, Outgoing, Settling, Stats
from unimq.errors import ConnectionLost, LeaseLost, ProtocolError, Timeout, UnimqError
from unimq_gearman import admin, packets
from unimq_gearman.asking import Asker
from unimq_gearman.calls import Answers, Call, Fences, Status, refusal
from unimq_gearman.packets import packet
from unimq_gearman.taking import Taker
from unimq_gearman.wire import Wire

__all__ = ["GearmanSession"]

_LEVELS: Final = len(packets.SUBMIT_BACKGROUND)
_BROKEN: Final = (ConnectionLost, Timeout, ProtocolError)


class GearmanSession(BaseSession):
    """A connection for puts, settlements and the first queue, and one more for each queue that is held in hand."""

    settling: Settling = "duplex"

    def __init__(
        self,
        connect: Callable[[socket.socket, int, float], tuple[Wire, str]],
        capabilities: Capabilities,
        deadline: float,
    ) -> None:
        """Connect."""
        self.capabilities = capabilities
        self._connect = connect
        self._numbers = itertools.count(1)
        self._heard, self._alarm = socket.socketpair()
        self._heard.settimeout(0)
        self._alarm.settimeout(0)
        try:
            self._main, self._version = connect(self._heard, next(self._numbers), deadline)
        except BaseException:
            self._close_alarm()
            raise
        self._replies: dict[bytes, bytes] = {}
        """By the handle of a job that is held: what its client is to get when it is completed."""
        self._errors: dict[bytes, bytes] = {}
        """The same for one that will fail."""
        self._asker = Asker(lambda alarm, until: connect(alarm, 0, until)[0])
        self._taker = Taker(self._main, self._alarm, self._open, delayed=bool(capabilities.delay))

    def _open(self, deadline: float) -> Wire:
        return self._connect(self._heard, next(self._numbers), max(deadline, time.monotonic() + 1.0))[0]

    # Messages

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Sequence[str | UnimqError | None]:
        """Submit each as a background job of its own, all in one write."""
        return self._submit(queue, messages, deadline)

    def _submit(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> "list[str | UnimqError | None]":
        function = queue.encode()
        uniques = [message.unique or own for message, own in zip(messages, _names(len(messages)), strict=True)]
        requests = [_job(function, unique, message) for unique, message in zip(uniques, messages, strict=True)]
        call = Answers(len(messages))
        try:
            self._main.exchange(b"".join(requests), call, deadline)
        except _BROKEN as error:
            if not call.sent:
                raise _again(error, in_doubt=False) from error
            starts = itertools.accumulate(map(len, requests[:-1]), initial=0)
            broken = [_again(error, in_doubt=start < call.sent) for start in starts]
            answered = len(call.results)
            return [*self._submitted(call, uniques[:answered]), *broken[answered:]]
        return self._submitted(call, uniques)

    def _submitted(self, call: Call, uniques: Sequence[str]) -> "list[str | UnimqError | None]":
        label = self._main.label
        return [
            unique if answer[0] == packets.JOB_CREATED else refusal(label, answer)
            for answer, unique in zip(call.results, uniques, strict=True)
        ]

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        """Take jobs; the lease ends with the connection, and before that unimq ends it."""
        return self._taker.receive(queues, limit, deadline)

    def ack(self, deliveries: Sequence[Delivery], deadline: float) -> Sequence[UnimqError | None]:
        """Complete the jobs, each with a fence behind it: the server answers a completion only where it failed."""
        return self._settle(packets.WORK_COMPLETE, deliveries, deadline)

    def _settle(self, command: int, deliveries: Sequence[Delivery], deadline: float) -> list[UnimqError | None]:
        tokens = [delivery.token for delivery in deliveries]
        numbers = {number for number, _ in tokens}
        if len(numbers) == 1:
            return self._settle_on(numbers.pop(), command, [handle for _, handle in tokens], deadline)
        outcomes: list[UnimqError | None] = [None] * len(tokens)
        for number in numbers:
            positions = [position for position, token in enumerate(tokens) if token[0] == number]
            settled = self._settle_on(number, command, [tokens[position][1] for position in positions], deadline)
            for position, outcome in zip(positions, settled, strict=True):
                outcomes[position] = outcome
        return outcomes

    def _settle_on(
        self, number: int, command: int, handles: Sequence[bytes], deadline: float
    ) -> list[UnimqError | None]:
        wire = self._taker.wires[number]
        if command == packets.WORK_COMPLETE and not (self._replies or self._errors):
            request = packets.completions(handles)
        else:
            request = b"".join([self._end(command, handle) + packets.FENCE for handle in handles])
        call = Fences(len(handles))
        outcomes: list[UnimqError | None] = []
        try:
            wire.exchange(request, call, deadline)
        except _BROKEN as error:
            lost = _again(error, in_doubt=call.sent > 0)
            outcomes = [lost] * (len(handles) - len(call.results))
        wire.held.difference_update(handles)
        if call.failures:
            return [*(refusal(wire.label, answer) for answer in call.results), *outcomes]
        return [*[None] * len(call.results), *outcomes]

    def _end(self, command: int, handle: bytes) -> bytes:
        """What ends a job, with the reply for its client.

        An error is a warning before the failure. As an exception it would end the job, and clients that have not asked
        for exceptions would be told nothing.
        """
        reply, error = self._replies.pop(handle, b""), self._errors.pop(handle, None)
        if error is not None:
            return packet(packets.WORK_WARNING, handle, error) + packet(packets.WORK_FAIL, handle)
        return packet(command, handle, reply) if command == packets.WORK_COMPLETE else packet(command, handle)

    def move(
        self, queue: str, pairs: Sequence[tuple[Delivery, Outgoing]], deadline: float
    ) -> Sequence[str | UnimqError | None]:
        """Submit all, wait until they are stored, then fail the jobs: a client that waits for one is told so.

        In one write, a submit that is refused would be told after its job is gone.
        """
        outcomes = self._submit(queue, [message for _, message in pairs], deadline)
        stored = [position for position, outcome in enumerate(outcomes) if not isinstance(outcome, UnimqError)]
        settled = self._settle(packets.WORK_FAIL, [pairs[position][0] for position in stored], deadline)
        for position, lost in zip(stored, settled, strict=True):
            if lost is not None:
                outcomes[position] = lost
        return outcomes

    def extend(self, deliveries: Sequence[Delivery], seconds: float, deadline: float) -> Sequence[float | UnimqError]:
        """No clock of the server ends a lease."""
        return [seconds if self._holds(delivery) else self._lost(delivery) for delivery in deliveries]

    def _holds(self, delivery: Delivery) -> bool:
        return delivery.token[1] in self._taker.wires[delivery.token[0]].held

    def _lost(self, delivery: Delivery) -> LeaseLost:
        return LeaseLost(
            f"{self._main.label}: message {delivery.id!r} of queue {delivery.queue!r} is not held any more"
        )

    # Calling and replying

    def ask(self, queue: str, requests: Sequence[tuple[str, Outgoing]], deadline: float) -> Sequence[UnimqError | None]:
        """Submit each as a foreground job of its own, all in one write."""
        function = queue.encode()
        jobs = [
            (number, packet(packets.SUBMIT_FOREGROUND, function, os.urandom(16).hex().encode(), message.body))
            for number, message in requests
        ]
        return self._asker.ask(queue, jobs, deadline)

    def answers(self, deadline: float) -> Sequence[tuple[str, Delivery | Progress | UnimqError]]:
        """Wait for what comes of them."""
        return self._asker.answers(deadline)

    def forget(self, numbers: Sequence[str]) -> None:
        """What nobody has begun is forgotten with the connection."""
        self._asker.forget(numbers)

    def reply(
        self, delivery: Delivery, message: Outgoing, deadline: float, *, failed: bool = False
    ) -> UnimqError | None:
        """Keep it for what settles the job: so there is none of a try that did not come to its end."""
        if not self._holds(delivery):
            return self._lost(delivery)
        said = self._errors if failed else self._replies
        said.setdefault(delivery.token[1], message.body)
        return None

    def again(self, delivery: Delivery, deadline: float) -> bool:
        """Ask how many clients wait for the job; of one without a unique id that cannot be asked."""
        number, handle = delivery.token
        self._replies.pop(handle, None)
        if delivery.id is None or not self._holds(delivery):
            return False
        call = Status()
        self._taker.wires[number].exchange(packet(packets.GET_STATUS_UNIQUE, delivery.id.encode()), call, deadline)
        command, arguments = call.results[0]
        return command == packets.STATUS_RES_UNIQUE and arguments[-1] not in (b"", b"0")

    def progress(self, delivery: Delivery, progress: Progress, deadline: float) -> UnimqError | None:
        """Send it as the status of the job."""
        number, handle = delivery.token
        wire = self._taker.wires[number]
        call = Fences()
        status = packet(packets.WORK_STATUS, handle, *(b"%d" % number for number in progress))
        wire.exchange(status + packets.FENCE, call, deadline)
        return refusal(wire.label, call.results[0])

    # Looking after it

    def stats(self, queue: str, deadline: float) -> Stats:
        """Count, by the server's own table."""
        total, running = admin.status(self._main, deadline).get(queue, (0, 0))
        # What waits for its time is counted with what is ready, and cannot be told from it.
        return Stats(ready=total - running, leased=running, approximate=bool(self.capabilities.delay))

    def purge(self, queue: str, deadline: float) -> int:
        """Take and complete as many as there were, on a connection that this needs only if there are some."""
        total, running = admin.status(self._main, deadline).get(queue, (0, 0))
        if total <= running:
            return 0
        wire = self._open(deadline)
        try:
            return admin.drain(wire, queue, total - running, deadline)
        finally:
            wire.close()

    def queues(self, deadline: float) -> Sequence[str]:
        """The functions that have jobs."""
        return sorted(name for name, (total, _) in admin.status(self._main, deadline).items() if total)

    # The connection

    def ping(self, deadline: float) -> str:
        """Let it echo."""
        self._main.exchange(packets.FENCE, Fences(), deadline)
        return f"gearmand {self._version}"

    def interrupt(self) -> None:
        """Wake the receive that waits, or who waits for replies."""
        self._taker.interrupt()
        self._asker.interrupt()

    def close(self) -> None:
        """End the connections; the server gives their jobs back."""
        for wire in list(self._taker.wires.values()):
            wire.close()
        self._asker.close()
        self._close_alarm()

    def abandon(self) -> None:
        """Close a child process's copies of the descriptors, so that its parent's death ends the connections."""
        for wire in list(self._taker.wires.values()):
            wire.abandon()
        self._asker.abandon()
        self._close_alarm()

    def _close_alarm(self) -> None:
        for end in (self._heard, self._alarm):
            with contextlib.suppress(OSError):
                end.close()


def _names(count: int) -> list[str]:
    """Names of their own: a job without one would be taken for another that waits, and share its row in the store."""
    names = os.urandom(16 * count).hex()
    return [names[at : at + 32] for at in range(0, 32 * count, 32)]


def _job(function: bytes, unique: str, message: Outgoing) -> bytes:
    if not message.delay:
        # Jakarta's ten priorities in three equal parts, as the driver contract divides them.
        command = packets.SUBMIT_BACKGROUND[(9 - message.priority) * _LEVELS // 10]
        return packet(command, function, unique.encode(), message.body)
    due = math.ceil(time.time() + message.delay)
    return packet(packets.SUBMIT_JOB_EPOCH, function, unique.encode(), str(due).encode(), message.body)


def _again(error: UnimqError, *, in_doubt: bool) -> UnimqError:
    """The same error, as sure as it is for one member."""
    made: Any = type(error)
    copy: UnimqError = made(str(error), in_doubt=in_doubt)
    copy.__cause__ = error
    return copy
