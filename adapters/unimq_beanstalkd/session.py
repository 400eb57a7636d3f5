"""A session with beanstalkd: what the contract asks, said in its protocol."""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import greenstalk
import msgspec

from unimq.capabilities import Capabilities
from unimq.driver import GRACE, POLL_GRACE, BaseSession, Delivery, Outgoing, Stats
from unimq.errors import ConnectionLost, LeaseLost, ProtocolError, ServerError, Timeout, UnimqError
from unimq_beanstalkd.messages import WINDOW, Outcome, inserted, portable_priority, put_command, unknown, windows
from unimq_beanstalkd.waiting import Waiting
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
        self._watching = {"default"}
        self._held: dict[int, Delivery] = {}
        self._forget_at = 1000
        self._waiting = Waiting()
        self._turn = 0

    # Puts

    def send(self, queue: str, messages: Sequence[Outgoing], deadline: float) -> Sequence[Outcome]:
        """Put them, in windows that are written at once."""
        wire = self._ready(deadline)
        outcomes: list[Outcome] = []
        for window in windows(messages):
            written = len(outcomes) + len(window)
            use = self._use(queue)
            try:
                wire.write(use + b"".join(map(put_command, window)), deadline)
                if use:
                    self._must(wire.reply(b"USING", deadline + GRACE))
                for _ in window:  # not in one go: what was answered before a failure counts
                    outcomes.append(inserted(wire.reply(b"INSERTED", deadline + GRACE)))  # noqa: PERF401
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
        jobs = self._favoured(wire, queues, limit) if len(queues) > 1 else []
        if not jobs:
            jobs = self._waited(wire, queues, limit, deadline)
        deliveries = self._described(wire, jobs)
        wire.used()
        return deliveries

    def interrupt(self) -> None:
        """Wake a receive; where the server waits for it, only breaking the connection does."""
        self._waiting.end()

    def beat(self, deadline: float) -> None:
        """Say something: the server ends leases of a silent connection only then (it forgets about half of them)."""
        if not self._waiting.broke_off:
            self._must(self._ready(deadline).ask(b"list-tube-used", b"USING", deadline + GRACE))
            self._wire.used()

    def _favoured(self, wire: Wire, queues: Sequence[str], limit: int) -> list[tuple[int, bytes]]:
        """Poll one of several queues, each in its turn: by itself the server takes the oldest of all."""
        self._turn += 1
        return self._reserve(wire, [queues[self._turn % len(queues)]], limit, 0, time.monotonic())

    def _waited(self, wire: Wire, queues: Sequence[str], limit: int, deadline: float) -> list[tuple[int, bytes]]:
        """Ask until something is there, the deadline is over or `interrupt` is called."""
        self._waiting.begin()
        while True:
            rest = deadline - time.monotonic()
            seconds = Waiting.whole_seconds(rest)
            if seconds and not self._waiting.blocks(wire):
                return []
            try:
                jobs = self._reserve(wire, queues, limit, seconds, time.monotonic() + seconds)
            except ConnectionLost:
                if not self._waiting.ended:
                    raise
                return []  # broken off by us: the next call connects again
            finally:
                self._waiting.unblocks()
            if jobs or self._waiting.ended or deadline <= time.monotonic():
                return jobs
            self._waiting.rest(deadline)  # also where the server waited: it answers at once while a lease ends soon

    def _reserve(
        self, wire: Wire, queues: Sequence[str], limit: int, seconds: int, until: float
    ) -> list[tuple[int, bytes]]:
        """Up to `limit` jobs, the first of which may take `seconds` to come."""
        count = min(limit, WINDOW)
        commands, watches = self._watch(queues)
        rest = b"reserve-with-timeout 0\r\n" * (count - 1)
        wire.write(commands + b"reserve-with-timeout %d\r\n" % seconds + rest, until + POLL_GRACE)
        for _ in range(watches):
            self._must(wire.reply(b"WATCHING", until + POLL_GRACE))
        jobs: list[tuple[int, bytes]] = []
        for _ in range(count):
            words = wire.reply(b"RESERVED", until + POLL_GRACE)
            if not isinstance(words, UnimqError):
                jobs.append((wire.numbers(words)[0], wire.body(words, until + POLL_GRACE)))
        return jobs

    def _described(self, wire: Wire, jobs: list[tuple[int, bytes]]) -> list[Delivery]:
        """The jobs with what only `stats-job` tells: tube, priority, lease, and how often it was reserved."""
        if not jobs:
            return []
        now = time.monotonic()
        wire.write(b"".join(b"stats-job %d\r\n" % number for number, _ in jobs), now + POLL_GRACE)
        found: list[Delivery] = []
        for number, body in jobs:
            words = wire.reply(b"OK", now + POLL_GRACE)
            if isinstance(words, UnimqError):
                continue  # its lease is over already, and somebody has removed it
            told = dict(
                line.split(b": ", 1) for line in wire.body(words, now + POLL_GRACE).split(b"\n") if b": " in line
            )
            found.append(self._delivery(number, body, told, now))
        self._hold(found)
        return found

    def _hold(self, found: list[Delivery]) -> None:
        if len(self._held) > self._forget_at:
            now = time.monotonic()
            self._held = {n: one for n, one in self._held.items() if one.lease_until is None or one.lease_until > now}
            self._forget_at = 1000 + 2 * len(self._held)
        self._held.update((one.token[0], one) for one in found)

    def _delivery(self, number: int, body: bytes, told: dict[bytes, bytes], now: float) -> Delivery:
        wire = self._wire
        try:
            priority, lease, count = wire.numbers([told[b"pri"], told[b"ttr"], told[b"reserves"]])
            queue = told[b"tube"].strip(b'"').decode("ascii")
        except (KeyError, UnicodeDecodeError) as error:
            wire.broken = True
            msg = f"{wire.label}: stats-job does not tell what it should: is this a beanstalkd?"
            raise ProtocolError(msg) from error
        return Delivery(
            queue,
            body,
            (number, priority, lease),
            id=str(number),
            priority=portable_priority(priority),
            delivery_count=count,
            redelivered=count > 1,
            lease_until=now + lease,
            native=greenstalk.Job(number, body),
        )

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
        for position, refused in zip(stored, self.ack([pairs[p][0] for p in stored], deadline), strict=True):
            outcomes[position] = refused or outcomes[position]
        return outcomes

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
        outcomes: list[UnimqError | None] = [None if self._holds(one) else self._lease_lost() for one in deliveries]
        ours = [position for position, outcome in enumerate(outcomes) if outcome is None]
        for start in range(0, len(ours), WINDOW):
            window = ours[start : start + WINDOW]
            wire.write(b"".join(command(deliveries[position].token) for position in window), deadline)
            for position in window:
                reply = wire.reply(expected, deadline + GRACE)
                if not keep:
                    self._held.pop(deliveries[position].token[0], None)
                if isinstance(reply, UnimqError):
                    outcomes[position] = self._lease_lost() if _is_gone(reply) else reply
        wire.used()
        return outcomes

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
            self._must(wire.reply(b"USING", deadline + GRACE))
        words = wire.reply(b"FOUND", deadline + GRACE)
        if isinstance(words, UnimqError):
            wire.used()
            return []
        number, body = wire.numbers(words)[0], wire.body(words, deadline + GRACE)
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
            self._must(wire.reply(b"USING", deadline + GRACE))
        counts = {state: int(told[f"current-jobs-{state}"]) for state in ("ready", "delayed", "buried")}
        return sum(self._purge(wire, state, count, deadline) for state, count in counts.items())

    def _purge(self, wire: Wire, state: str, count: int, deadline: float) -> int:
        for removed in range(count):
            words = wire.ask(b"peek-" + state.encode(), b"FOUND", deadline + GRACE)
            if isinstance(words, UnimqError):
                return removed
            wire.body(words, deadline + GRACE)
            wire.ask(b"delete %d" % wire.numbers(words)[0], b"DELETED", deadline + GRACE)
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
        commands, watches = self._watch(["default"])
        wire.write(use := self._use("default"), deadline)
        if use:
            self._must(wire.reply(b"USING", deadline + GRACE))
        wire.write(commands, deadline)
        for _ in range(watches):
            self._must(wire.reply(b"WATCHING", deadline + GRACE))
        wire.used()

    def queues(self, deadline: float) -> Sequence[str]:
        """The tubes, but for the one that is always there and empty."""
        wire = self._ready(deadline)
        words = self._must(wire.ask(b"list-tubes", b"OK", deadline + GRACE))
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
        self._waiting.end()
        self._wire.close()

    # The conversation

    def _ready(self, deadline: float) -> Wire:
        """The connection, made again where a wait was broken off, and looked at where it rested."""
        if self._waiting.broke_off:
            self._wire.close()
            self._wire = self._connect(max(deadline, time.monotonic() + POLL_GRACE))
            self._using, self._watching = "default", {"default"}
            self._held.clear()
            self._waiting = Waiting()
        self._wire.look()
        return self._wire

    def _use(self, queue: str) -> bytes:
        """The command that makes `queue` the one that is put to, where it is not."""
        if self._using == queue:
            return b""
        self._using = queue
        return b"use %s\r\n" % queue.encode()

    def _watch(self, queues: Sequence[str]) -> tuple[bytes, int]:
        """The commands that make `queues` those that are reserved from, and how many they are."""
        wanted = set(queues)
        commands = [b"watch %s\r\n" % name.encode() for name in sorted(wanted - self._watching)]
        commands += [b"ignore %s\r\n" % name.encode() for name in sorted(self._watching - wanted)]
        self._watching = wanted
        return b"".join(commands), len(commands)

    def _must(self, reply: list[bytes] | UnimqError) -> list[bytes]:
        """A reply that can only be the expected one."""
        if isinstance(reply, UnimqError):
            self._wire.broken = True
            msg = f"{self._wire.label}: out of step: {reply}"
            raise ProtocolError(msg) from reply
        return reply


def _is_gone(reply: UnimqError) -> bool:
    return isinstance(reply.__cause__, greenstalk.NotFoundError)
