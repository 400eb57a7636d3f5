"""Which server or file a URL means, however it is spelled."""

from unimq.driver import Driver
from unimq.url import FILE_TRANSPORTS, URL, Host

__all__ = ["place_of"]


def place_of(driver: Driver, url: URL) -> str:
    """The backend, its hosts with their ports, and the path where that is a part of the address."""
    hosts = url.hosts or (() if driver.port is None else (Host("localhost"),))
    named = (_named(host, host.port or driver.port) for host in hosts)
    # A path that names no queue is a part of the address, such as the folder of a socket.
    path = "" if driver.path_is_queue and url.transport not in FILE_TRANSPORTS else url.path
    return f"{driver.name}://{','.join(sorted(named))}{path}/"


def _named(host: Host, port: int | None) -> str:
    name = host.name.lower()
    return name if port is None else f"{'127.0.0.1' if name == 'localhost' else name}:{port}"
