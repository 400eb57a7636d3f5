"""A program of others on the same broker."""

import queue
from typing import Any

import stomp

import unimq

__all__ = ["Foreign"]


class Foreign(stomp.ConnectionListener):  # type: ignore[misc] # it has no types
    """A program as stomp.py's users write it."""

    def __init__(self, url: unimq.URL) -> None:
        host = url.hosts[0]
        self.frames: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.connection = stomp.Connection12(
            [(host.name, host.port or 61613)], auto_decode=False, try_loopback_connect=False
        )
        self.connection.set_listener("", self)
        self.connection.connect(url.user, url.password, wait=True)

    def on_message(self, frame: Any) -> None:
        """One more."""
        self.frames.put(frame)
