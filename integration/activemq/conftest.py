"""How the brokers of these tests are started."""

import pytest
from harness import Recipe, ask

_LOGIN = b"CONNECT\naccept-version:1.2\nhost:localhost\nlogin:unimq\npasscode:secret\n\n\0"


@pytest.fixture(scope="session")
def broker() -> Recipe:
    """A broker with a scheduler, the statistics plugin and a login. It is ready when it lets somebody in."""
    return Recipe("activemq", 61613, "activemq://unimq:secret@{address}", ask(_LOGIN, b"CONNECTED"), patience=90)
