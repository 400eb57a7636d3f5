"""Nothing that a broker has confirmed is lost, whatever breaks."""

from collections.abc import Callable

import pytest
from harness import Recipe, Running

from unimq.testing.history import Verdict


@pytest.mark.timeout(400)
def test_history(private: Callable[[Recipe], Running], broker: Recipe, history: Callable[..., Verdict]) -> None:
    """Each message whose put was confirmed is acked in the end."""
    server = private(broker)
    assert history(f"{server.url}?lease=2s&timeout=1500ms&connect_timeout=1s", server).lost == set()
