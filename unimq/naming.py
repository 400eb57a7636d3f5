"""Which names a queue may have."""

import re
from typing import Final

from unimq import headers as reserved
from unimq.capabilities import Limits
from unimq.errors import InvalidName
from unimq.masking import shown_name

__all__ = ["DEAD_SUFFIX", "check_name"]

DEAD_SUFFIX: Final = ".dead"


def check_name(name: str, limits: Limits, *, room: str = "") -> None:
    """Raise `InvalidName` unless `name`, with `room` for a suffix, is one that the backend can take."""
    if not isinstance(name, str):
        msg = f"queue name {name!r}: must be a str, is {type(name).__name__}"
        raise InvalidName(msg)
    if not name:
        msg = "queue name '': must not be empty; name it in the URL (?queue=jobs) or in the call"
        raise InvalidName(msg)
    masked = shown_name(name)
    shown = masked if len(masked) <= 80 else f"{masked[:80]}..."  # noqa: PLR2004 - a line of an error text
    if name.startswith(reserved.PREFIX) or set(name) <= {"."} or ".." in name.split("/"):
        msg = f"queue name {shown!r}: must not begin with {reserved.PREFIX!r} nor climb with '..'"
        raise InvalidName(msg)
    wrong = re.sub(f"(?:{limits.name_characters})+", "", name) or _surrogates(name)
    if wrong:
        msg = f"queue name {shown!r}: {wrong[0]!r} is not allowed here; allowed: {limits.name_words}"
        raise InvalidName(msg)
    if limits.reserved is not None and re.fullmatch(limits.reserved, name + room):
        msg = f"queue name {shown!r}: the server keeps it for itself, or cannot take it"
        raise InvalidName(msg)
    size = len(name.encode())
    if size + len(room) > limits.name:
        note = f" ({len(room)} of them kept for {room!r})" if room else ""
        msg = f"queue name {shown!r}: {size} bytes, at most {limits.name - len(room)} are possible here{note}"
        raise InvalidName(msg)


def _surrogates(name: str) -> str:
    """What of a name UTF-8 cannot write."""
    return "".join(character for character in name if "\ud800" <= character <= "\udfff")
