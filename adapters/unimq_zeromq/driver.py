"""The driver of `zeromq://`: a store that a holder serves, and connections to it."""

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from unimq import options, registry
from unimq.capabilities import Capabilities, absent
from unimq.errors import InvalidURL, Unsupported
from unimq.options import Option
from unimq.remote import RemoteSession
from unimq.remote.store import check_servable, within_a_frame
from unimq.url import URL
from unimq_zeromq.endpoint import endpoint

if TYPE_CHECKING:
    from unimq_zeromq.holder import Holder

__all__ = ["ZeroMQDriver", "driver"]

_SCHEMES: Final = ("zeromq", "zmq")


class ZeroMQDriver:
    """Queues that somebody holds, behind one socket."""

    name = "zeromq"
    contract = 1
    library = "zmq"
    install = 'pip install "unimq[zeromq]"'
    path_is_queue = True
    options = (
        Option("store", "text", "memory", "The scheme of the store that is served there; what differs is refused."),
    )

    def capabilities(self, url: URL) -> Capabilities:
        """Those of the store, without what only its own process can do."""
        endpoint(url)
        scheme = options.read(url, self.options)["store"]
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

    def open(self, url: URL, deadline: float) -> RemoteSession:
        """Connect to the holder, and learn what it serves."""
        from unimq_zeromq.link import Link  # noqa: PLC0415 - imports pyzmq

        read = options.read(url, (*options.CORE, *self.options))
        declared = self.capabilities(url)
        link = Link(endpoint(url), str(url))
        try:
            link.connected(deadline)
            session = RemoteSession(link, declared, read["store"], str(url), read["max_size"])
            session.meet(max(deadline, time.monotonic()))
        except BaseException:
            link.close()
            raise
        return session

    def serve(self, store: URL, at: URL) -> "Holder":
        """Serve `store` at the address `at` until the result is closed."""
        from unimq_zeromq.holder import Holder  # noqa: PLC0415 - imports pyzmq

        return Holder(store, at)


driver = ZeroMQDriver()
