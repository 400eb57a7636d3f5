"""What a broker's words mean: its complaints are told apart by their texts, because STOMP has no codes."""

import re
from typing import Final

from unimq.errors import AuthenticationFailed, ServerError, StorageError, TooLarge, UnimqError

__all__ = ["refusal"]

_KINDS: Final[tuple[tuple[re.Pattern[str], type[UnimqError], str], ...]] = (
    (
        re.compile(r"user name|password|not authorized|credentials|SecurityException", re.IGNORECASE),
        AuthenticationFailed,
        "",
    ),
    (
        re.compile(r"usage manager|is full|memory limit", re.IGNORECASE),
        StorageError,
        "; make room, or raise its systemUsage",
    ),
    (
        re.compile(
            r"maximum (?:data length|frame size|header|command length|number of headers)",
            re.IGNORECASE,
        ),
        TooLarge,
        "; make the message smaller, or raise its wireFormat limits",
    ),
)


def refusal(where: str, words: str) -> UnimqError:
    """The error for what the broker said."""
    for pattern, kind, remedy in _KINDS:
        if pattern.search(words):
            return kind(f"{where}: the broker refuses: {words}{remedy}")
    return ServerError(f"{where}: the broker refuses: {words}")
