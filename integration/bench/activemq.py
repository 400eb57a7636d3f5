"""unimq beside bare stomp.py on the same broker: `python integration/bench/activemq.py activemq://user:pw@host/x`.

Every round runs both, one after the other, on queues of their own, so that a slow moment meets them both; a ratio is
the median of each round's own. Bare means stomp.py as a careful user has it: bytes, persistent messages, a receipt for
each exchange, and TCP_NODELAY, which stomp.py leaves off.
"""

import argparse
import itertools
import os
import queue
import socket
import statistics
import threading
import time
from typing import Any

import stomp
from ours import HUNDRED, Ours, rate

import unimq


class Bare(stomp.ConnectionListener):
    """A connection of stomp.py, and the work by hand."""

    def __init__(self, url: unimq.URL, name: str) -> None:
        host = url.hosts[0]
        self.where = f"/queue/{name}"
        self.connection = stomp.Connection12(
            [(host.name, host.port or 61613)], auto_decode=False, try_loopback_connect=False
        )
        self.connection.set_listener("", self)
        self.connection.connect(url.user, url.password, wait=True)
        self.connection.transport.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.receipts: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.messages: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.names = map(str, itertools.count())

    def on_receipt(self, frame: Any) -> None:
        """One exchange is over."""
        self.receipts.put(frame)

    def on_message(self, frame: Any) -> None:
        """One more."""
        self.messages.put(frame)

    def put(self, n: int, body: bytes) -> None:
        """One by one."""
        for _ in range(n):
            self.connection.send(self.where, body, persistent="true", receipt=next(self.names))
            self.receipts.get(timeout=30)

    def put_batches(self, n: int, body: bytes) -> None:
        """A hundred in a transaction."""
        for _ in range(n // HUNDRED):
            transaction = self.connection.begin()
            for _ in range(HUNDRED):
                self.connection.send(self.where, body, persistent="true", transaction=transaction)
            self.connection.commit(transaction, receipt=next(self.names))
            self.receipts.get(timeout=30)

    def get_ack(self, n: int, ahead: int = 1) -> None:
        """A standing subscription; acknowledged one by one, or a hundred with one receipt."""
        name = next(self.names)
        self.connection.subscribe(self.where, name, "client-individual", {"activemq.prefetchSize": str(ahead)})
        for _ in range(n // ahead):
            for number in range(ahead):
                frame = self.messages.get(timeout=30)
                if number < ahead - 1:
                    self.connection.ack(frame.headers["ack"])
                else:
                    self.connection.ack(frame.headers["ack"], receipt=next(self.names))
            self.receipts.get(timeout=30)
        self.connection.unsubscribe(name, receipt=next(self.names))
        self.receipts.get(timeout=30)

    def close(self) -> None:
        """Leave."""
        self.connection.disconnect()


def one_round(url: unimq.URL, size: int, n: int) -> dict[str, tuple[float, float]]:
    """The rates of both for each operation."""
    body = os.urandom(size)
    name = f"bench-{os.urandom(6).hex()}"
    bare, ours = Bare(url, f"{name}-b"), Ours(url, f"{name}-o")
    few = max(HUNDRED, n // 10 // HUNDRED * HUNDRED)
    found: dict[str, tuple[float, float]] = {}
    try:
        found["put"] = rate(lambda: ours.put(few, body), few), rate(lambda: bare.put(few, body), few)
        found["get and ack"] = rate(lambda: ours.get_ack(few), few), rate(lambda: bare.get_ack(few), few)
        for what, take, by_hand in (
            ("get_many(100) and ack", ours.get_ack_batches, lambda: bare.get_ack(n, HUNDRED)),
            ("consume(100)", lambda n: ours.consume(n, HUNDRED), lambda: bare.get_ack(n, HUNDRED)),
            ("consume(10), by hand prefetch 1", lambda n: ours.consume(n, 10), lambda: bare.get_ack(n, 1)),
        ):
            stored = rate(lambda: ours.put_batches(n, body), n), rate(lambda: bare.put_batches(n, body), n)
            found.setdefault("put_many(100)", stored)
            found[what] = rate(lambda take=take: take(n), n), rate(by_hand, n)
    finally:
        bare.close()
        ours.close()
    return found


def latency(url: unimq.URL, tries: int) -> list[float]:
    """Milliseconds from a put to its message in a get that waits on another connection."""
    name = f"bench-{os.urandom(6).hex()}"
    taker, putter = unimq.Queue(url.with_queue(name)), unimq.Queue(url.with_queue(name))
    taken: queue.SimpleQueue[float] = queue.SimpleQueue()

    def take() -> None:
        for _ in range(tries):
            message = taker.get(timeout=10)
            taken.put(time.perf_counter())
            message.ack()

    thread = threading.Thread(target=take)
    thread.start()
    found: list[float] = []
    for _ in range(tries):
        time.sleep(0.01)
        start = time.perf_counter()
        putter.put("x")
        found.append((taken.get(timeout=10) - start) * 1000)
    thread.join()
    taker.close()
    putter.close()
    return found


def main() -> None:
    """Print a table for each size of body."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--sizes", type=int, nargs="*", default=[100, 1024, 65536])
    asked = parser.parse_args()
    url = unimq.URL.parse(asked.url)
    one_round(url, 100, 1000)  # warms the broker up
    print("| body | operation | unimq, msgs/s | stomp.py, msgs/s | ratio |\n|--:|---|--:|--:|--:|")
    for size in asked.sizes:
        n = max(200, asked.messages // (10 if size > 10_000 else 1) // 100 * 100)
        rounds = [one_round(url, size, n) for _ in range(asked.rounds)]
        for what in rounds[0]:
            ours, theirs = ([one[what][side] for one in rounds] for side in (0, 1))
            ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
            print(
                f"| {size} | {what} | {statistics.median(ours):.0f} | {statistics.median(theirs):.0f} | {ratio:.2f} |"
            )
    told = statistics.quantiles(latency(url, 300), n=100)
    print(f"\nfrom a put to a get that waits: p50 {told[49]:.2f} ms, p99 {told[98]:.2f} ms")


if __name__ == "__main__":
    main()
