"""What the tests of the memory backend share: a broker each, a clock that they move, and backends to imitate."""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

import unimq_memory
from unimq import registry
from unimq.capabilities import Capabilities, native
from unimq.driver import Delivery, Outgoing, Session, Settling
from unimq.options import Option
from unimq.testing.sessions import open_session
from unimq.url import URL

_names = itertools.count()


class Hand:
    """A session of the driver contract, without the face, and short words for what most tests do with it."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self.session, name)

    def put(self, *bodies: bytes, queue: str = "jobs", **fields: Any) -> None:
        """Send messages that must be stored."""
        outcomes = self.session.send(queue, [Outgoing(body, **fields) for body in bodies], 0)
        assert not [one for one in outcomes if isinstance(one, Exception)]

    def take(self, limit: int = 1, *, lease: float = 60.0, queue: str = "jobs") -> list[Delivery]:
        """What is ready now."""
        return list(self.session.receive([queue], limit, lease, 0))

    def bodies(self, limit: int = 100) -> list[bytes]:
        """Of all that is ready now."""
        return [one.body for one in self.take(limit)]


Opener = Callable[..., Hand]


@pytest.fixture
def name() -> Iterator[str]:
    """A broker that no other test uses."""
    one = f"m{next(_names)}"
    yield one
    unimq_memory.reset(one)


class Clock:
    """Time that a test moves."""

    def __init__(self, broker: unimq_memory.Broker) -> None:
        self.now = 1000.0
        broker.clock = lambda: self.now
        broker.wall = lambda: self.now


@pytest.fixture
def clock(name: str) -> Clock:
    """The broker's two clocks, at 1000."""
    return Clock(unimq_memory.broker(name))


@pytest.fixture
def opened(name: str) -> Opener:
    """Opens a session of the driver contract, without the face."""

    def opened(options: str = "") -> Hand:
        return Hand(open_session(unimq_memory.driver, f"memory://{name}?{options}", time.monotonic() + 1))

    return opened


@dataclass
class Imitated:
    """A driver that declares, and whose client library is not installed."""

    declared: Capabilities
    settling: Settling | None = None
    name: str = "imitated"
    contract: int = 1
    library: str | None = "no_such_library"
    install: str = "pip install no-such-library"
    port: int | None = None
    path_is_queue: bool = True
    options: tuple[Option, ...] = ()

    def capabilities(self, url: URL) -> Capabilities:
        """The same for every URL."""
        return self.declared

    def open(
        self, url: URL, deadline: float, *, options: Mapping[str, Any], known: Capabilities | None = None
    ) -> Session:
        """There is nothing behind it."""
        raise NotImplementedError


@pytest.fixture
def imitating(opened: Opener) -> Iterator[Opener]:
    """Opens a session on the profile of a backend with the given capabilities."""

    def imitating(settling: Settling | None = None, **changes: Any) -> Hand:
        usual: dict[str, Any] = {"guarantee": "at-least-once", "nack": native(), "nack_delay": native()}
        usual |= {"stats": native(), "lease": native(), "lease_by": "get"}
        registry.register("imitated", Imitated(Capabilities(**(usual | changes)), settling))
        return opened("profile=imitated")

    yield imitating
    registry.unregister("imitated")
