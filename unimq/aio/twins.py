"""Documentation is written once, at the synchronous twin."""

from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["twin_of"]

F = TypeVar("F", bound=Callable[..., Any])


def twin_of(twin: Callable[..., Any]) -> Callable[[F], F]:
    """Take the documentation of the synchronous twin."""

    def document(method: F) -> F:
        method.__doc__ = twin.__doc__
        return method

    return document
