"""Which driver serves which URL scheme: entry points of the group `unimq.drivers`, looked up once.

An adapter of ours has no privilege over a third party's: both are found by their entry point, whose name is the scheme.
"""

import threading
from typing import TYPE_CHECKING, Final

from unimq.capabilities import nearest
from unimq.driver import CONTRACT_VERSION, Driver
from unimq.errors import DriverMissing, InvalidURL

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = ["GROUP", "driver", "register", "require_library", "schemes", "unregister"]

GROUP: Final = "unimq.drivers"

_lock = threading.Lock()
_drivers: dict[str, Driver] = {}
_entry_points: "dict[str, EntryPoint]" = {}
_looked_up = False


def driver(scheme: str) -> Driver:
    """The driver of a URL scheme.

    Raises:
        InvalidURL: nobody serves that scheme; the text names the nearest and all that are known.
        DriverMissing: its package cannot be imported, or does not have what its entry point names.
    """
    found = _drivers.get(scheme)
    return found if found is not None else _load(scheme)


def schemes() -> tuple[str, ...]:
    """All schemes that are known, sorted."""
    with _lock:
        return tuple(sorted({*_found(), *_drivers}))


def register(scheme: str, driver: Driver) -> None:
    """Serve `scheme` by `driver` in this process; for tests, and for drivers that no package has.

    Raises:
        InvalidURL: the driver was written for another version of the contract.
    """
    _check(scheme, driver)
    with _lock:
        _drivers[scheme] = driver


def unregister(scheme: str) -> None:
    """Undo `register`. Queues that exist keep their driver."""
    with _lock:
        _drivers.pop(scheme, None)


def require_library(driver: Driver) -> None:
    """Raise `DriverMissing`, with what to install, unless the driver's client library is there. Imports nothing."""
    if driver.library is None:
        return
    import sys  # noqa: PLC0415 - as the next
    from importlib.util import find_spec  # noqa: PLC0415 - only a backend with a library needs it

    package = driver.library.partition(".")[0]  # to look for what is in a package would import the package
    if sys.modules.get(package) is None and find_spec(package) is None:
        msg = f"{driver.name} needs the package {driver.library!r}, which is not installed: {driver.install}"
        raise DriverMissing(msg)


def _load(scheme: str) -> Driver:
    with _lock:
        entry = _found().get(scheme)
        known = sorted({*_entry_points, *_drivers})
    if entry is None:
        msg = f"unknown scheme {scheme!r}{nearest(scheme, known)}; known: {', '.join(known)}"
        raise InvalidURL(msg)
    # Without the lock: the import takes locks of its own, and what is imported may register a driver.
    try:
        loaded: Driver = entry.load()
    except (ImportError, AttributeError) as error:  # the module, or the driver in it
        msg = f"the driver of {scheme}:// cannot be imported ({error}): install the package that provides it"
        raise DriverMissing(msg) from error
    _check(scheme, loaded)
    with _lock:
        return _drivers.setdefault(scheme, loaded)


def _found() -> "dict[str, EntryPoint]":
    global _looked_up  # noqa: PLW0603 - a lookup that is made once per process
    if not _looked_up:
        from importlib.metadata import entry_points  # noqa: PLC0415 - 15 ms that only the first queue pays

        _entry_points.update({entry.name: entry for entry in entry_points(group=GROUP)})
        _looked_up = True
    return _entry_points


def _check(scheme: str, driver: Driver) -> None:
    if driver.contract != CONTRACT_VERSION:
        older = "the driver" if driver.contract < CONTRACT_VERSION else "unimq"
        msg = (
            f"the driver of {scheme}:// speaks version {driver.contract} of the driver contract, "
            f"this unimq speaks {CONTRACT_VERSION}: upgrade {older}"
        )
        raise InvalidURL(msg)
