"""unimq beside bare pymemcache and a raw socket, on one MemcacheQ: `make bench BACKEND=memcacheq ARGS=memcacheq://host`.

Without a URL the stand-in of the tests is asked, with its disk synced as a real server does by default. Name one with
`-N` for what the client costs: see the columns of processor time.
"""

import socket
from dataclasses import replace

from bench.compare import Comparison, Goal, main
from bench.ours import HUNDRED
from memcacheq.recipes import SERVER

import unimq
import unimq_memcacheq


class Bare:
    """pymemcache, as its manual says: a get removes."""

    def __init__(self, url: unimq.URL, name: str) -> None:
        self.name = name
        self.client = unimq_memcacheq.client(url)

    def put(self, n: int, body: bytes) -> None:
        for _ in range(n):
            self.client.set(self.name, body)

    def get_ack(self, n: int) -> None:
        for _ in range(n):
            assert self.client.get(self.name) is not None

    put_batches, get_ack_batches = put, get_ack

    def close(self) -> None:
        self.client.close()


class Raw:
    """Pipelined commands on a socket."""

    def __init__(self, url: unimq.URL, name: str) -> None:
        self.name = name.encode()
        self.socket = socket.create_connection((url.hosts[0].name, url.hosts[0].port or 22201))
        self.file = self.socket.makefile("rb")

    def put(self, n: int, body: bytes) -> None:
        for _ in range(n // HUNDRED):
            self.socket.sendall(b"set %b 0 0 %d\r\n%b\r\n" % (self.name, len(body), body) * HUNDRED)
            for _ in range(HUNDRED):
                assert self.file.readline() == b"STORED\r\n"

    def get_ack(self, n: int) -> None:
        for _ in range(n // HUNDRED):
            self.socket.sendall(b"get %b\r\n" % self.name * HUNDRED)
            for _ in range(HUNDRED):
                size = int(self.file.readline().split()[3])
                self.file.read(size + 2)
                assert self.file.readline() == b"END\r\n"

    put_batches, get_ack_batches = put, get_ack

    def close(self) -> None:
        self.socket.close()


if __name__ == "__main__":
    main(
        Comparison(
            "MemcacheQ",
            replace(SERVER, command=("-p", "{port}", "-t", "1", "-R"), variant="synced"),
            {"pymemcache": Bare, "socket": Raw},
            (
                Goal("put", "pymemcache", 0.95),
                Goal("get_ack", "pymemcache", 0.9),
                Goal("put_batches", "socket", 0.9),
                Goal("get_ack_batches", "socket", 0.9),
                Goal("get_ack_batches", "pymemcache"),
            ),
            waits=None,
        )
    )
