"""ZeroMQ without a broker: any store of unimq served over one socket, or plain PUSH and PULL sockets.

URL
    `zeromq+tcp://host:5555/jobs?store=sqlite` (`zeromq://` is the same; port 5555 by default) is queue `jobs` of
    the holder at that address, `zeromq+ipc:///run/jobs.sock?queue=jobs` one on this machine. The holder is
    `unimq.serve("sqlite:////var/lib/app/jobs.db", at="zeromq+tcp://*:5555")` in some process, or the command `unimq
    serve`. `store` says which store is served there, `memory` by default; another is refused at the connect.
    `zeromq+tcp://host:5556/jobs?pattern=push-pull` is a pair of sockets between producers and consumers: over tcp
    one endpoint is one queue, over ipc the path is a folder with a socket for each. `bind=get` (default) lets the
    consumer bind, so that many put and one process gets; `bind=put` the producer, so that many get what one process
    puts; `bind=none` neither, with a device (a streamer) between. `prefetch=` given sets how many messages libzmq
    may have on the way at each side, with socket buffers of 4 KiB; it bounds what a consumer's death loses, and
    slows down.
    With CURVE the side that binds has `key_file=` (in `at` of a holder), a file that `zmq.auth.create_certificates`
    made, and `clients=`, a folder with the public keys it lets in, read once; without it whoever knows its public key
    may connect. The other side has `server_key=`, that public key (percent-encoded) or its file, and an own
    `key_file=`.

Delivery
    Served: what the store promises, with a lease by the clock of the holder's machine. A consumer that dies, with
    its machine or without, loses its leases at their end. A holder that is killed and started again on a store that
    survives (sqlite) goes on: what was confirmed is there, leases and their acks hold. With `memory` everything in
    it is gone, and a stale ack is refused. A get that waits is woken at once by a put over the same holder and, on
    a store in memory or in a file, by one of the holder's own process (0.6 and 1.2 ms were measured); by a put of
    another process on the file within 20 ms.
    Push-pull: at most once, accepted and not confirmed. What is in libzmq's and the system's buffers dies with
    either process. With messages of 100 bytes a killed consumer took about 30,000 with it over tcp, 2,000 over ipc,
    and 136 with `prefetch=1`. A put waits while the pipe is full, and raises `Full` at its deadline. What was put
    is still sent at the end of the process, for up to 5 s; after a `close`, as long as the process lives.
    Over ipc the socket stays open until what it wrote is read, as libzmq drops that otherwise.

Limits
    A body has at most 32 MiB. One holder is one thread. Without CURVE whoever reaches the address may read and
    write every queue of the store: bind to 127.0.0.1 or a path in a private directory. Stores that forget what
    they hand out, or whose leases end with a connection, cannot be served.
    What needs users with rights of their own, more than one core for its queues, or clients in many languages is for a
    broker: `activemq://` is another URL.
    Push-pull: 64 MiB a body. There is nobody to count, list, delay, give back to or take dead letters. With
    `bind=get` a second consumer process stands by until the address is free.

Escape hatch
    `docs/remote-protocol.md` describes the frames: a program in another language can be a client with any ZeroMQ
    library, by a DEALER socket. A push-pull message without headers is its body in one frame; what a foreign
    program sends in several frames is one body, and `native` the list of its frames. Otherwise `native` is `None`.
"""

from unimq_zeromq.driver import ZeroMQDriver, driver

__all__ = ["ZeroMQDriver", "driver"]
