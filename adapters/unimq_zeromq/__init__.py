"""ZeroMQ: a queue that some process holds, and no broker; any store of unimq served to other machines over one socket.

URL
    `zeromq+tcp://host:5555/jobs?store=sqlite` (`zeromq://` is the same; port 5555 by default) is queue `jobs` of the
    holder at that address, `zeromq+ipc:///run/jobs.sock?queue=jobs` one on this machine. The holder is
    `unimq.serve("sqlite:////var/lib/app/jobs.db", at="zeromq+tcp://*:5555")` in some process, or the command
    `unimq serve`. `store` says which store is served there, `memory` by default; another one is refused at the connect.

Delivery
    What the store promises, with a lease by the clock of the holder's machine. A consumer that dies, with its machine
    or without, loses its leases at their end. A holder that is killed and started again on a store that survives
    (sqlite) goes on: what was confirmed is there, leases and their acks hold. With `memory` everything in it is gone,
    and a stale ack is refused. A get that waits is woken by a put over the same holder at once, by others within 20 ms.

Limits
    A body has at most 32 MiB. One holder is one thread. Whoever reaches the address may read and write every queue of
    the store: bind to 127.0.0.1 or a path in a private directory, or behind a tunnel. Stores that forget what they
    hand out, or whose leases end with a connection, cannot be served.

Escape hatch
    The frames are described in `unimq.remote.frames`: a program in another language can be a client with any ZeroMQ
    library, by a DEALER socket. A delivered message's `native` is `None`.
"""

from unimq_zeromq.driver import ZeroMQDriver, driver

__all__ = ["ZeroMQDriver", "driver"]
