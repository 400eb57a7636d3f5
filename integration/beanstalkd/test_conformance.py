"""The beanstalkd backend conforms, on a real server."""

from collections.abc import Callable

import pytest
from beanstalkd.recipes import COUNTED, LOGGED, PLAIN
from harness import Recipe, Running

from unimq.testing import QueueConformance, Server


@pytest.fixture(autouse=True)
def _counted(request: pytest.FixtureRequest) -> None:
    if request.node.originalname in COUNTED:
        request.node.add_marker(pytest.mark.xfail(reason="the server cannot take back a count", strict=True))


class TestPlain(QueueConformance):
    """As Debian starts it, in memory."""

    @pytest.fixture
    def url(self, shared: Callable[[Recipe], str]) -> str:
        return shared(PLAIN)


@pytest.fixture(scope="class")
def logged(private: Callable[[Recipe], Running]) -> Running:
    """A server with a log, which the cases may break."""
    return private(LOGGED)


class TestLogged(QueueConformance):
    """With a log, and with the cases that break the server."""

    @pytest.fixture
    def url(self, logged: Running) -> str:
        return logged.url

    @pytest.fixture
    def server(self, logged: Running) -> Server:
        return logged
