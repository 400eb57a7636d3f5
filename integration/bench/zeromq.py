"""unimq beside bare pyzmq, on one machine: `make bench BACKEND=zeromq`.

A store in memory that another process holds, over tcp, beside a DEALER and a ROUTER that echoes: medians of single
operations. Push-pull over ipc, with both ends in this process, beside a PUSH and a PULL with the same frames, one by
one. In every second round the other side comes first; a ratio is the median of each round's own.
"""

import argparse
import contextlib
import multiprocessing
import os
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Final

import zmq
from bench.compare import Cost, cost, machine
from bench.ours import HUNDRED, Ours

import unimq
from unimq.driver import Outgoing
from unimq.options import values
from unimq_zeromq.driver import driver

BODY: Final = os.urandom(100)
OUTGOING: Final = Outgoing(BODY)
SINGLE: Final = 300
"""Operations of a kind in a round, of which the median is taken."""
MANY: Final = 1000
"""Messages of a round in batches; a pipe takes as many without waiting for a reader."""
SETTLED: Final = 0.02
"""Seconds after which what was put is at the other end, and who asked for a message waits for it."""
STORE: Final = "memory://bench"


@dataclass(frozen=True)
class Row:
    """What unimq takes for something, beside what another takes."""

    what: str
    ours: Callable[[], Cost]
    beside: str = ""
    other: Callable[[], Cost] | None = None
    goal: str = ""
    """A ratio: unimq's speed in the other's; or a time."""


def each(work: Callable[[], object]) -> Cost:
    """The median time of `work`, and its processor time."""
    times: list[float] = []

    def all_of_them() -> None:
        for _ in range(SINGLE):
            start = time.perf_counter()
            work()
            times.append((time.perf_counter() - start) * 1e6)

    processor = cost(all_of_them, SINGLE).processor
    return Cost(statistics.median(times), processor)


# Served


def echo(at: str) -> None:
    """Be a ROUTER that sends back what comes."""
    router: zmq.Socket[bytes] = zmq.Context().socket(zmq.ROUTER)
    router.bind(at)
    while True:
        router.send_multipart(router.recv_multipart())


def hold(at: str, told: "Connection[int, int]") -> None:
    """Be a holder that puts the time into its own store, a moment after it was told to."""
    with unimq.serve(STORE, at=at), unimq.Queue(f"{STORE}/times") as queue:
        while True:
            told.recv()
            time.sleep(SETTLED)
            queue.put(time.perf_counter())


class Served:
    """A holder, its client, and an echo."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        context = multiprocessing.get_context("spawn")
        holder, echoing = (f"tcp://127.0.0.1:{free_port()}" for _ in range(2))
        self.tell, told = context.Pipe()
        for work, given in ((hold, (f"zeromq+{holder}", told)), (echo, (echoing,))):
            process = context.Process(target=work, args=given, daemon=True)
            process.start()
            stack.callback(process.join)
            stack.callback(process.kill)
        self.dealer: zmq.Socket[bytes] = zmq.Context().socket(zmq.DEALER)
        self.dealer.connect(echoing)
        self.echo()
        url = f"zeromq+{holder}?connect_timeout=20s"
        self.ours = Ours(unimq.URL.parse(url), "bench")
        self.times = stack.enter_context(unimq.Queue(url, name="times", type=float))
        stack.callback(self.ours.close)

    def echo(self, times: int = 1) -> None:
        """A round trip of a body."""
        for _ in range(times):
            self.dealer.send(BODY)
            self.dealer.recv()

    def batches(self) -> None:
        """A hundred at a time: there, back, and acknowledged."""
        self.ours.put_batches(MANY, BODY)
        self.ours.get_ack_batches(MANY)

    def woken(self) -> Cost:
        """From a put of the holder's process to the end of a get that waits here."""
        times: list[float] = []
        for _ in range(10):
            self.tell.send(1)
            message = self.times.get(timeout=5)
            times.append((time.perf_counter() - message.body) * 1e6)
            message.ack()
        return Cost(statistics.median(times), 0)

    def rows(self) -> Sequence[Row]:
        """What is compared."""
        put, get = (lambda: self.ours.put(1, BODY)), (lambda: self.ours.get_ack(1))
        return (
            Row("put", lambda: each(put), "an echo", lambda: each(self.echo), "0.50"),
            Row("get and ack", lambda: each(get), "two echoes", lambda: each(lambda: self.echo(2))),
            Row("put, get and ack, batches of 100", lambda: cost(self.batches, MANY), goal="50 us"),
            Row("a put at the holder reaches a get that waits", self.woken, goal="2,000 us"),
        )


