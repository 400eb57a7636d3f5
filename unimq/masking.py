"""What is secret in a connection URL, and how it is kept out of every text."""

import functools
import re
from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar

from unimq.errors import UnimqError

__all__ = ["MASK", "Secret", "is_secret", "shown_name", "without_frames", "without_url"]

P = ParamSpec("P")
R = TypeVar("R")

MASK: Final = "***"
_SECRET: Final = re.compile(
    r"(?:.*_)?(?:[a-z]*(?:pass(?:word|wd|code|phrase)|secret|token|(?:api|access|auth|private)_?key)|pass|pwd|psk|jwt|bearer"
    r"|credentials?|auth|authorization|signature|sig|pin|pw|cookie|dsn)(?:_.*)?"
)
_NEW_WORD: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|-")


class Secret:
    """Holds a value that no text of it shows."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return MASK


def is_secret(option: str) -> bool:
    """Whether the values of an option of that name are masked wherever a URL is shown.

    The name decides, because a URL is shown before its driver, who knows the option, is looked for: one of its words
    (`_`, `-` or a capital letter between them) is, or ends in, password, passphrase, secret, token, apikey or the like.
    Names that end in `_file` tell where a secret is, and are none.
    """
    words = _NEW_WORD.sub("_", option).lower()
    return _SECRET.fullmatch(words) is not None and not words.endswith("_file")


def without_url(text: str) -> str:
    """The text up to a URL in it, of which only the scheme is shown: it may have a password."""
    before, separator, _ = text.partition("://")
    return f"{before}://{MASK}" if separator else text


def shown_name(name: str) -> str:
    """A queue's name for texts: one that is a URL, by mistake, may have a password."""
    scheme, separator, rest = name.partition("://")
    return f"{scheme}://{MASK}" if separator and "@" in rest else name


def without_frames(call: Callable[P, R]) -> Callable[P, R]:
    """What `call` raises on purpose comes without the frames in which its arguments stand in clear.

    Tools that report errors show the local variables of each frame.
    """

    @functools.wraps(call)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return call(*args, **kwargs)
        except UnimqError as error:
            refused = error.with_traceback(None)
        finally:
            del args, kwargs
        raise refused

    return called
