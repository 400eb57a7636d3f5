"""A queue of its own for what is tried out on somebody's server, and its removal."""

import uuid
from typing import Any

import unimq
from unimq.cli.show import note

__all__ = ["remove", "remove_quietly", "scratch_name"]


def scratch_name() -> str:
    """A name that nobody else uses, of characters that every backend takes."""
    return f"scratch-{uuid.uuid4().hex[:12]}"


def remove(queue: "unimq.Queue[Any]") -> str:
    """Remove a scratch queue, or what is in it where the backend has no more; returns what was done.

    Raises:
        UnimqError: the backend could not.
    """
    can = queue.capabilities
    if not queue.client.pool.met:
        return "nothing was made"
    if can.delete:
        queue.delete()
        return "removed"
    if can.purge:
        queue.purge()
        return f"emptied; the backend removes no queues: {queue.name}"
    return f"the backend cannot remove it: {queue.name}"


def remove_quietly(queue: "unimq.Queue[Any]") -> None:
    """Remove a scratch queue after something else; a failure is said and changes nothing."""
    try:
        remove(queue)
    except unimq.UnimqError as error:
        note(f"the scratch queue {queue.name} is left: {error}")
