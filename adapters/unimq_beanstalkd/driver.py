"""The driver of `beanstalkd://`: what it can do, and connections to the server."""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from unimq.capabilities import Capabilities, Limits, absent, layered, native
from unimq.errors import ConnectError, InvalidURL, Timeout
from unimq.url import URL

if TYPE_CHECKING:
    from unimq_beanstalkd.session import BeanstalkdSession

__all__ = ["BeanstalkdDriver", "driver"]

_LARGEST: Final = 2**30
"""The most that `beanstalkd -z` accepts; what the server at hand allows is asked when it is met."""

_CAPABILITIES: Final = Capabilities(
    priority=native(),
    delay=native("in whole seconds, rounded up"),
    ttl=layered(),
    headers=layered(),
    batch=native("pipelined"),
    nack=native(),
    nack_delay=native("in whole seconds, rounded up"),
    lease=native("fixed by the put, in whole seconds, rounded up"),
    extend=native("the lease of the put begins again"),
    delivery_count=native(),
    dead_letters=layered(),
    cancel=absent("the server knows a message by a number of its own"),
    peek=native("the next message"),
    stats=native("the age of the oldest is not told"),
    purge=native(),
    delete=native("what other connections hold cannot be removed, and is told"),
    queues=native("those that hold messages or have users"),
    guarantee="at-least-once",
    survives_process_death="yes",
    survives_host_loss="unknown",
    survives_server_restart="unknown",
    confirmed=True,
    order="fifo-until-redelivery",
    nack_place="front",
    lease_by="put",
    counts="fetches",
    crash_counted=True,
    priority_levels=10,
    delay_step=1.0,
    lease_step=1.0,
    keeps=frozenset({"priority"}),
    limits=Limits(
        body=_LARGEST,
        name=200,
        name_characters=r"(?!\A-)[A-Za-z0-9_.+/;$()-]",
        delay=2.0**32 - 1,
        peek=1,
    ),
)


class BeanstalkdDriver:
    """Tubes of a beanstalkd."""

    name = "beanstalkd"
    contract = 1
    library = "greenstalk"
    install = 'pip install "greenstalk>=2"'
    port = 11300
    path_is_queue = True
    options = ()

    def capabilities(self, url: URL) -> Capabilities:
        """The same for every server, until it is met."""
        if url.user is not None or url.password is not None:
            msg = f"{url}: beanstalkd knows no users: leave out the user and the password"
            raise InvalidURL(msg)
        if url.transport not in (None, "unix"):
            msg = f"{url}: beanstalkd speaks plain TCP (beanstalkd://) or on a socket file (beanstalkd+unix:///path)"
            raise InvalidURL(msg)
        return _CAPABILITIES

    def open(
        self, url: URL, deadline: float, *, options: Mapping[str, Any], known: Capabilities | None = None
    ) -> "BeanstalkdSession":
        """Connect, and ask the server for its limit of a body and its log."""
        from unimq_beanstalkd.session import BeanstalkdSession  # noqa: PLC0415 - it imports the client library
        from unimq_beanstalkd.wire import connect  # noqa: PLC0415

        wire = connect(url, deadline)
        try:
            proved = known or _proved(
                self.capabilities(url), wire.table(b"stats", max(deadline, time.monotonic() + 0.1))
            )
            wire.used()
        except Timeout as error:
            wire.close()
            msg = f"{url}: connected, and nothing answers in time"
            raise ConnectError(msg) from error
        except (KeyError, ValueError) as error:
            wire.close()
            msg = f"{url}: it does not tell its max-job-size and its log: is this a beanstalkd?"
            raise ConnectError(msg) from error
        except BaseException:
            wire.close()
            raise
        return BeanstalkdSession(wire, proved, lambda until: connect(url, until))


def _proved(declared: Capabilities, told: dict[str, str] | None) -> Capabilities:
    """What the server says of its limit for bodies, and whether it keeps a log. Raises `KeyError` or `ValueError`."""
    stats = told or {}
    limits = replace(declared.limits, body=min(int(stats["max-job-size"]), _LARGEST))
    logs = int(stats["binlog-current-index"]) > 0
    return replace(declared, limits=limits, survives_server_restart="yes" if logs else "no")


driver = BeanstalkdDriver()
