"""unimq's side of a benchmark: the same work on any backend, by its URL alone."""

from typing import Any

import unimq

__all__ = ["HUNDRED", "Ours"]

HUNDRED = 100


class Ours:
    """A queue, and the work on it."""

    def __init__(self, url: unimq.URL, name: str) -> None:
        self.queue: unimq.Queue[Any] = unimq.Queue(url.with_queue(name), codec="raw")
        self.queue.ping()

    def put(self, n: int, body: bytes) -> None:
        """One by one."""
        for _ in range(n):
            self.queue.put(body)

    def put_batches(self, n: int, body: bytes) -> None:
        """A hundred at a time."""
        for _ in range(n // HUNDRED):
            self.queue.put_many([body] * HUNDRED)

    def get_ack(self, n: int) -> None:
        """One by one."""
        for _ in range(n):
            self.queue.get(timeout=5).ack()

    def get_ack_batches(self, n: int) -> None:
        """A hundred at a time."""
        left = n
        while left:
            messages = self.queue.get_many(min(left, HUNDRED), timeout=5)
            self.queue.ack(messages)
            left -= len(messages)

    def consume(self, n: int) -> None:
        """An iteration that fetches ten at a time, acknowledged one by one."""
        left = n
        for message in self.queue.consume(prefetch=10, timeout=5):
            message.ack()
            left -= 1
            if not left:
                break

    def consume_batches(self, n: int) -> None:
        """An iteration that fetches a hundred at a time, acknowledged by the hundred."""
        left, done = n, list[unimq.Message[Any]]()
        for message in self.queue.consume(prefetch=HUNDRED, timeout=5):
            done.append(message)
            left -= 1
            if len(done) == HUNDRED or not left:
                self.queue.ack(done)
                done.clear()
            if not left:
                break

    def close(self) -> None:
        """Leave."""
        self.queue.close()
