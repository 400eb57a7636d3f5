"""What breaks may lose messages of a backend that delivers at most once, and never brings one back."""

from collections.abc import Callable
from pathlib import Path

from harness import Recipe, Running

from unimq.testing.history import Verdict

_TIMES = "timeout=1500ms&connect_timeout=1s"


def test_history(private: Callable[[Recipe], Running], memcacheq: Recipe, history: Callable[..., Verdict]) -> None:
    """No message comes again after its ack."""
    server = private(memcacheq)
    assert history(f"{server.url}&{_TIMES}", server).repeated == 0


def test_history_with_a_journal(
    private: Callable[[Recipe], Running], memcacheq: Recipe, history: Callable[..., Verdict], tmp_path: Path
) -> None:
    """Nor with a journal, where processes are killed and the server is not."""
    url = f"{private(memcacheq).url}&{_TIMES}&lease=2s&journal={tmp_path}/journal.db"
    assert history(url).repeated == 0
