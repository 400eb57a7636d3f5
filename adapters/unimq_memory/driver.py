"""The driver of `memory://`: what it can do, and sessions on the brokers of this process."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from unimq import registry
from unimq.capabilities import Capabilities, Limits, absent, layered, native
from unimq.driver import Settling
from unimq.errors import InvalidURL
from unimq.options import Option, read
from unimq.url import URL
from unimq_memory.behaviour import Behaviour
from unimq_memory.broker import broker
from unimq_memory.session import MemorySession

__all__ = ["MemoryDriver", "driver"]

_OWN: Final = Capabilities(
    priority=native(),
    delay=native(),
    ttl=native(),
    headers=native(),
    batch=native(),
    nack=native(),
    nack_delay=native(),
    lease=native(),
    extend=native(),
    delivery_count=native(),
    dead_letters=native("one step: it is never in both queues"),
    max_size=native(),
    deduplication=native("in time that grows with the queue"),
    cancel=native("by id, in time that grows with the queue"),
    peek=native(),
    stats=native(),
    purge=native(),
    delete=native(),
    queues=native(),
    outbox=absent("there is no transaction to take part in"),
    guarantee="at-least-once",
    survives_process_death="no",
    survives_host_loss="no",
    survives_server_restart="no",
    confirmed=True,
    order="fifo-until-redelivery",
    nack_place="front",
    lease_by="get",
    counts="fetches",
    atomic_move=True,
    priority_levels=10,
    keeps=frozenset({"id", "enqueued_at", "priority"}),
    limits=Limits(name_characters=r"[^\x00-\x1f\x7f]"),
)


class MemoryDriver:
    """In-process brokers, by name."""

    name = "memory"
    contract = 1
    library = None
    install = ""
    port = None
    path_is_queue = True
    options = (
        Option("profile", "text", None, "Behave as the backend of that scheme declares itself, for unit tests."),
    )

    def capabilities(self, url: URL) -> Capabilities:
        """Everything; with a profile what that backend declares for a URL without options.

        But for replies that a server itself brings: here they come by reply queues, as with most backends.
        """
        profile = read(url, self.options)["profile"]
        if profile is None:
            return _OWN
        if profile == "memory":
            msg = f"{url}: profile='memory' is what memory:// is without a profile; known: {', '.join(_others())}"
            raise InvalidURL(msg)
        declared = registry.driver(profile).capabilities(URL(profile))
        if declared.call.level != "native":
            return declared
        return replace(declared, call=layered("by a reply queue"), progress=absent("no reply queue brings it"))

    def open(
        self, url: URL, deadline: float, *, options: Mapping[str, Any], known: Capabilities | None = None
    ) -> MemorySession:
        """A session on the broker that the host names."""
        name = url.hosts[0].name if url.hosts else ""
        capabilities = self.capabilities(url)
        behaviour = Behaviour.of(capabilities, _settling(options))
        return MemorySession(broker(name), capabilities, behaviour, options["max_size"])


def _settling(options: Mapping[str, Any]) -> Settling | None:
    """Where the imitated driver lets deliveries be settled, if it says so; its capabilities do not."""
    profile = options["profile"]
    return None if profile is None else getattr(registry.driver(profile), "settling", None)


def _others() -> list[str]:
    return [scheme for scheme in registry.schemes() if scheme != "memory"]


driver = MemoryDriver()
