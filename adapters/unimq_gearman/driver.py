"""The driver of `gearman://`: what it can do, and connections to a gearmand."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from unimq import options, tls
from unimq.capabilities import Capabilities, Limits, absent, layered, native, opt_in
from unimq.errors import InvalidURL
from unimq.options import Option
from unimq.url import URL

if TYPE_CHECKING:
    from unimq_gearman.session import GearmanSession

__all__ = ["GearmanDriver", "driver"]

_CAPABILITIES: Final = Capabilities(
    priority=native("three levels: 6 to 9, 3 to 5, 0 to 2"),
    delay=opt_in(
        "by SUBMIT_JOB_EPOCH, in whole seconds of the server's clock, rounded up: with priority 4, noticed up to 0.25 s"
        " late, and while one waits the messages of priority 0 to 2 on its queue wait too; without purge"
    ),
    ttl=layered(),
    headers=layered(),
    batch=native("pipelined"),
    nack=layered("a copy is stored, then the original fails"),
    nack_delay=absent("?emulate=delay brings it"),
    lease=layered("unimq gives the message back; by itself the server does so when the connection ends"),
    extend=layered(),
    delivery_count=layered("nacks are counted, in a header; deliveries that end in a crash are not"),
    dead_letters=layered(),
    deduplication=native(
        "by the job's unique id, on each server: which put stored is not told; body, headers and priority stay the"
        " first one's; what is nacked or whose lease ended is a copy without it; foreign jobs of the same name count"
    ),
    cancel=absent("the server knows a job by a handle that a put does not keep"),
    peek=absent("the protocol shows no job without giving it out"),
    stats=native("with `?emulate=delay` what is not due is counted as ready"),
    purge=native("takes and completes what is ready"),
    delete=absent("the server never forgets a function, and `drop function` leaves its jobs in the store"),
    queues=native("those that hold messages"),
    call=native("a foreground job; a worker tries again in hand, any other nack or an ended lease ends the call"),
    progress=native("a job's WORK_STATUS"),
    guarantee="at-least-once",
    survives_process_death="yes",
    survives_host_loss="unknown",
    survives_server_restart="unknown",
    confirmed=True,
    order="fifo-until-redelivery",
    nack_place="tail",
    lease_by="connection",
    counts="nacks",
    priority_levels=3,
    delay_step=1.0,
    # A tab, a space or a line end breaks the tables of the admin protocol, and a NUL the packets.
    limits=Limits(body=64 * 1024 * 1024, name=250, name_characters=r"[^\x00-\x20\x7f]"),
)


class GearmanDriver:
    """Functions of a gearmand."""

    name = "gearman"
    contract = 1
    library = "gearman"
    install = 'pip install "gearman3>=0.2.1"'
    port = 4730
    path_is_queue = True
    options = (
        Option("stored", "bool", default=False, doc="The server keeps its jobs in a store (`gearmand -q ...`)."),
        *tls.OPTIONS,
    )

    def capabilities(self, url: URL) -> Capabilities:
        """What the URL promises of the server, which does not tell whether it stores."""
        if url.user is not None or url.password is not None:
            msg = f"{url}: gearmand knows no users: leave out the user and the password"
            raise InvalidURL(msg)
        if url.transport not in (None, "ssl"):
            msg = f"{url}: gearman has no transport {url.transport!r}: write gearman:// or gearman+ssl://"
            raise InvalidURL(msg)
        tls.check(url, tls=url.transport == "ssl")
        made = _CAPABILITIES
        if options.read(url, self.options)["stored"]:
            made = replace(made, survives_server_restart="yes")
        if "delay" in options.read(url, options.CORE)["emulate"]:
            late = absent("a message that is not due cannot be taken, and not be told from a ready one")
            made = replace(made, nack_delay=layered("as delay"), purge=late)
        return made

    def open(
        self, url: URL, deadline: float, *, options: Mapping[str, Any], known: Capabilities | None = None
    ) -> "GearmanSession":
        """Connect, and ask the server for its version."""
        from unimq_gearman.connecting import connect  # noqa: PLC0415 - it imports the client library
        from unimq_gearman.session import GearmanSession  # noqa: PLC0415 - as above

        capabilities = self.capabilities(url).emulating(options["emulate"])
        return GearmanSession(
            lambda alarm, number, until: connect(url, options, alarm, number, until), capabilities, deadline
        )


driver = GearmanDriver()
