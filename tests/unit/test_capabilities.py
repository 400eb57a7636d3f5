"""Limits as data, and what is said of them."""

import pytest

from unimq.capabilities import Limits


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        (r"[A-Za-z0-9_.:/-]", "letters, digits, _ . : / -"),
        (r"[^\x00-\x1f\x7f]", "anything but control characters"),
        (r"[^\x00-\x20\x7f,?*>]", "anything but spaces, control characters, , ? * >"),
        (r"(?!\A-)[A-Za-z0-9_.+/;$()-]", "letters, digits, _ . + / ; $ ( ) -, the first no -"),
        (r"[a-z0-9.]", "letters a to z, digits, ."),
        (r"[A-Za-z]", "letters"),
        (r"(?:ab|c)", "(?:ab|c)"),
    ],
)
def test_what_a_name_may_contain_is_said_in_words(pattern: str, words: str) -> None:
    """Where the pattern is a plain class; another one is shown as it is."""
    assert Limits(name_characters=pattern).name_words == words
