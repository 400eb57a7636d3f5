"""A session with beanstalkd: what the contract asks, said in its protocol."""

import math
import time
from collections.abc import Callable, Sequence
from itertools import compress
from typing import Any, Final, Literal

import greenstalk
import msgspec

from unimq.capabilities import Capabilities
from unimq.driver import GRACE, POLL_GRACE, BaseSession, Delivery, Outgoing, Stats
from unimq.errors import ConnectionLost, LeaseLost, ProtocolError, ServerError, Timeout, UnimqError
from unimq_beanstalkd.messages import WINDOW, Outcome, portable_priority, put_commands, unknown, windows
from unimq_beanstalkd.taking import Taking
from unimq_beanstalkd.wire import Wire

__all__ = ["BeanstalkdSession"]

_NOTHING: Final = Stats(ready=0, delayed=0, leased=0)


class BeanstalkdSession(BaseSession):
    """One connection. Messages are settled where they were received; a wait for some can only be broken off."""

    settling: Literal["same-session"] = "same-session"
    beat_every = 10.0

    def __init__(self, wire: Wire, capabilities: Capabilities, connect: Callable[[float], Wire]) -> None:
        self.capabilities = capabilities
        self._wire = wire
        self._connect = connect
        self._using = "default"
        self._held: dict[int, Delivery] = {}
        self._forget_at = 1000
        self._taking = Taking(wire)

    # Puts

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Sequence[Outcome]:
        """Put them, in windows that are written at once."""
        wire = self._ready(deadline)
        outcomes: list[Outcome] = []
        for window in windows(messages):
            written = len(outcomes) + len(window)
            use = self._use(queue)
            try:
                wire.write(use + put_commands(window), deadline)
                if use:
                    wire.must(b"USING", deadline + GRACE)
                while len(outcomes) < written:  # not in one go: what was answered before a failure counts
                    for line in wire.lines(written - len(outcomes), deadline + GRACE):
                        stored = line.startswith(b"INSERTED ")
                        outcomes.append(line[9:].decode() if stored else wire.refusal(line.split()))
            except (ConnectionLost, Timeout, ProtocolError) as error:
                if not outcomes and not error.in_doubt:
                    raise
                return [*outcomes, *unknown(error, written - len(outcomes), len(messages) - written)]
        wire.used()
        return outcomes

    # Gets

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        """Reserve what is there, else wait for the first."""
        wire = self._ready(deadline)
        deliveries = self._taking.receive(queues, limit, deadline)
        self._hold(deliveries)
        wire.used()
        return deliveries

    def interrupt(self) -> None:
        """Wake a receive; where the server waits for it, only breaking the connection does."""
        self._taking.waiting.end()

    def beat(self, deadline: float) -> None:
        """Say something: the server ends leases of a silent connection only then (it forgets about half of them)."""
        if not self._taking.waiting.broke_off:
            wire = self._ready(deadline)
            wire.write(b"list-tube-used\r\n", deadline)
            wire.must(b"USING", deadline + GRACE)
            wire.used()

    def _hold(self, found: list[Delivery]) -> None:
        if len(self._held) > self._forget_at:
            now = time.monotonic()
            self._held = {n: one for n, one in self._held.items() if one.lease_until is None or one.lease_until > now}
            self._forget_at = 1000 + 2 * len(self._held)
        for one in found:
            self._held[one.token[0]] = one

    # Settling

    def ack(self, deliveries: Sequence[Delivery], deadline: float) -> Sequence[UnimqError | None]:
        """Delete them."""
        return self._settle(deliveries, lambda token: b"delete %d\r\n" % token[0], b"DELETED", deadline)

    def release(
        self, deliveries: Sequence[Delivery], delay: float, deadline: float, *, unseen: bool = False
    ) -> Sequence[UnimqError | None]:
        """Release them, with the priority that they had; the server counts all of them."""
        wait = math.ceil(delay)
        return self._settle(
            deliveries, lambda token: b"release %d %d %d\r\n" % (*token[:2], wait), b"RELEASED", deadline
        )

    def extend(self, deliveries: Sequence[Delivery], seconds: float, deadline: float) -> Sequence[float | UnimqError]:
        """Touch them: the lease of each put begins again."""
        before = time.monotonic()
        touched = self._settle(deliveries, lambda token: b"touch %d\r\n" % token[0], b"TOUCHED", deadline, keep=True)
        outcomes: list[float | UnimqError] = []
        for delivery, refused in zip(deliveries, touched, strict=True):
            number, _, lease = delivery.token
            if refused is None:
                self._held[number] = msgspec.structs.replace(delivery, lease_until=before + lease)
            outcomes.append(float(lease) if refused is None else refused)
        return outcomes

    def move(self, queue: str, pairs: Sequence[tuple[Delivery, Outgoing]], deadline: float) -> Sequence[Outcome]:
        """Put the messages, then delete the deliveries of those that were stored."""
        held = [self._holds(delivery) for delivery, _ in pairs]
        sent = iter(
            self.send(queue, [message for ours, (_, message) in zip(held, pairs, strict=True) if ours], deadline)
        )
        outcomes: list[Outcome] = [next(sent) if ours else self._lease_lost() for ours in held]
        stored = [position for position, outcome in enumerate(outcomes) if not isinstance(outcome, UnimqError)]
        needless: list[Outcome] = []
        for position, refused in zip(stored, self.ack([pairs[p][0] for p in stored], deadline), strict=True):
            if isinstance(refused, LeaseLost):
                needless.append(outcomes[position])
            outcomes[position] = refused or outcomes[position]
        self._take_back(needless, deadline)
        return outcomes

    def _take_back(self, ids: Sequence[Outcome], deadline: float) -> None:
        """Delete what was put for a delivery that turned out to be gone, unless somebody has it already."""
        if ids:
            wire = self._ready(deadline)
            wire.write(b"".join([b"delete %d\r\n" % int(str(one)) for one in ids]), deadline)
            for _ in ids:
                wire.reply(b"DELETED", deadline + GRACE)
            wire.used()

    def _settle(
        self,
        deliveries: Sequence[Delivery],
        command: Callable[[Any], bytes],
        expected: bytes,
        deadline: float,
        *,
        keep: bool = False,
    ) -> list[UnimqError | None]:
        """One command for each that is still ours.

        An ended lease is refused here: the server would delete the message, on its way to somebody else or not.
        """
        wire = self._ready(deadline)
        outcomes: list[UnimqError | None] = []
        for start in range(0, len(deliveries), WINDOW):
            window = deliveries[start : start + WINDOW]
            held = [self._holds(one) for one in window]
            ours = list(compress(window, held))
            answers = self._answers(wire, [command(one.token) for one in ours], expected, deadline)
            if not keep:
                for one in ours:
                    self._held.pop(one.token[0], None)
            # As a rule they are all ours.
            answer = iter(answers)
            outcomes += (
                answers
                if len(ours) == len(window)
                else [next(answer) if is_ours else self._lease_lost() for is_ours in held]
            )
        wire.used()
        return outcomes

    def _answers(
        self, wire: Wire, commands: Sequence[bytes], expected: bytes, deadline: float
    ) -> list[UnimqError | None]:
        """What became of each command, whose answers are lines."""
        answers: list[UnimqError | None] = []
        wire.write(b"".join(commands), deadline)
        while len(answers) < len(commands):
            lines = wire.lines(len(commands) - len(answers), deadline + GRACE)
            answers += [None if line == expected else self._refusal(wire.refusal(line.split())) for line in lines]
        return answers

    def _refusal(self, said: UnimqError) -> UnimqError:
        return self._lease_lost() if isinstance(said.__cause__, greenstalk.NotFoundError) else said

    def _holds(self, delivery: Delivery) -> bool:
        held = self._held.get(delivery.token[0])
        return held is not None and held.lease_until is not None and held.lease_until > time.monotonic()

    def _lease_lost(self) -> LeaseLost:
        return LeaseLost(f"{self._wire.label}: the lease of this message is over; it is, or will be, delivered again")

    # Looking after queues

    def peek(self, queue: str, limit: int, deadline: float) -> Sequence[Delivery]:
        """Show the next message: the protocol shows no more."""
        wire = self._ready(deadline)
        use = self._use(queue)
        wire.write(use + b"peek-ready\r\n", deadline)
        if use:
            wire.must(b"USING", deadline + GRACE)
        words = wire.reply(b"FOUND", deadline + GRACE)
        if isinstance(words, UnimqError):
            wire.used()
            return []
        number, body = wire.job(words, deadline + GRACE)
        told = wire.table(b"stats-job %d" % number, deadline + GRACE)
        wire.used()
        if told is None:
            return []  # somebody has it by now
        count = int(told["reserves"])
        return [
            Delivery(
                queue,
                body,
                id=str(number),
                priority=portable_priority(int(told["pri"])),
                delivery_count=count,
                redelivered=count > 0,
                native=greenstalk.Job(number, body),
            )
        ]

    def stats(self, queue: str, deadline: float) -> Stats:
        """By state; a tube that is not there is empty."""
        told = self._ready(deadline).table(b"stats-tube " + queue.encode(), deadline + GRACE)
        self._wire.used()
        if told is None:
            return _NOTHING
        ready, delayed, leased = (int(told[f"current-jobs-{state}"]) for state in ("ready", "delayed", "reserved"))
        return Stats(ready=ready, delayed=delayed, leased=leased)

    def purge(self, queue: str, deadline: float) -> int:
        """Delete what is ready, delayed or buried, at most what was so at the start."""
        wire = self._ready(deadline)
        told = wire.table(b"stats-tube " + queue.encode(), deadline + GRACE)
        wire.used()
        if told is None:
            return 0
        wire.write(use := self._use(queue), deadline)
        if use:
            wire.must(b"USING", deadline + GRACE)
        counts = {state: int(told[f"current-jobs-{state}"]) for state in ("ready", "delayed", "buried")}
        return sum(self._purge(wire, state, count, deadline) for state, count in counts.items())

    def _purge(self, wire: Wire, state: str, count: int, deadline: float) -> int:
        for removed in range(count):
            words = wire.ask(b"peek-" + state.encode(), b"FOUND", deadline + GRACE)
            if isinstance(words, UnimqError):
                return removed
            number, _ = wire.job(words, deadline + GRACE)
            wire.ask(b"delete %d" % number, b"DELETED", deadline + GRACE)
            wire.used()
        return count

    def delete(self, queue: str, deadline: float) -> None:
        """Remove all that it holds; a tube without messages and users is gone."""
        self.ack([held for held in list(self._held.values()) if held.queue == queue], deadline)
        while self.purge(queue, deadline):
            pass
        self._leave(deadline)
        left = self.stats(queue, deadline).leased
        if left:
            msg = f"{self._wire.label}: {left} messages of {queue} are held by other connections, and stay"
            raise ServerError(msg)

    def _leave(self, deadline: float) -> None:
        """Use and watch nothing but the tube that is always there."""
        wire = self._ready(deadline)
        commands, watches = self._taking.watch(["default"])
        wire.write(use := self._use("default"), deadline)
        if use:
            wire.must(b"USING", deadline + GRACE)
        wire.write(commands, deadline)
        for _ in range(watches):
            wire.must(b"WATCHING", deadline + GRACE)
        wire.used()

    def queues(self, deadline: float) -> Sequence[str]:
        """The tubes, but for the one that is always there and empty."""
        wire = self._ready(deadline)
        wire.write(b"list-tubes\r\n", deadline)
        words = wire.must(b"OK", deadline + GRACE)
        lines = wire.body(words, deadline + GRACE).decode("ascii").splitlines()[1:]
        wire.used()
        names = {line.removeprefix("- ").strip('"') for line in lines}
        if self.stats("default", deadline) == _NOTHING:
            names.discard("default")
        return sorted(names)

    def ping(self, deadline: float) -> str:
        """The version that the server tells."""
        told = self._ready(deadline).table(b"stats", deadline + GRACE) or {}
        self._wire.used()
        return f"beanstalkd {told.get('version', '').strip(chr(34))}".strip()

    def abandon(self) -> None:
        """Close the child's copy of the socket."""
        self._wire.abandon()

    def close(self) -> None:
        """End the connection; what it held is delivered again."""
        self._taking.waiting.end()
        self._wire.close()

    # The conversation

    def _ready(self, deadline: float) -> Wire:
        """The connection, made again where a wait was broken off, and looked at where it rested."""
        if self._taking.waiting.broke_off:
            self._wire.close()
            self._wire = self._connect(max(deadline, time.monotonic() + POLL_GRACE))
            self._using, self._taking = "default", Taking(self._wire)
            self._held.clear()
        self._wire.look()
        return self._wire

    def _use(self, queue: str) -> bytes:
        """The command that makes `queue` the one that is put to, where it is not."""
        if self._using == queue:
            return b""
        self._using = queue
        return b"use %s\r\n" % queue.encode()
