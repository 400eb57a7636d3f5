"""unimq beside gearman3 and beside a bare socket, on the same gearmand: `python integration/bench/gearmand.py gearman://host`.

Every round runs all of them, one after the other, on queues of their own, so that a slow moment meets them all; a ratio
is the median of each round's own. gearman3 is patched in the one line that Python 3.9 broke, and its worker does not
wait for the server to have seen a completion; the socket has the fences that unimq has.
"""

import argparse
import os
import socket
import statistics
import struct

import gearman
from gearman.connection import GearmanConnection
from ours import HUNDRED, Ours, rate

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

    def __init__(self, address: tuple[str, int], name: bytes) -> None:
        self.name = name
        where = [f"{address[0]}:{address[1]}"]
        self.client, self.worker = Client(where), Worker(where)
        self.worker.register_task(name, lambda _worker, job: job.data)

    def put(self, n: int, body: bytes) -> None:
        """One by one."""
        for _ in range(n):
            self.client.submit_job(self.name, body, background=True, wait_until_complete=False)

    def get_ack(self, n: int) -> None:
        """Its loop."""
        self.worker.left = n
        self.worker.work()


class Bare:
    """A socket, with one write for a hundred and a fence behind each completion."""

    def __init__(self, address: tuple[str, int], name: bytes) -> None:
        self.name = name
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb", 262144)
        self.socket.sendall(_packet(1, name))

    def read(self) -> bytes:
        """The arguments of the next answer."""
        return self.file.read(_HEADER.unpack(self.file.read(12))[2])

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


def _packet(command: int, *arguments: bytes) -> bytes:
    data = b"\0".join(arguments)
    return _HEADER.pack(b"\0REQ", command, len(data)) + data


def one_round(url: unimq.URL, size: int, n: int) -> dict[str, float]:
    """The rates of all."""
    address = (url.hosts[0].name, url.hosts[0].port or 4730)
    body, name = os.urandom(size), f"bench-{os.urandom(6).hex()}"
    library, bare = Library(address, f"{name}-l".encode()), Bare(address, f"{name}-b".encode())
    ours = Ours(url, f"{name}-o")
    try:
        found = {
            "put, gearman3": rate(lambda: library.put(n, body), n),
            "put, unimq": rate(lambda: ours.put(n, body), n),
            "put, socket": rate(lambda: bare.put(n, body), n),
            "get and ack, gearman3": rate(lambda: library.get_ack(n), n),
            "get and ack, unimq": rate(lambda: ours.get_ack(n), n),
            "get and ack, socket": rate(lambda: bare.get_ack(n), n),
            "put 100s, unimq": rate(lambda: ours.put_batches(n, body), n),
            "put 100s, socket": rate(lambda: bare.put(n, body, HUNDRED), n),
            "get 100s and ack, unimq": rate(lambda: ours.get_ack_batches(n), n),
            "get 100s and ack, socket": rate(lambda: bare.get_ack(n, HUNDRED), n),
        }
        ours.put_batches(n, body)
        found["consume(10) and ack, unimq"] = rate(lambda: ours.consume(n, 10), n)
        return found
    finally:
        ours.close()
        bare.socket.close()


RATIOS = (
    ("put", "put, unimq", "put, gearman3"),
    ("consume(10) and ack", "consume(10) and ack, unimq", "get and ack, gearman3"),
    ("get_many(100) and ack", "get 100s and ack, unimq", "get and ack, gearman3"),
    ("get and ack, fenced", "get and ack, unimq", "get and ack, socket"),
    ("put 100s", "put 100s, unimq", "put 100s, socket"),
    ("get 100s and ack", "get 100s and ack, unimq", "get 100s and ack, socket"),
)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", type=unimq.URL.parse)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--messages", type=int, default=2000)
    given = parser.parse_args()
    print("| body | what | unimq /s | beside | /s | ratio |\n|---|---|---|---|---|---|")
    for size in (100, 1024, 65536):
        n = given.messages if size < 65536 else given.messages // 4 // HUNDRED * HUNDRED
        rounds = [one_round(given.url, size, n) for _ in range(given.rounds)]
        for what, ours, theirs in RATIOS:
            ratio = statistics.median(found[ours] / found[theirs] for found in rounds)
            mine, other = (statistics.median(found[which] for found in rounds) for which in (ours, theirs))
            print(f"| {size} | {what} | {mine:,.0f} | {theirs.rsplit(', ', 1)[1]} | {other:,.0f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
