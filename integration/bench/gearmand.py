"""unimq beside gearman3 and beside a bare socket, on the same gearmand: `make bench BACKEND=gearmand`.

gearman3 is patched in the one line that Python 3.9 broke, and its worker does not
wait for the server to have seen a completion; the socket has the fences that unimq has.
"""

import os
import socket
import struct

import gearman
from bench.compare import Comparison, Goal, main
from bench.ours import HUNDRED
from gearman.connection import GearmanConnection
from gearmand.recipes import PLAIN

import unimq

_HEADER = struct.Struct(">4sII")


class Patched(GearmanConnection):  # type: ignore[misc] # it has no types
    """gearman3's connection, reading with what Python 3.9 left of `array`."""

    def read_data_from_socket(self, bytes_to_read: int = 4096) -> int:
        """As the original, but for `fromstring`."""
        data = self.gearman_socket.recv(bytes_to_read)
        if not data:
            self.throw_exception(message="remote disconnected")
        self._incoming_buffer.frombytes(data)
        return len(self._incoming_buffer)


class Client(gearman.GearmanClient):  # type: ignore[misc] # as above
    """With it."""

    connection_class = Patched


class Worker(gearman.GearmanWorker):  # type: ignore[misc] # as above
    """With it, for so many jobs."""

    connection_class = Patched
    left = 0

    def after_job(self) -> bool:
        """Whether to go on."""
        self.left -= 1
        return self.left > 0


class Library:
    """gearman3, as its manual says."""

    def __init__(self, url: unimq.URL, name: str) -> None:
        self.name = name.encode()
        where = [str(url.hosts[0])]
        self.client, self.worker = Client(where), Worker(where)
        self.worker.register_task(self.name, lambda _worker, job: job.data)

    def put(self, n: int, body: bytes) -> None:
        """One by one."""
        for _ in range(n):
            self.client.submit_job(self.name, body, background=True, wait_until_complete=False)

    def get_ack(self, n: int) -> None:
        """Its loop."""
        self.worker.left = n
        self.worker.work()

    put_batches, get_ack_batches = put, get_ack

    def close(self) -> None:
        """Leave."""
        self.client.shutdown()
        self.worker.shutdown()


class Bare:
    """A socket, with one write for a hundred and a fence behind each completion."""

    def __init__(self, url: unimq.URL, name: str) -> None:
        self.name = name.encode()
        self.socket = socket.create_connection((url.hosts[0].name, url.hosts[0].port or 4730))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb", 262144)
        self.socket.sendall(_packet(1, self.name))

    def read(self) -> bytes:
        """The arguments of the next answer."""
        data: bytes = self.file.read(_HEADER.unpack(self.file.read(12))[2])
        return data

    def put(self, n: int, body: bytes, batch: int = 1) -> None:
        """One by one, or so many in a write."""
        for _ in range(n // batch):
            data = [_packet(18, self.name, os.urandom(16).hex().encode(), body) for _ in range(batch)]
            self.socket.sendall(b"".join(data))
            for _ in range(batch):
                self.read()

    def get_ack(self, n: int, batch: int = 1) -> None:
        """One by one, or so many in a write."""
        for _ in range(n // batch):
            self.socket.sendall(_packet(30) * batch)
            handles = [self.read().split(b"\0", 1)[0] for _ in range(batch)]
            self.socket.sendall(b"".join(_packet(13, handle, b"") + _packet(16, b"") for handle in handles))
            for _ in range(batch):
                self.read()

    def put_batches(self, n: int, body: bytes) -> None:
        """A hundred in a write."""
        self.put(n, body, HUNDRED)

    def get_ack_batches(self, n: int) -> None:
        """A hundred in a write."""
        self.get_ack(n, HUNDRED)

    def close(self) -> None:
        """Leave."""
        self.socket.close()


def _packet(command: int, *arguments: bytes) -> bytes:
    data = b"\0".join(arguments)
    return _HEADER.pack(b"\0REQ", command, len(data)) + data


if __name__ == "__main__":
    main(
        Comparison(
            "gearmand",
            PLAIN,
            {"gearman3": Library, "socket with fences": Bare},
            (
                Goal("put", "gearman3", 1.3),
                Goal("get_ack", "socket with fences", 0.85),
                Goal("consume", "gearman3", 1.1, theirs="get_ack"),
                Goal("get_ack_batches", "gearman3", 8.0),
                Goal("put_batches", "socket with fences", 0.7),
                Goal("get_ack_batches", "socket with fences", 0.7),
            ),
            waits=None,
        )
    )
