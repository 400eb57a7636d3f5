"""What breaks may lose messages of a backend that delivers at most once, and never brings one back."""

from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Recipe, Running

from unimq.testing.history import Verdict

_BATCH = 10
"""Messages that a consumer of a history takes at once, and that are on their way to a journal at a time."""
_TIMES = "timeout=1500ms&connect_timeout=1s"


def test_history(private: Callable[[Recipe], Running], memcacheq: Recipe, history: Callable[..., Verdict]) -> None:
    """No message comes again after its ack."""
    server = private(memcacheq)
    assert history(f"{server.url}&{_TIMES}", server).repeated == 0


@pytest.mark.parametrize("journal", [False, True], ids=["without", "with a journal"])
def test_history_of_kills(
    private: Callable[[Recipe], Running],
    memcacheq: Recipe,
    history: Callable[..., Verdict],
    tmp_path: Path,
    *,
    journal: bool,
) -> None:
    """Nor where only processes are killed; the summary tells what each way loses by that, a batch at the most."""
    url = f"{private(memcacheq).url}&{_TIMES}"
    verdict = history(f"{url}&lease=2s&journal={tmp_path}/journal.db" if journal else url)
    assert verdict.repeated == 0
    assert len(verdict.lost) <= _BATCH * verdict.faults["consumer killed"]
