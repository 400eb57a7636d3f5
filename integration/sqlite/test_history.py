"""Nothing that a file has confirmed is lost, whoever is killed."""

from collections.abc import Callable
from pathlib import Path

from unimq.testing.history import Verdict


def test_history(tmp_path: Path, history: Callable[..., Verdict]) -> None:
    """Each message whose put was confirmed is acked in the end, and none comes again after that."""
    verdict = history(f"sqlite:///{tmp_path}/jobs.db?lease=2s")
    assert verdict.lost == set()
    assert verdict.repeated == 0
