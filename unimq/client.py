"""The client: the connections of one URL, and the queues that share them."""

import time
import weakref
from collections.abc import Iterable, Sequence
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, cast, overload

from unimq import admin, registry
from unimq.admin import Pong
from unimq.calls import Caller
from unimq.capabilities import Capabilities
from unimq.channel import Channel, refuse_pickling
from unimq.codec import codec_for
from unimq.drivers import driver_of
from unimq.errors import Closed, InvalidArgument, InvalidURL, Unsupported
from unimq.hooks import Hooks
from unimq.masking import without_frames
from unimq.message import Letter, Message
from unimq.naming import DEAD_SUFFIX
from unimq.observing import observed
from unimq.options import Settings, count, short
from unimq.place import place_of
from unimq.pool import Pool
from unimq.queue import Queue
from unimq.several import Several
from unimq.url import URL

if TYPE_CHECKING:
    from unimq.credentials import Credentials

__all__ = ["Client", "Pong", "connect"]

T = TypeVar("T")

_CLOSE_MOST: Final = 0.6
"""Seconds for what is given back at the end."""
_CLOSE_LEAST: Final = 0.2
"""Seconds that calls have to end at least."""


class Client:
    """The connections of one URL. Safe to share between threads; lazy: it connects when it is first used."""

    @without_frames
    def __init__(
        self,
        url: "str | URL | None" = None,
        *,
        require: Iterable[str] = (),
        credentials: "Credentials | None" = None,
        hooks: Hooks | None = None,
    ) -> None:
        """Check the URL, its options and what is required. No I/O.

        Args:
            url: The connection URL; `None` reads the environment variable `UNIMQ_URL`.
            require: What must hold, e.g. `{"delay", "at-least-once"}`; checked again with each connection.
            credentials: Called before each connection is made; returns the user and the password to use.
            hooks: Functions that are told about connections, sends, receives and settlements.

        Raises:
            InvalidURL, DriverMissing: the URL cannot be used, or its client library is not installed.
            InvalidArgument, Unsupported: a requirement nobody knows, or one that does not hold.
        """
        url = URL.parse(url)
        self.driver = driver_of(url)
        self.url = url if self.driver.path_is_queue else url.anchored()
        registry.require_library(self.driver)
        self.settings = Settings.read(self.url, self.driver.options)
        self.where = str(url)
        """The masked URL, for texts."""
        self.hooks = hooks or Hooks()
        if self.hooks.around is not None:
            self.__class__ = observed(type(self))
        self._require = self.settings.require | _names(require)
        self._declared = self.driver.capabilities(self.url).emulating(self.settings.emulate)
        # Whether a server keeps its messages over a restart may be known only when it was met.
        later = {"durable"} if self._declared.survives_server_restart == "unknown" else set[str]()
        self._declared.require(self._require - later, self.where)
        self.pool = Pool(
            self.driver,
            self.url,
            self.settings,
            self.hooks,
            credentials,
            capabilities=self._declared,
        )
        self.pool.checks(self._meet)
        self._channels: weakref.WeakSet[Channel[Any]] = weakref.WeakSet()
        self.calls = Caller(self)
        """The calls of its queues, and their replies; for unimq's own use."""
        dead = self.settings.dead_url()
        self._dead_client = None if dead is None else Client(dead, hooks=hooks)

    @property
    def capabilities(self) -> Capabilities:
        """What the backend can do: declared for the URL, and after the first connection what the server proved."""
        return self.pool.capabilities

    # Queues

    @overload
    def queue(
        self,
        name: str | None = None,
        *,
        type: None = None,
        codec: str | None = None,
        lease: float | timedelta | None = None,
        max_deliveries: int | None = None,
    ) -> Queue[Any]: ...
    @overload
    def queue(
        self,
        name: str | None = None,
        *,
        type: type[T],
        codec: str | None = None,
        lease: float | timedelta | None = None,
        max_deliveries: int | None = None,
    ) -> Queue[T]: ...
    def queue(
        self,
        name: str | None = None,
        *,
        type: Any = None,  # noqa: A002 - as in Queue
        codec: str | None = None,
        lease: float | timedelta | None = None,
        max_deliveries: int | None = None,
    ) -> Queue[Any]:
        """The queue of that name (default: the URL's) on these connections; the arguments are those of `Queue`.

        Raises:
            InvalidName, InvalidArgument, Unsupported: as `Queue`.
        """
        return Queue[Any]._of(
            self.channel(name, type, Message, codec=codec, lease=lease, max_deliveries=max_deliveries)
        )

    def queues(self) -> list[str]:
        """The names of the queues that exist, sorted.

        Raises:
            Unsupported: the backend cannot list them.
        """
        self.check_open()
        if not self.capabilities.queues:
            note = self.capabilities.queues.note
            msg = f"queues is absent on {self.where}{f' ({note})' if note else ''}; choose a backend that has it"
            raise Unsupported(msg)
        return admin.queue_names(self.pool, self._deadline())

    def get(self, queues: Sequence[Queue[Any]], timeout: float | timedelta | None = None) -> Message[Any]:
        """The next message of any of `queues`, which are this client's; `message.queue` tells which. As `Queue.get`.

        Raises:
            InvalidArgument: there is none, one is another client's, or their leases differ.
            Empty: no message came in time.
        """
        several = Several.of(self, [queue._channel for queue in queues])
        return cast("Message[Any]", several.get_many(1, timeout)[0])

    def get_many(
        self, queues: Sequence[Queue[Any]], limit: int = 100, *, timeout: float | timedelta | None = None
    ) -> list[Message[Any]]:
        """What is there in any of `queues`, between 1 and `limit` (up to 10000) messages; else as `get`.

        It waits for the first one only. How many are from which queue is the backend's choice.

        Raises:
            InvalidArgument: as `get`, or `limit` is out of its range.
            Empty: no message came in time.
        """
        several = Several.of(self, [queue._channel for queue in queues])
        return cast("list[Message[Any]]", several.get_many(count(limit, "limit"), timeout))

    # The connection

    def ping(self) -> Pong:
        """Prove by a round trip that the server answers; its name, version and latency.

        Raises:
            ConnectError, AuthenticationFailed, Timeout: it does not.
        """
        self.check_open()
        return admin.ping(self.pool, self._deadline())

    def close(self) -> None:
        """Close every connection and end every thread; unhandled messages are given back. Idempotent.

        What waits ends, with `Closed`. It takes a second at most: what a server does not take back by then it has again
        when its lease or the connection has ended.
        """
        until = time.monotonic() + _CLOSE_MOST
        self.calls.close()
        for channel in list(self._channels):
            channel.close(until)
        self.pool.end_later(until)
        self.pool.close(max(until, time.monotonic() + _CLOSE_LEAST))
        if self._dead_client is not None:
            self._dead_client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        made = hasattr(self, "where")
        return f"<{type(self).__name__} {self.where}>" if made else f"<{type(self).__name__}, not made>"

    __reduce__ = refuse_pickling

    # For the other parts of unimq

    def channel(self, name: str | None, type_: Any, letter: type[Letter[Any]], **options: Any) -> Channel[Any]:
        """What a queue of either face is made of."""
        self.check_open()
        settings = self.settings.but(**{key: value for key, value in options.items() if value is not None})
        if name is None:
            name = self.url.queue_name(path_is_queue=self.driver.path_is_queue)
            if name is None:
                msg = f"no queue is named for {self.where}: add ?queue=jobs to the URL, or give a name in the call"
                raise InvalidArgument(msg)
            if name == settings.dead:
                raise self._own_dead(name)
        letter = letter if self.hooks.around is None else observed(letter)
        channel: Channel[Any] = Channel(self, name, settings, codec_for(settings.codec, type_), letter=letter)
        self._channels.add(channel)
        if settings.dead is not None and not channel.is_dead:
            dead = channel.dead_channel()  # whether its name can be used is known now, and not at the first reject
            theirs = dead.pool
            if dead.name == name and place_of(theirs.driver, theirs.url) == place_of(self.driver, self.url):
                raise self._own_dead(name)
        return channel

    def _own_dead(self, name: str) -> InvalidURL:
        return InvalidURL(f"{self.where}: option dead: {name!r} is the queue itself: name another one, or leave it out")

    def dead_channel(self, parent: Channel[T]) -> Channel[T]:
        """The dead-letter channel of `parent`: its sibling, or what `?dead=` names."""
        sibling = parent.name + DEAD_SUFFIX
        client, name = self, parent.settings.dead or sibling
        if self._dead_client is not None:
            client = self._dead_client
            name = client.url.queue_name(path_is_queue=client.driver.path_is_queue) or sibling
        settings = client.settings.but(codec=parent.settings.codec, lease=parent.settings.lease)
        channel = Channel(client, name, settings, parent.codec, letter=parent.letter, is_dead=True)
        client._channels.add(channel)
        return channel

    def check_open(self) -> None:
        """Refuse the use of what was closed."""
        if self.pool.closed:
            msg = f"{self.where} was closed: make a new one"
            raise Closed(msg)

    def _deadline(self) -> float:
        return time.monotonic() + self.settings.timeout

    def _meet(self) -> Capabilities:
        """What to go by after a server was met: what holds on all that were."""
        met = [host.proved for host in self.pool.hosts if host.proved is not None]
        proved = self._declared.proved_by(capabilities.emulating(self.settings.emulate) for capabilities in met)
        proved.require(self._require, self.where)
        if proved != self.pool.capabilities:
            self.pool.capabilities = proved
        return self.pool.capabilities


@without_frames
def connect(
    url: "str | URL | None" = None,
    *,
    require: Iterable[str] = (),
    credentials: "Credentials | None" = None,
    hooks: Hooks | None = None,
) -> Client:
    """A `Client` for `url`, for more than one queue on the same connections. No I/O; arguments as `Client`."""
    return Client(url, require=require, credentials=credentials, hooks=hooks)


def _names(require: Iterable[str]) -> frozenset[str]:
    if isinstance(require, str) or not isinstance(require, Iterable):
        msg = f"require={short(require)}: must be a collection of names, e.g. {{'delay'}}"
        raise InvalidArgument(msg)
    names = frozenset(require)
    for name in names:
        if not isinstance(name, str):
            msg = f"require={short(require)}: {short(name)} must be a str"
            raise InvalidArgument(msg)
    return names
