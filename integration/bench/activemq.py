"""unimq beside bare stomp.py on the same broker: `make bench BACKEND=activemq`.

Bare means stomp.py as a careful user has it: bytes, persistent messages, a receipt for
each exchange, and TCP_NODELAY, which stomp.py leaves off. The socket does the same with
next to no work of its own: what a client could reach at best.
"""

import itertools
import queue
import socket
from collections import deque
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


class Socket:
    """Frames made beforehand, and as little as can be read of what comes."""

    def __init__(self, url: unimq.URL, name: str) -> None:
        host = url.hosts[0]
        self.where = f"/queue/{name}".encode()
        self.socket = socket.create_connection((host.name, host.port or 61613))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb", 262144)
        login = f"accept-version:1.2\nhost:x\nlogin:{url.user}\npasscode:{url.password}\n"
        assert self._say(b"CONNECT\n%b\n\0" % login.encode()).startswith(b"CONNECTED")

    def _say(self, frames: bytes) -> bytes:
        self.socket.sendall(frames)
        return self._frame()

    def _frame(self) -> bytes:
        """The command and headers of the next one."""
        head, line = b"", self.file.readline()
        while line != b"\n" or not head:
            head += line.lstrip()
            line = self.file.readline()
        size = head.find(b"content-length:")
        self.file.read(int(head[size + 15 : head.index(b"\n", size)]) + 1 if size >= 0 else 1)
        return head

    def put(self, n: int, body: bytes) -> None:
        """One by one."""
        told = b"destination:%b\npersistent:true\ncontent-length:%d\n" % (self.where, len(body))
        frame = b"SEND\n%breceipt:1\n\n%b\0" % (told, body)
        for _ in range(n):
            assert self._say(frame).startswith(b"RECEIPT")

    def put_batches(self, n: int, body: bytes) -> None:
        """A hundred in a transaction, in one write."""
        told = b"destination:%b\npersistent:true\ncontent-length:%d\n" % (self.where, len(body))
        frames = b"SEND\n%btransaction:t\n\n%b\0" % (told, body) * HUNDRED
        frames = b"BEGIN\ntransaction:t\n\n\0%bCOMMIT\ntransaction:t\nreceipt:1\n\n\0" % frames
        for _ in range(n // HUNDRED):
            assert self._say(frames).startswith(b"RECEIPT")

    def get_ack(self, n: int, ahead: int = 1) -> None:
        """A standing subscription, as above."""
        self.socket.sendall(
            b"SUBSCRIBE\nid:1\ndestination:%b\nack:client-individual\nactivemq.prefetchSize:%d\n\n\0"
            % (self.where, ahead)
        )
        ahead_of_receipts: deque[bytes] = deque()
        for _ in range(n // ahead):
            acks: list[bytes] = []
            for _ in range(ahead):
                head = ahead_of_receipts.popleft() if ahead_of_receipts else self._frame()
                at = head.index(b"ack:")
                acks.append(b"ACK\nid:%b\n" % head[at + 4 : head.index(b"\n", at)])
            self.socket.sendall(b"\n\0".join(acks) + b"receipt:1\n\n\0")
            while not (head := self._frame()).startswith(b"RECEIPT"):
                ahead_of_receipts.append(head)
        assert self._say(b"UNSUBSCRIBE\nid:1\nreceipt:1\n\n\0").startswith(b"RECEIPT")

    def get_ack_batches(self, n: int) -> None:
        """A hundred with a receipt."""
        self.get_ack(n, HUNDRED)

    def close(self) -> None:
        """Leave."""
        self.socket.close()


if __name__ == "__main__":
    main(
        Comparison(
            "ActiveMQ",
            BROKER,
            {"stomp.py": Bare, "socket": Socket},
            (
                Goal("put", "stomp.py", 1.1),
                Goal("get_ack", "stomp.py", 0.9),
                Goal("put_batches", "stomp.py", 1.2),
                Goal("get_ack_batches", "stomp.py", 1.0),
                *(Goal(what, "socket") for what in ("put", "get_ack", "put_batches", "get_ack_batches")),
                Goal("consume", "stomp.py", theirs="get_ack"),
                Goal("consume_batches", "stomp.py", 1.0, theirs="get_ack_batches"),
            ),
            waits="stomp.py",
        )
    )
