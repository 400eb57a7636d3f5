"""How the brokers of the tests are started."""

from typing import Final

from harness import Recipe, ask

__all__ = ["BROKER"]

_LOGIN: Final = b"CONNECT\naccept-version:1.2\nhost:localhost\nlogin:unimq\npasscode:secret\n\n\0"

BROKER: Final = Recipe("activemq", 61613, "activemq://unimq:secret@{address}", ask(_LOGIN, b"CONNECTED"), patience=120)
"""With a scheduler, the statistics plugin and a login. It is ready when it lets somebody in."""
