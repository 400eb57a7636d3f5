"""A program that knows ZeroMQ and nothing of unimq: `stream`, `put ADDRESS COUNT` or `take ADDRESS COUNT`.

A streamer has its front at port 5557 and its back at port 5558. What `put` sends is a number, every tenth in two
frames; `take` prints the frames of each message in hexadecimal, a line for each message.
"""

import sys

import zmq

LONGEST = 30_000
"""Milliseconds without a message after which it gives up."""


def stream(context: "zmq.Context[bytes]") -> None:
    """Hand on what comes, without an end."""
    front, back = context.socket(zmq.PULL), context.socket(zmq.PUSH)
    front.bind("tcp://*:5557")
    back.bind("tcp://*:5558")
    zmq.proxy(front, back)


def put(context: "zmq.Context[bytes]", address: str, count: str) -> None:
    """Be a producer."""
    push = context.socket(zmq.PUSH)
    push.linger = LONGEST
    push.connect(address)
    for number in range(int(count)):
        push.send_multipart([b"%d" % number, b"\0more"] if number % 10 == 0 else [b"%d" % number])
    push.close()
    context.term()


def take(context: "zmq.Context[bytes]", address: str, count: str) -> None:
    """Be a consumer."""
    pull = context.socket(zmq.PULL)
    pull.rcvtimeo = LONGEST
    pull.connect(address)
    for _ in range(int(count)):
        print(*(frame.hex() for frame in pull.recv_multipart()))


if __name__ == "__main__":
    {"stream": stream, "put": put, "take": take}[sys.argv[1]](zmq.Context(), *sys.argv[2:])
