"""The driver of `activemq:`: what it can do, and connections to a broker."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from unimq import tls
from unimq.capabilities import Capabilities, Limits, absent, layered, native
from unimq.errors import InvalidURL
from unimq.options import Option, read
from unimq.url import URL

if TYPE_CHECKING:
    from unimq_activemq.session import ActiveMQSession

__all__ = ["ActiveMQDriver", "driver"]

_CAPABILITIES: Final = Capabilities(
    priority=absent("say prioritized=true where the broker's policy has prioritizedMessages; others ignore priorities"),
    delay=native("needs schedulerSupport in the broker"),
    ttl=native("by the clocks of both hosts"),
    headers=native(),
    batch=native("one transaction: all or nothing"),
    nack=layered("one transaction sends a copy and acknowledges the original"),
    nack_delay=layered("as nack"),
    lease=layered("unimq gives the message back; by itself the broker does so when the connection ends"),
    extend=layered(),
    delivery_count=layered("nacks are counted, in a header; deliveries that end in a crash are not"),
    dead_letters=native("one transaction: it is never in both queues"),
    peek=native("shows what others hold as well"),
    stats=native("needs the statistics plugin in the broker"),
    purge=native(),
    queues=native("those that hold messages; needs the statistics plugin"),
    guarantee="at-least-once",
    survives_process_death="yes",
    survives_host_loss="yes",
    survives_server_restart="yes",
    order="fifo-until-redelivery",
    nack_place="tail",
    lease_by="connection",
    counts="nacks",
    atomic_move=True,
    delay_step=1.0,
    keeps=frozenset({"id", "priority"}),
    # A comma makes several destinations of one, a question mark begins options, * and > are wildcards.
    limits=Limits(
        body=100 * 1024 * 1024,
        name_characters=r"[^\x00-\x20\x7f,?*>]",
        headers=5000,
        header_count=990,
        reserved=r"ActiveMQ\..*",
    ),
)

_COUNTED: Final = "in a header; what a consumer that died held counts, whether it was seen or not"


class ActiveMQDriver:
    """Queues of a broker."""

    name = "activemq"
    contract = 1
    library = "stomp"
    install = 'pip install "stomp.py>=9,<10"'
    port = 61613
    path_is_queue = True
    options = (
        Option("persistent", "bool", default=True, doc="Whether the broker writes messages to its disk."),
        Option("prioritized", "bool", default=False, doc="Whether the broker's policy has `prioritizedMessages`."),
        Option(
            "heart_beat",
            "duration",
            10.0,
            "How often broker and client give a sign of life; 0 for never. Twice to three times that tells a death.",
            minimum=0,
            maximum=3600,
        ),
        Option(
            "count_crashes",
            "bool",
            default=False,
            doc="Whether a delivery counts that ended with its consumer's death; what comes back so goes to the tail.",
        ),
        *tls.OPTIONS,
    )

    def capabilities(self, url: URL) -> Capabilities:
        """What a broker with a scheduler and the statistics plugin can do; those that are met may prove less."""
        if url.transport not in (None, "ssl"):
            msg = f"{url}: activemq has no transport {url.transport!r}: write activemq:// or activemq+ssl://"
            raise InvalidURL(msg)
        tls.check(url, tls=url.transport == "ssl")
        own = read(url, self.options)
        told = _CAPABILITIES
        if own["prioritized"]:
            told = replace(told, priority=native(), priority_levels=10)
        if not own["heart_beat"]:
            told = replace(told, survives_host_loss="no")
        if own["count_crashes"]:
            told = replace(told, counts="fetches", crash_counted=True, delivery_count=layered(_COUNTED))
        if not own["persistent"]:
            told = replace(told, survives_server_restart="no")
        return told

    def open(
        self, url: URL, deadline: float, *, options: Mapping[str, Any], known: Capabilities | None = None
    ) -> "ActiveMQSession":
        """A connection, logged in."""
        from unimq_activemq.connecting import connect  # noqa: PLC0415 - imports stomp.py, which only a connection needs
        from unimq_activemq.session import ActiveMQSession  # noqa: PLC0415 - as above

        wire, server = connect(url, options, deadline)
        can = known or self.capabilities(url)
        session = ActiveMQSession(wire, can, server, str(url), options)
        try:
            if known is None:
                session.prove(deadline)
        except BaseException:
            session.close()
            raise
        return session


driver = ActiveMQDriver()
