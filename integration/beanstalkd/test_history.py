"""Nothing that a server with its log on has confirmed is lost, whatever breaks."""

from collections.abc import Callable

from beanstalkd.recipes import LOGGED
from harness import Recipe, Running

from unimq.testing.history import Verdict


def test_history(private: Callable[[Recipe], Running], history: Callable[..., Verdict]) -> None:
    """Each message whose put was confirmed is acked in the end."""
    server = private(LOGGED)
    assert history(f"{server.url}?lease=2s&timeout=1500ms&connect_timeout=1s", server).lost == set()
