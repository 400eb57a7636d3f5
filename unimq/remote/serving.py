"""`unimq.serve`: hold a store for others, at an address whose scheme has a transport for it."""

from types import TracebackType
from typing import Protocol, Self, cast

from unimq import registry
from unimq.errors import Unsupported
from unimq.url import URL

__all__ = ["Holder", "serve"]


class Holder(Protocol):
    """Serves a store from threads of its own until it is closed. A context manager."""

    url: URL
    """Where clients find it; they add the queue, and `?store=`."""
    failure: BaseException | None
    """What ended it, if it was not `close`."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has ended; false when it has not within `timeout` seconds."""
        ...

    def close(self) -> None:
        """Answer no more, and close the store. Idempotent; waits for 5 s at most."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Transport(Protocol):
    """A driver that can also be the other side."""

    def serve(self, store: URL, at: URL) -> Holder:
        """Serve `store` at the address `at`."""
        ...


def serve(store: "str | URL", *, at: "str | URL") -> Holder:
    """Serve `store`, any backend of unimq that a holder can serve, at the address `at`, from threads of this process.

    Clients use `at` as their URL, with the queue and `?store=` (the scheme of `store`) added. Whoever reaches the
    address may read and write every queue of the store.

    Raises:
        InvalidURL, DriverMissing: a URL cannot be used.
        Unsupported: the scheme of `at` has no transport for this, or the store cannot be served; the text says why.
        ConnectError: the address cannot be bound.
        ConnectError, AuthenticationFailed, StorageError, Timeout: the store cannot be opened.
    """
    address = URL.parse(at)
    driver = registry.driver(address.scheme)
    if not hasattr(driver, "serve"):
        msg = f"{address}: nothing can be served by {driver.name}; serve at an address such as zeromq+tcp://*:5555"
        raise Unsupported(msg)
    registry.require_library(driver)
    return cast("Transport", driver).serve(URL.parse(store), address)
