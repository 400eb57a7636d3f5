"""Nothing that a server with a store has confirmed is lost, whatever breaks."""

from collections.abc import Callable

from harness import Recipe, Running

from unimq.testing.history import Verdict


def test_history(private: Callable[[Recipe], Running], stored: Recipe, history: Callable[..., Verdict]) -> None:
    """Each message whose put was confirmed is acked in the end."""
    server = private(stored)
    assert history(f"{server.url}&timeout=1500ms&connect_timeout=1s", server).lost == set()
