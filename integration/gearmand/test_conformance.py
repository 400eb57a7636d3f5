"""The Gearman backend conforms, on a real server."""

from collections.abc import Callable

import pytest
from harness import Recipe, Running

from unimq.testing import QueueConformance, Server
from unimq.url import URL


class TestPlain(QueueConformance):
    """As Debian starts it, in memory."""

    @pytest.fixture
    def url(self, shared: Callable[[Recipe], str], plain: Recipe) -> str:
        return shared(plain)


class TestDelayed(QueueConformance):
    """With the delays that have to be asked for."""

    @pytest.fixture
    def url(self, shared: Callable[[Recipe], str], plain: Recipe) -> str:
        return str(URL.parse(shared(plain)).with_options(emulate="delay"))


@pytest.fixture(scope="class")
def server_with_store(private: Callable[[Recipe], Running], stored: Recipe) -> Running:
    """A server with a store, which the cases may break."""
    return private(stored)


class TestStored(QueueConformance):
    """With a store, and with the cases that break the server."""

    @pytest.fixture
    def url(self, server_with_store: Running) -> str:
        return server_with_store.url

    @pytest.fixture
    def server(self, server_with_store: Running) -> Server:
        return server_with_store
