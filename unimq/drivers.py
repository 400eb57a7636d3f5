"""What serves a URL: the driver of its scheme, with the journal that it names."""

from unimq import registry
from unimq.driver import Driver
from unimq.url import URL

__all__ = ["driver_of"]


def driver_of(url: URL) -> Driver:
    """The driver of `url`, with its journal.

    Raises:
        InvalidURL, DriverMissing: as `registry.driver`, for the journal's store too.
    """
    found, journal = registry.driver(url.scheme), url.options.get("journal")
    if journal is None:
        return found
    from unimq.journal import Journaled  # noqa: PLC0415 - only a journal needs it

    return Journaled(found, journal)
