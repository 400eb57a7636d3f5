"""unimq beside greenstalk, and beside a socket that pipelines by hand: `make bench BACKEND=beanstalkd`."""

import socket
from typing import Final

import greenstalk
from beanstalkd.recipes import PLAIN
from bench.compare import Comparison, Goal, main
from bench.ours import HUNDRED

import unimq

_SAME: Final = "greenstalk with stats-job"
_BARE: Final = "greenstalk"
_SOCKET: Final = "pipelined socket"


class Bare:
    """greenstalk as its page shows it: a get does not know how often the message was delivered, nor its lease."""

    def __init__(self, url: unimq.URL, name: str) -> None:
        self.client = greenstalk.Client(_address(url), encoding=None, use=name, watch=name)

    def put(self, n: int, body: bytes) -> None:
        for _ in range(n):
            self.client.put(body)

    def get_ack(self, n: int) -> None:
        for _ in range(n):
            self.client.delete(self.client.reserve(5))

    put_batches = put

    def get_ack_batches(self, n: int) -> None:
        self.get_ack(n)

    def close(self) -> None:
        self.client.close()


class Same(Bare):
    """greenstalk, asking for what unimq tells of a message: count, lease, priority."""

    def get_ack(self, n: int) -> None:
        for _ in range(n):
            job = self.client.reserve(5)
            self.client.stats_job(job)
            self.client.delete(job)


class Pipelined:
    """A socket, with one write for a hundred commands."""

    def __init__(self, url: unimq.URL, name: str) -> None:
        self.socket = socket.create_connection(_address(url))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb", 262144)
        self._say(b"use %b\r\nwatch %b\r\nignore default\r\n" % (name.encode(), name.encode()), 3)

    def _say(self, commands: bytes, answers: int) -> list[list[bytes]]:
        """The words of each answer."""
        self.socket.sendall(commands)
        return [self._answer() for _ in range(answers)]

    def _answer(self) -> list[bytes]:
        words = self.file.readline().split()
        if words[0] in (b"RESERVED", b"OK"):
            words.append(self.file.read(int(words[-1]) + 2))
        return words

    def put_batches(self, n: int, body: bytes) -> None:
        put = b"put 65536 0 60 %d\r\n%b\r\n" % (len(body), body)
        for _ in range(n // HUNDRED):
            for told in self._say(put * HUNDRED, HUNDRED):
                assert told[0] == b"INSERTED"

    def get_ack_batches(self, n: int) -> None:
        for _ in range(n // HUNDRED):
            numbers = [told[1] for told in self._say(b"reserve-with-timeout 5\r\n" * HUNDRED, HUNDRED)]
            self._say(b"".join(b"stats-job %b\r\n" % number for number in numbers), HUNDRED)
            self._say(b"".join(b"delete %b\r\n" % number for number in numbers), HUNDRED)

    def put(self, n: int, body: bytes) -> None:
        self.put_batches(n, body)

    def get_ack(self, n: int) -> None:
        self.get_ack_batches(n)

    def close(self) -> None:
        self.socket.close()


def _address(url: unimq.URL) -> tuple[str, int]:
    return url.hosts[0].name, url.hosts[0].port or 11300


if __name__ == "__main__":
    main(
        Comparison(
            "beanstalkd",
            PLAIN,
            {_BARE: Bare, _SAME: Same, _SOCKET: Pipelined},
            (
                Goal("put", _BARE, 0.9),
                Goal("get_ack", _SAME, 0.9),
                Goal("get_ack", _BARE, 0.75),
                Goal("put_batches", _SOCKET, 0.9),
                Goal("get_ack_batches", _SOCKET, 0.9),
                Goal("put_batches", _BARE),
                Goal("get_ack_batches", _BARE),
            ),
            waits=_BARE,
        )
    )
