"""A URL as a value: equal, hashed, immutable, and its file's path made absolute."""

import os
from pathlib import Path

import pytest

from unimq import URL


def test_equal_urls_are_one_key_and_others_are_not() -> None:
    """However they were written; every part counts."""
    texts = ["x://h/q", "y://h/q", "x+tls://h/q", "x://a@h/q", "x://a:b@h/q", "x://h:1/q", "x://h/r", "x://h/q?a=b"]
    assert len({hash(URL.parse(text)) for text in texts}) == len(texts)
    assert len({URL.parse(text) for text in [*texts, *texts]}) == len(texts)
    assert hash(URL.parse("X://h/q?a=1&b=%32")) == hash(URL.parse("x://h/q?b=2&a=1"))


def test_what_may_not_be_changed_is_named() -> None:
    """Setting and deleting alike."""
    url = URL.parse("x://h/q")
    with pytest.raises(AttributeError, match="instead of setting 'path'"):
        url.path = "/r"
    with pytest.raises(AttributeError, match="instead of setting 'path'"):
        del url.path
    assert url.path == "/q"


def test_a_path_is_anchored_where_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later change of the working directory means nothing; without a path there is nothing to anchor."""
    monkeypatch.chdir(tmp_path)
    url = URL.parse("sqlite:///jobs.db?queue=jobs").anchored()
    monkeypatch.chdir("/")
    assert url.file_path == os.path.realpath(tmp_path / "jobs.db")
    assert url.options["queue"] == "jobs"
    assert url.anchored() == url
    bare = URL.parse("sqlite://?queue=jobs")
    assert bare.anchored() is bare
