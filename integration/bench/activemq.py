"""unimq beside bare stomp.py on the same broker: `make bench BACKEND=activemq`.

Bare means stomp.py as a careful user has it: bytes, persistent messages, a receipt for
each exchange, and TCP_NODELAY, which stomp.py leaves off.
"""

import itertools
import queue
import socket
from typing import Any

import stomp
from activemq.recipes import BROKER
from bench.compare import Comparison, Goal, main
from bench.ours import HUNDRED

import unimq


class Bare(stomp.ConnectionListener):  # type: ignore[misc] # it has no types
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

    def get_ack_batches(self, n: int) -> None:
        """With a standing prefetch of a hundred, and a receipt for each hundred."""
        self.get_ack(n, HUNDRED)

    def close(self) -> None:
        """Leave."""
        self.connection.disconnect()


if __name__ == "__main__":
    main(
        Comparison(
            "ActiveMQ",
            BROKER,
            {"stomp.py": Bare},
            (
                Goal("put", "stomp.py", 1.1),
                Goal("get_ack", "stomp.py", 0.9),
                Goal("put_batches", "stomp.py", 1.2),
                Goal("get_ack_batches", "stomp.py", 1.0),
                Goal("consume", "stomp.py", theirs="get_ack"),
                Goal("consume_batches", "stomp.py", 1.0, theirs="get_ack_batches"),
            ),
            waits="stomp.py",
        )
    )
