"""What a client is made of: the connections of one URL, what their servers can do, and the queues on them.

`Client` adds what an application may say.
"""

import time
import weakref
from collections.abc import Iterable
from typing import Any, Final, TypeVar

from unimq import admin, registry
from unimq.admin import Pong
from unimq.calls import Caller
from unimq.capabilities import Capabilities
from unimq.codec import codec_for
from unimq.credentials import Credentials
from unimq.drivers import driver_of
from unimq.endpoint import Endpoint
from unimq.errors import Closed, InvalidArgument, InvalidURL, Unsupported
from unimq.hooks import Hooks
from unimq.message import BaseMessage
from unimq.naming import DEAD_SUFFIX
from unimq.observing import observed
from unimq.options import Settings, short
from unimq.place import place_of
from unimq.pool import Pool
from unimq.url import URL

__all__ = ["Backend"]

T = TypeVar("T")

_CLOSE_MOST: Final = 0.6
"""Seconds for what is given back at the end."""
_CLOSE_LEAST: Final = 0.2
"""Seconds that calls have to end at least."""


class Backend:
    """The connections of one URL, and the queues on them."""

    calls: Caller
    """The calls of its queues, and their replies; for unimq's own use."""

    def __init__(
        self,
        url: str | URL | None = None,
        *,
        require: Iterable[str] = (),
        credentials: Credentials | None = None,
        hooks: Hooks | None = None,
    ) -> None:
        """Check the URL, its options and what is required. No I/O."""
        url = URL.parse(url)
        self.driver = driver_of(url)
        self.url = url if self.driver.path_is_queue else url.anchored()
        registry.require_library(self.driver)
        self.settings = Settings.read(self.url, self.driver.options)
        self.where = str(url)
        """The masked URL, for texts."""
        self.hooks = hooks or Hooks()
        self._require = self.settings.require | _names(require)
        self._declared = self._here(self.driver.capabilities(self.url))
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
        self._endpoints: weakref.WeakSet[Endpoint[Any]] = weakref.WeakSet()
        dead = self.settings.dead_url()
        self._dead_client = None if dead is None else type(self)(dead, hooks=hooks)

    @property
    def capabilities(self) -> Capabilities:
        """What the backend can do: declared for the URL, and after the first connection what the server proved."""
        return self.pool.capabilities

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
        for endpoint in list(self._endpoints):
            endpoint.close(until)
        self.pool.end_later(until)
        self.pool.close(max(until, time.monotonic() + _CLOSE_LEAST))
        if self._dead_client is not None:
            self._dead_client.close()

    def endpoint(
        self, name: str | None, type_: Any, message_type: type[BaseMessage[Any]], **options: Any
    ) -> Endpoint[Any]:
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
        message_type = message_type if self.hooks.around is None else observed(message_type)
        endpoint: Endpoint[Any] = Endpoint(
            self, name, settings, codec_for(settings.codec, type_), message_type=message_type
        )
        self._endpoints.add(endpoint)
        if settings.dead is not None and not endpoint.is_dead:
            dead = endpoint.dead_endpoint()  # whether its name can be used is known now, and not at the first reject
            theirs = dead.pool
            if dead.name == name and place_of(theirs.driver, theirs.url) == place_of(self.driver, self.url):
                raise self._own_dead(name)
        return endpoint

    def _own_dead(self, name: str) -> InvalidURL:
        return InvalidURL(f"{self.where}: option dead: {name!r} is the queue itself: name another one, or leave it out")

    def dead_endpoint(self, parent: Endpoint[T]) -> Endpoint[T]:
        """The dead-letter endpoint of `parent`: its sibling, or what `?dead=` names."""
        sibling = parent.name + DEAD_SUFFIX
        client, name = self, parent.settings.dead or sibling
        if self._dead_client is not None:
            client = self._dead_client
            name = client.url.queue_name(path_is_queue=client.driver.path_is_queue) or sibling
        settings = client.settings.but(codec=parent.settings.codec, lease=parent.settings.lease)
        endpoint = Endpoint(client, name, settings, parent.codec, message_type=parent.message_type, is_dead=True)
        client._endpoints.add(endpoint)
        return endpoint

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
        proved = self._declared.proved_by(map(self._here, met))
        proved.require(self._require, self.where)
        if proved != self.pool.capabilities:
            self.pool.capabilities = proved
        return self.pool.capabilities

    def _here(self, capabilities: Capabilities) -> Capabilities:
        """What a server can do, as it is used by this URL."""
        return capabilities.over(len(self.url.hosts)).emulating(self.settings.emulate)


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
