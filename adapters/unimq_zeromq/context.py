"""The ZeroMQ context of this process: one, made when it is first needed, and another one in a forked child."""

import os
import threading
from typing import Any

import zmq

__all__ = ["context"]

_lock = threading.Lock()
_contexts: "dict[int, zmq.Context[Any]]" = {}


def context() -> "zmq.Context[Any]":
    """The context of this process. That of a parent has no threads here, and is neither used nor ended."""
    with _lock:
        found = _contexts.get(os.getpid())
        if found is None:
            found = _contexts[os.getpid()] = zmq.Context()
            found.max_sockets = 65_536
        return found


def _after_fork() -> None:
    global _lock  # noqa: PLW0603 - a lock of the parent is replaced, once per fork
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
