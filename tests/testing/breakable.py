"""A memory server that can be killed, paused and cut: to try the cases of the fault group without a network."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from unimq import registry
from unimq.capabilities import Capabilities
from unimq.driver import Delivery
from unimq.errors import AuthenticationFailed, ConnectError, ConnectionLost, Timeout
from unimq.url import URL
from unimq_memory import Broker, MemoryDriver
from unimq_memory.behaviour import Behaviour
from unimq_memory.session import MemorySession

R = TypeVar("R")


class Breakable:
    """A `unimq.testing.Server` whose store is a broker in memory, and which is its own driver."""

    name = "breakable"
    contract = 1
    library = None
    install = ""
    port = None
    path_is_queue = True
    options = ()

    def __init__(self) -> None:
        self.broker = Broker("breakable")
        self.generation = 0
        """Sessions of an older one are broken."""
        self.running = threading.Event()
        self.answers = threading.Event()
        self.running.set()
        self.answers.set()

    # The server

    def kill(self) -> None:
        self.running.clear()
        self.cut()

    def start(self) -> None:
        self.running.set()

    def pause(self) -> None:
        self.answers.clear()
        self._wake()

    def resume(self) -> None:
        self.answers.set()
        self._wake()

    def cut(self) -> None:
        self.generation += 1
        self._wake()

    def _wake(self) -> None:
        with self.broker.changed:
            self.broker.changed.notify_all()

    # The driver

    def capabilities(self, url: URL) -> Capabilities:
        return replace(MemoryDriver().capabilities(URL("memory")), survives_server_restart="yes")

    def open(
        self, url: URL, deadline: float, *, options: Mapping[str, Any], known: Capabilities | None = None
    ) -> "BreakableSession":
        session = BreakableSession(self, self.capabilities(url))
        if url.hosts and url.hosts[0].port == 1:
            msg = f"{url}: nobody listens"
            raise ConnectError(msg)
        if url.password != "right":
            msg = f"{url}: wrong password"
            raise AuthenticationFailed(msg)
        if not self.running.is_set():
            msg = f"{url}: connection refused"
            raise ConnectError(msg)
        session.answered(deadline)
        return session


class BreakableSession(MemorySession):
    """Asks before everything whether its connection is still there."""

    blocks = True

    def __init__(self, server: Breakable, capabilities: Capabilities) -> None:
        super().__init__(server.broker, capabilities, Behaviour.of(capabilities, None), None)
        self.server = server
        self.generation = server.generation

    def answered(self, deadline: float) -> None:
        """Return when the server answers; raise when it does not in time or is gone."""
        while not self.server.answers.wait(min(0.02, max(0.0, deadline - time.monotonic()))):
            self._check_open()
            if time.monotonic() >= deadline:
                msg = "breakable: no answer in time"
                raise Timeout(msg)
        self._check_open()

    def _check_open(self) -> None:
        super()._check_open()
        if self.generation != self.server.generation:
            msg = "breakable: the connection broke"
            raise ConnectionLost(msg)

    def _then(self, deadline: float, call: Callable[[], R]) -> R:
        self.answered(deadline)
        return call()

    def send(self, queue: str, messages: Sequence[Any], deadline: float) -> Any:
        return self._then(deadline, lambda: super(BreakableSession, self).send(queue, messages, deadline))

    def receive(
        self, queues: Sequence[str], limit: int, lease: float, deadline: float, *, ahead: bool = False
    ) -> Sequence[Delivery]:
        while True:
            self.answered(max(deadline, time.monotonic() + 0.01))
            found = super().receive(queues, limit, lease, min(deadline, time.monotonic() + 0.05))
            if found or time.monotonic() >= deadline or self._closed:
                return found

    def ping(self, deadline: float) -> str:
        return self._then(deadline, lambda: super(BreakableSession, self).ping(deadline))


def register(server: Breakable) -> str:
    """Serve it; returns its URL."""
    registry.register("breakable", server)
    return "breakable://ada:right@server:7"
