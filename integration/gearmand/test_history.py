"""Nothing that a server has confirmed is lost, whatever breaks of what it promises to outlive."""

from collections.abc import Callable

from harness import Recipe, Running

from unimq.testing.history import Verdict


def test_history_in_memory(shared: Callable[[Recipe], str], plain: Recipe, history: Callable[..., Verdict]) -> None:
    """Each message whose put was confirmed is acked in the end: the server lives, its clients are killed."""
    assert history(shared(plain)).lost == set()


def test_history(private: Callable[[Recipe], Running], stored: Recipe, history: Callable[..., Verdict]) -> None:
    """Each message whose put was confirmed is acked in the end, with a server that is killed too."""
    server = private(stored)
    assert history(f"{server.url}&timeout=1500ms&connect_timeout=1s", server).lost == set()
