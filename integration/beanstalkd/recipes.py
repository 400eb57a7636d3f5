"""How beanstalkd is started for the tests."""

from harness import Recipe, ask

__all__ = ["COUNTED", "LOGGED", "PLAIN"]

_COMMAND = ("beanstalkd", "-l", "{host}", "-p", "{port}")
_ADDRESS = "beanstalkd://{address}/"
_READY = ask(b"list-tubes\r\n", b"OK ")

PLAIN = Recipe("beanstalkd", 11300, _ADDRESS, _READY, command=_COMMAND)
"""In memory."""
LOGGED = Recipe("beanstalkd", 11300, _ADDRESS, _READY, command=(*_COMMAND, "-b", "{data}", "-f0"), variant="logged")
"""With a log that is synced before each answer."""

COUNTED = ("test_an_interruption_is_no_failure",)
"""Cases that fail: the server counts reservations and cannot take one back, so what an interrupted consumer gave back
has been delivered once more, and `max_deliveries` counts that."""