# Push-pull


class PushPull:
    """A queue of the face, a session of the driver, and bare sockets, each with a socket's path of its own."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="unimq-"))
        url = unimq.URL.parse(f"zeromq+ipc://{folder}?pattern=push-pull")
        self.ours = Ours(url, "face")
        stack.callback(self.ours.close)
        self.session = driver.open(url, time.monotonic() + 5, options=values(url, driver.options))
        stack.callback(self.session.close)
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        self.push, self.pull = context.socket(zmq.PUSH), context.socket(zmq.PULL)
        self.pull.bind(f"ipc://{folder}/bare")
        self.push.connect(f"ipc://{folder}/bare")

    def bare_put(self) -> None:
        """One by one."""
        for _ in range(MANY):
            self.push.send(BODY)

    def bare_get(self) -> None:
        """One by one, of as many frames as each has."""
        for _ in range(MANY):
            self.pull.recv_multipart()

    def session_put(self) -> None:
        """A hundred at a time."""
        for _ in range(MANY // HUNDRED):
            self.session.send("driver", [OUTGOING] * HUNDRED, time.monotonic() + 5)

    def session_get(self) -> None:
        """A hundred at a time."""
        left = MANY
        while left:
            left -= len(self.session.receive(["driver"], min(left, HUNDRED), 60.0, time.monotonic() + 5))

    def rows(self) -> Sequence[Row]:
        """What is compared; what one puts, the next gets."""
        beside = "pyzmq one by one"

        def timed(work: Callable[[], None]) -> Callable[[], Cost]:
            def measured() -> Cost:
                time.sleep(SETTLED)
                return cost(work, MANY)

            return measured

        bare = timed(self.bare_put), timed(self.bare_get)
        again = timed(self.bare_put), timed(self.bare_get)
        face = (lambda: self.ours.put_batches(MANY, BODY)), (lambda: self.ours.get_ack_batches(MANY))
        return (
            Row("push-pull, the driver: put, batches of 100", timed(self.session_put), beside, bare[0], "1.00"),
            Row("push-pull, the driver: get, batches of 100", timed(self.session_get), beside, bare[1], "1.00"),
            Row("push-pull: put, batches of 100", timed(face[0]), beside, again[0], "0.20"),
            Row("push-pull: get and ack, batches of 100", timed(face[1]), beside, again[1], "0.20"),
        )


# The table


def free_port() -> int:
    """One that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def one_round(rows: Sequence[Row], turn: int) -> dict[str, tuple[Cost, Cost | None]]:
    """Every row: unimq first, and the other one first, by turns."""
    found: dict[str, tuple[Cost, Cost | None]] = {}
    for row in rows:
        other = None if row.other is None or turn % 2 else row.other()
        ours = row.ours()
        found[row.what] = (ours, row.other() if row.other is not None and turn % 2 else other)
    return found


def line(row: Row, rounds: Sequence[tuple[Cost, Cost | None]]) -> str:
    """One of the table."""
    sides = [[ours for ours, _ in rounds], [other for _, other in rounds if other is not None]]
    cells = [
        f"{statistics.median(getattr(one, figure) for one in side):.1f}" if side else ""
        for figure in ("time", "processor")
        for side in sides
    ]
    ratios = [other.time / ours.time for ours, other in rounds if other is not None]
    ratio = f"{statistics.median(ratios):.2f}" if ratios else ""
    return f"| {row.what} | {row.beside} | {' | '.join(cells)} | {ratio} | {row.goal} |"


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description="unimq on ZeroMQ beside bare pyzmq")
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    with contextlib.ExitStack() as stack:
        rows = [*Served(stack).rows(), *PushPull(stack).rows()]
        one_round(rows, 0)
        found = [one_round(rows, turn) for turn in range(rounds)]
    print(f"{machine()}; libzmq {zmq.zmq_version()}; bodies of {len(BODY)} bytes; medians of {rounds} rounds\n")
    print("| operation | beside | unimq, us | other, us | unimq, CPU us | other, CPU us | ratio | goal |")
    print("|---|---|--:|--:|--:|--:|--:|--:|")
    for row in rows:
        print(line(row, [one[row.what] for one in found]))


if __name__ == "__main__":
    main()
