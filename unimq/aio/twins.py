"""Documentation is written once, at the synchronous twin."""

from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["twin_of"]

C = TypeVar("C", bound=type[Any])


def twin_of(twin: type[Any]) -> Callable[[C], C]:
    """A class decorator that takes the documentation of the class `twin` and of its members of the same names."""

    def document(cls: C) -> C:
        cls.__doc__ = cls.__doc__ or twin.__doc__
        for name, member in vars(cls).items():
            original = getattr(twin, "__iter__" if name == "__aiter__" else name, None)
            if original is not None and getattr(member, "__doc__", "") is None:
                member.__doc__ = original.__doc__
        return cls

    return document
