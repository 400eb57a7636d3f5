"""The driver of `zeromq://`: a store that a holder serves, and connections to it."""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from unimq import registry
from unimq.capabilities import Capabilities, Limits, absent, layered, native
from unimq.driver import Session
from unimq.errors import InvalidURL, Unsupported
from unimq.options import Option, Settings, read
from unimq.remote import RemoteSession
from unimq.remote.store import check_servable, within_a_frame
from unimq.url import URL
from unimq_zeromq.endpoint import endpoint

if TYPE_CHECKING:
    from unimq_zeromq.holder import Holder

__all__ = ["ZeroMQDriver", "driver"]

_SCHEMES: Final = ("zeromq", "zmq")
_LARGEST: Final = 64 * 1024 * 1024
"""Bytes of one frame of push-pull; a peer that sends a larger one is cut off."""

PUSH_PULL: Final = Capabilities(
    ttl=layered(),
    headers=layered(),
    batch=native("libzmq itself sends what waits together"),
    nack=absent("there is no way back through a PUSH socket; serve a store instead"),
    delivery_count=absent("nobody counts"),
    dead_letters=absent("what is received is gone from its queue; serve a store instead"),
    call=absent("a socket is one queue, and goes one way; serve a store instead"),
    guarantee="at-most-once",
    survives_process_death="no",
    survives_host_loss="no",
    survives_server_restart="no",
    confirmed=False,
    order="none",
    limits=Limits(body=_LARGEST),
)


class ZeroMQDriver:
    """Queues that somebody holds, behind one socket."""

    name = "zeromq"
    contract = 1
    library = "zmq"
    install = 'pip install "pyzmq>=27"'
    port = None
    path_is_queue = True
    options = (
        Option(
            "pattern",
            "text",
            "served",
            "A store that somebody serves there, or plain PUSH and PULL sockets.",
            choices=("served", "push-pull"),
        ),
        Option("store", "text", "memory", "served: the scheme of the store; what is not that is refused."),
        Option(
            "bind",
            "text",
            "get",
            "push-pull: who binds the endpoint, the consumer, the producer, or a device between them.",
            choices=("get", "put", "none"),
        ),
        Option("server_key", "text", None, "CURVE: the public key of the side that binds, in Z85, or its file."),
        Option("key_file", "text", None, "CURVE: the own key pair, a file of `zmq.auth.create_certificates`."),
        Option("clients", "text", None, "CURVE, of the side that binds: a folder with the public keys it lets in."),
    )

    def capabilities(self, url: URL) -> Capabilities:
        """Those of the store, without what only its own process can do; or those of plain sockets."""
        endpoint(url)
        own = read(url, self.options)
        _check_pattern(url, own["pattern"])
        return PUSH_PULL if own["pattern"] == "push-pull" else self._served(url, own["store"])

    def _served(self, url: URL, scheme: str) -> Capabilities:
        if scheme in _SCHEMES:
            msg = f"{url}: store={scheme!r}: a holder cannot be served by another; name the store that it has"
            raise InvalidURL(msg)
        can = registry.driver(scheme).capabilities(URL(scheme))
        try:
            check_servable(can, f"{scheme}://")
        except Unsupported as error:
            msg = f"{url}: store={scheme!r}: {error}"
            raise InvalidURL(msg) from None
        return replace(
            within_a_frame(can),
            outbox=absent("the store is in another process"),
            survives_process_death="yes",
            survives_host_loss="yes",
            crash_counted=can.counts == "fetches",
        )

    def open(
        self, url: URL, deadline: float, *, options: Mapping[str, Any], known: Capabilities | None = None
    ) -> Session:
        """Connect to the holder, and learn what it serves; sockets for push-pull are opened when they are used."""
        from unimq_zeromq.keys import Keys  # noqa: PLC0415 - imports pyzmq
        from unimq_zeromq.link import Link  # noqa: PLC0415 - as that

        declared = self.capabilities(url)
        if options["pattern"] == "push-pull":
            from unimq_zeromq.pushpull import PushPullSession  # noqa: PLC0415 - imports pyzmq

            ahead = options["prefetch"] if "prefetch" in url.options else None
            return PushPullSession(url, declared, options, ahead)
        link = Link(endpoint(url), str(url), Keys.to_connect(url, options))
        try:
            link.connected(deadline)
            session = RemoteSession(link, declared, options["store"], str(url), options["max_size"])
            session.meet(max(deadline, time.monotonic()))
        except BaseException:
            link.close()
            raise
        return session

    def serve(self, store: URL, at: URL) -> "Holder":
        """Serve `store` at the address `at` until the result is closed."""
        from unimq_zeromq.holder import Holder  # noqa: PLC0415 - imports pyzmq
        from unimq_zeromq.keys import Keys  # noqa: PLC0415 - as that

        Settings.read(at, self.options)  # refuses what is no option
        return Holder(store, at, Keys.to_bind(at, read(at, self.options)))


def _check_pattern(url: URL, pattern: str) -> None:
    """Refuse an option that means nothing for the pattern."""
    other = "store" if pattern == "push-pull" else "bind"
    if other in url.options:
        msg = f"{url}: {other}= means nothing for pattern={pattern}: leave it out"
        raise InvalidURL(msg)


driver = ZeroMQDriver()
