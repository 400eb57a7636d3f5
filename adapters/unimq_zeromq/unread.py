"""What a peer on this machine has not read yet, of what a PUSH has written for it.

libzmq drops it if the PUSH is closed before: where the receiver's pipe is full, it takes the end of a Unix socket for
an error and reads no more (https://github.com/zeromq/libzmq/issues/4660; 376 of 3,000 messages were lost by the orderly
end of a producer). Over tcp nothing is lost so. libzmq does not tell of it, but its monitor names the descriptors, and
the system knows how much is unread.
"""

import contextlib
import fcntl
import struct
import termios
import time
from math import ceil
from typing import Final

import zmq
from zmq.utils.monitor import recv_monitor_message

__all__ = ["Unread"]

_LOOKS: Final = 10
_PAUSE: Final = 0.02
"""Seconds between two looks. What waits in libzmq itself is written by its thread as soon as there is room and that
thread has its turn, so that nothing unread, at so many looks, is nothing left."""
_BEGINS: Final = zmq.EVENT_CONNECTED | zmq.EVENT_ACCEPTED
_ENDS: Final = zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED
_SHAKES: Final = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)


class Unread:
    """Of one socket; made before that is bound or connected. Who else wants its monitor asks here: it has but one."""

    def __init__(self, socket: "zmq.Socket[bytes]") -> None:
        self._socket = socket
        self._monitor = socket.get_monitor_socket(_BEGINS | _ENDS | _SHAKES)
        self._descriptors: set[int] = set()

    def event(self, seconds: float) -> int | None:
        """The next beginning, handshake or end of a connection; `None` if there is none within so many seconds."""
        if not self._monitor.poll(ceil(seconds * 1000)):
            return None
        told = recv_monitor_message(self._monitor)
        event, value = int(told["event"]), int(told["value"])
        if event & _BEGINS:
            self._descriptors.add(value)
        elif event & _ENDS:
            self._descriptors.discard(value)
        return event

    def __bool__(self) -> bool:
        """Whether there is something; takes 0.2 s to say no."""
        for look in range(_LOOKS):
            if look:
                time.sleep(_PAUSE)
            if self._now():
                return True
        return False

    def _now(self) -> bool:
        while self.event(0) is not None:
            pass
        return any(map(_unread, self._descriptors))

    def close(self) -> None:
        """Look no more."""
        self._socket.disable_monitor()
        self._monitor.close(0)


def _unread(descriptor: int) -> int:
    """Bytes that were written to it, and not read at the other end."""
    with contextlib.suppress(OSError):  # it ended, which the monitor is about to say
        return int(struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))[0])
    return 0
