"""What is secret in a connection URL, and how it is kept out of every text."""

import re
from typing import Any, Final

__all__ = ["MASK", "Secret", "is_secret"]

MASK: Final = "***"
_SECRET: Final = re.compile(
    r"(?:.*_)?(?:pass(?:word|wd|code|phrase)?|pwd|secret|token|jwt|bearer|credentials?|(?:api|access|auth|private)_?key)"
    r"(?:_.*)?"
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
    (`_`, `-` or a capital letter between them) is password, passcode, passphrase, secret, token, jwt, credentials,
    api_key or the like. Names that end in `_file` tell where a secret is, and are none.
    """
    words = _NEW_WORD.sub("_", option).lower()
    return _SECRET.fullmatch(words) is not None and not words.endswith("_file")
