"""What becomes of one message: its handler is called, and by how that ends the message is settled."""

import logging
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Literal

from unimq.errors import InvalidMessage, LeaseLost, UnimqError
from unimq.message import Message
from unimq.queue import Queue
from unimq.worker.policy import Reject, RetryPolicy

__all__ = ["Fate", "Handler", "Handling", "Middleware", "log"]

Handler = Callable[[Message[Any]], object]
"""Works on a message. What it returns is the reply, where one is wanted; what it raises decides about the next try."""
Middleware = Callable[[Message[Any], Handler], object]
"""Called instead of the handler, with the message and what comes next: `return next_handler(message)` goes on."""
Fate = Literal["done", "retried", "rejected", "lost"]
"""Acked (or settled by the handler itself); given back; in the dead letters; its settlement failed."""

log: Final = logging.getLogger("unimq.worker")


class Handling:
    """A handler with its middleware and its policy."""

    def __init__(
        self, queue: Queue[Any], handler: Handler, policy: RetryPolicy, middleware: Sequence[Middleware]
    ) -> None:
        for layer in reversed(middleware):
            handler = partial(_through, layer, handler)
        self.queue = queue
        self._handler = handler
        self._policy = policy

    def __call__(self, message: Message[Any]) -> Fate:
        """Handle a message; whatever becomes of it, only what is no `Exception` (an interruption) is raised."""
        try:
            message.body  # noqa: B018 - what cannot be decoded is no handler's business
            result = self._handler(message)
        except Exception as error:  # noqa: BLE001 - of the application: any may come
            return _settled(message, partial(self._failed, message, error), "it had failed before")
        return _settled(message, partial(_succeeded, message, result), "it was worked on all the same")

    def _failed(self, message: Message[Any], error: Exception) -> Fate:
        if message.settled:
            log.warning("%r was settled by its handler, which then failed", message, exc_info=error)
            return "done"
        count = message.delivery_count
        if isinstance(error, InvalidMessage) or self._policy.is_last(error, count):
            log.error("%r is given up", message, exc_info=error)
            message.reject(_reason(error))
            return "rejected"
        pause = self._policy.after(error, count) if self.queue.capabilities.nack_delay else 0.0
        log.warning("%r failed and is tried again in %.1f s", message, pause, exc_info=error)
        message.nack(pause)
        return "retried"


def _through(layer: Middleware, handler: Handler, message: Message[Any]) -> object:
    return layer(message, handler)


def _succeeded(message: Message[Any], result: object) -> Fate:
    if result is not None and message.reply_to is not None:
        message.reply(result)
    if not message.settled:
        message.ack()
    return "done"


def _settled(message: Message[Any], settle: Callable[[], Fate], before: str) -> Fate:
    try:
        return settle()
    except LeaseLost as error:
        log.warning("%r is delivered again, and %s: %s", message, before, error)
    except UnimqError as error:
        log.warning("%r could not be settled, and %s: %s", message, before, error)
    return "lost"


def _reason(error: Exception) -> str:
    """What a dead letter says: the error, and the last place of the handler's own that it came through."""
    if isinstance(error, (Reject, InvalidMessage)):
        return str(error)
    said = f"{type(error).__name__}: {error}"
    places = traceback.extract_tb(error.__traceback__)
    return f"{said} (at {places[-1].filename}:{places[-1].lineno}, in {places[-1].name})" if places else said
