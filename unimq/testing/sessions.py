"""Sessions without the face above them, for a driver's own tests."""

import math
from typing import Any

from unimq.options import values
from unimq.url import URL

__all__ = ["open_session"]


def open_session(driver: Any, url: str | URL, deadline: float = math.inf, **known: Any) -> Any:
    """A session of `driver` on `url`, opened as unimq opens it; close it when it is not needed any more.

    What it returns is of the driver's own class, so the types are left open.

    Raises:
        InvalidURL: the URL cannot be read, or an option of it.
        UnimqError: what `driver.open` raises.
    """
    parsed = URL.parse(url)
    return driver.open(parsed, deadline, options=values(parsed, driver.options), **known)
