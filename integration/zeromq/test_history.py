"""Nothing that a holder of a file has confirmed is lost, whatever breaks."""

from collections.abc import Callable

from zeromq.recipes import ON_SQLITE, holding

from unimq.testing.history import Verdict


def test_history(history: Callable[..., Verdict]) -> None:
    """Each message whose put was confirmed is acked in the end."""
    with holding(ON_SQLITE) as server:
        assert history(f"{server.url}&lease=2s&timeout=1500ms&connect_timeout=1s", server).lost == set()
