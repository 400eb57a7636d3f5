"""Every error that unimq raises, in one tree; a name tells whose fault it is.

    UnimqError
    |-- yours (ask differently)
    |   |-- InvalidURL(ValueError)            a connection URL that cannot be used
    |   |   `-- DriverMissing(ImportError)    the scheme is known, its library is not installed
    |   |-- InvalidArgument(ValueError)       an argument out of its range
    |   |   `-- InvalidName(ValueError)       a queue name that the backend cannot take
    |   |-- TooLarge(ValueError)              a body over the backend's limit
    |   |-- Unsupported(NotImplementedError)  the backend cannot do this; refused before any I/O
    |   |-- AlreadySettled(RuntimeError)      the message was acked, nacked or rejected before
    |   |-- Closed(RuntimeError)              the queue or client was closed before
    |-- the state of the queue (try later)
    |   |-- Empty(queue.Empty)                no message in time
    |   `-- Full(queue.Full)                  `?max_size=` is reached
    |-- InvalidMessage(ValueError)            what arrived cannot be decoded
    |-- ServerError(RuntimeError)             the server said no
    |   |-- AuthenticationFailed(PermissionError)
    |   `-- StorageError(OSError)             no space, read-only, not a unimq store
    |-- the way there
    |   |-- ConnectError(ConnectionError)     no connection could be made
    |   |-- ConnectionLost(ConnectionError)   a connection broke in use
    |   |-- Timeout(TimeoutError)             the operation's deadline is over
    |   `-- LeaseLost(RuntimeError)           the message is no longer ours to settle
    |-- RemoteError(RuntimeError)             who was called could not do it
    |-- ProtocolError(RuntimeError)           the peer broke its protocol
    `-- BatchError(RuntimeError)              some of many failed; `outcomes` says which

Every error has `retryable` (the same call may succeed later without a change) and `in_doubt` (only for a put: the
message may have been stored, repeating it may duplicate). The client library's own exception is the `__cause__`.
No error ever carries a password: URLs in messages are masked.
"""

import queue as _queue
from collections.abc import Sequence
from typing import ClassVar

__all__ = [
    "AlreadySettled",
    "AuthenticationFailed",
    "BatchError",
    "Closed",
    "ConnectError",
    "ConnectionLost",
    "DriverMissing",
    "Empty",
    "Full",
    "InvalidArgument",
    "InvalidMessage",
    "InvalidName",
    "InvalidURL",
    "LeaseLost",
    "ProtocolError",
    "RemoteError",
    "ServerError",
    "StorageError",
    "Timeout",
    "TooLarge",
    "UnimqError",
    "Unsupported",
]


class UnimqError(Exception):
    """The root of every error that unimq raises on purpose."""

    retryable: ClassVar[bool] = False
    """Whether the same call may succeed later, with nothing changed by the caller."""
    ends_session: bool = False
    """Whether the connection on which it happened cannot be used any more; for drivers, which may set it."""

    def __init__(self, message: str, *, in_doubt: bool = False) -> None:
        """Say what was tried, where (masked), the value seen and what to do.

        `in_doubt` is true only for a put or a settlement whose outcome is unknown: the server may have done it.
        """
        super().__init__(message)
        self.in_doubt = in_doubt


class InvalidURL(UnimqError, ValueError):
    """A connection URL that cannot be used: syntax, unknown scheme, unknown or ill-typed option."""


class DriverMissing(InvalidURL, ImportError):
    """The scheme is known but its client library is not installed; the text says what to install."""


class InvalidArgument(UnimqError, ValueError):
    """An argument out of its range; the text names it, the value and the range."""


class InvalidName(InvalidArgument):
    """A queue name that this backend cannot take."""


class TooLarge(UnimqError, ValueError):
    """The encoded body is over the backend's limit; nothing was sent."""


class Unsupported(UnimqError, NotImplementedError):
    """This backend cannot do what was asked; nothing was sent."""


class AlreadySettled(UnimqError, RuntimeError):
    """The message was acked, nacked or rejected before."""


class Closed(UnimqError, RuntimeError):
    """The queue or its client was closed before this call."""


class Empty(UnimqError, _queue.Empty):
    """No message arrived within the timeout. It is a `queue.Empty`."""

    retryable = True


class Full(UnimqError, _queue.Full):
    """The queue holds `?max_size=` messages; nothing was stored. It is a `queue.Full`."""

    retryable = True


class InvalidMessage(UnimqError, ValueError):
    """What arrived cannot be decoded. The message is still in hand: settle it, or read its `raw` bytes."""


class ServerError(UnimqError, RuntimeError):
    """The server refused, with its own words in the text."""


class AuthenticationFailed(ServerError, PermissionError):
    """The server refused the credentials, or they lack a permission."""


class StorageError(ServerError, OSError):
    """The store cannot be used: no space, read-only, locked for too long, foreign file, newer schema."""

    # OSError replaces __str__ and __reduce__ only for two or more arguments; one text keeps both plain.


class ConnectError(UnimqError, ConnectionError):
    """No connection could be made within the deadline."""

    retryable = True


class ConnectionLost(UnimqError, ConnectionError):
    """A connection broke while it was used. `in_doubt` says whether a put or a settlement may have been done."""

    retryable = True
    ends_session = True


class Timeout(UnimqError, TimeoutError):
    """The operation's deadline passed. `in_doubt` says whether a put or a settlement may have been done."""

    retryable = True
    ends_session = True


class LeaseLost(UnimqError, RuntimeError):
    """The message is no longer ours: its lease ended or its connection is gone. It will be, or was, delivered again."""


class RemoteError(UnimqError, RuntimeError):
    """The worker that was called gave the message up; the text has its error's own words, which are not checked."""


class ProtocolError(UnimqError, RuntimeError):
    """The peer sent what its protocol does not allow; the session was closed."""

    ends_session = True


class BatchError(UnimqError, RuntimeError):
    """Some members of a batch failed. `outcomes` has one entry per member, in order: the result, or its error."""

    def __init__(self, message: str, outcomes: Sequence[object] = ()) -> None:
        """Keep the outcome of every member beside the summary in `message`."""
        super().__init__(message, in_doubt=any(isinstance(o, UnimqError) and o.in_doubt for o in outcomes))
        self.outcomes = list(outcomes)

    @property
    def failed(self) -> list[int]:
        """The positions of the members that failed, counted from 0."""
        return [i for i, outcome in enumerate(self.outcomes) if isinstance(outcome, UnimqError)]
