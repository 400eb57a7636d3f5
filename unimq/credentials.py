"""The user and password of a connection, asked for each time one is made."""

from collections.abc import Callable
from typing import Any

from unimq.errors import InvalidArgument
from unimq.url import URL

__all__ = ["Credentials", "with_credentials"]

Credentials = Callable[[], tuple[str, str]]
"""Called before each connection is made; returns the user and the password to use."""


def with_credentials(url: URL, credentials: Credentials | None) -> URL:
    """What to connect to.

    Raises:
        InvalidArgument: what was returned has not the right shape; it is not shown.
    """
    if credentials is None:
        return url
    given: Any = credentials()
    if type(given) in (tuple, list) and list(map(type, given)) == [str, str]:
        return url.with_credentials(given[0], given[1])
    msg = f"credentials: returned a {type(given).__name__}: must return a tuple of user and password, both str"
    del given  # tools that report errors show the local variables of each frame
    raise InvalidArgument(msg)
