"""The face: `Queue`, one queue on whatever backend its URL names, its dead letters, and the client that queues share.

It says what an application can call, and leaves how to the sender, the receiver and the settler of its endpoint. A
queue has a client and a client makes queues, so both are here.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypeVar, cast, overload

from unimq.backend import Backend
from unimq.calling import Calling
from unimq.calls import Caller
from unimq.capabilities import Capabilities
from unimq.credentials import Credentials
from unimq.endpoint import Endpoint, label, refuse_pickling, with_count
from unimq.getting import Getting
from unimq.hooks import Hooks
from unimq.masking import without_frames
from unimq.message import Message
from unimq.observing import observed
from unimq.options import count
from unimq.putting import Putting
from unimq.redrive import redrive
from unimq.several import Several
from unimq.tending import Tending
from unimq.url import URL

__all__ = ["Client", "DeadLetterQueue", "Queue", "connect"]

T = TypeVar("T")


class Queue(Putting[T], Getting[T], Calling[T], Tending[T]):
    """One queue. Safe to share between threads; lazy: it connects when it is first used.

    ```python
    with unimq.Queue("sqlite:///jobs.db?queue=mail") as queue:
        queue.put({"to": "ada@example.org"})
        with queue.get(timeout=5) as message:
            send(message.body)
    ```
    """

    @overload
    def __init__(
        self: "Queue[Any]",
        url: str | URL | None = None,
        *,
        type: None = None,
        name: str | None = None,
        codec: str | None = None,
        lease: float | timedelta | None = None,
        max_deliveries: int | None = None,
        require: Iterable[str] = (),
        credentials: Credentials | None = None,
        hooks: Hooks | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self,
        url: str | URL | None = None,
        *,
        type: type[T],
        name: str | None = None,
        codec: str | None = None,
        lease: float | timedelta | None = None,
        max_deliveries: int | None = None,
        require: Iterable[str] = (),
        credentials: Credentials | None = None,
        hooks: Hooks | None = None,
    ) -> None: ...
    @without_frames
    def __init__(  # noqa: PLR0913 - each is a keyword of its own
        self,
        url: str | URL | None = None,
        *,
        type: Any = None,  # noqa: A002 - the word that users look for
        name: str | None = None,
        codec: str | None = None,
        lease: float | timedelta | None = None,
        max_deliveries: int | None = None,
        require: Iterable[str] = (),
        credentials: Credentials | None = None,
        hooks: Hooks | None = None,
    ) -> None:
        """A queue on a client of its own, closed with it. No I/O happens here.

        Args:
            url: The connection URL; `None` reads the environment variable `UNIMQ_URL`.
            type: What bodies are: a dataclass, Struct, TypedDict, pydantic model, ...; `None` takes what the codec has.
            name: The queue's name; `None` takes the URL's.
            codec: `json` (default), `msgpack`, `text`, `raw` or `pickle`; overrides the URL's.
            lease: Seconds that a consumer owns a message, 0.05 or more; overrides the URL's (60).
            max_deliveries: How often a message is delivered before it is a dead letter, 1 or more; overrides the URL's.
            require: What must hold, e.g. `{"delay", "at-least-once"}`: see `unimq.capabilities.Requirement`.
            credentials: Called before each connection is made, for a user and password that change.
            hooks: Functions that are told about connections, sends, receives and settlements.

        Raises:
            InvalidURL: the URL, or one of its options, cannot be used.
            InvalidName, InvalidArgument: the name or an argument is out of its range.
            Unsupported: the backend cannot do what `require` or an option asks for.
        """
        url = URL.parse(url)
        options = {"codec": codec, "lease": lease, "max_deliveries": max_deliveries}
        client = Client(with_count(url, max_deliveries), require=require, credentials=credentials, hooks=hooks)
        self._adopt(client.endpoint(name, type, Message, **options), owns_client=True)

    @classmethod
    def _of(cls, endpoint: Endpoint[Any], *, owns_client: bool = False) -> Self:
        queue = cls.__new__(cls)
        queue._adopt(endpoint, owns_client=owns_client)
        return queue

    def _adopt(self, endpoint: Endpoint[T], *, owns_client: bool) -> None:
        self._endpoint = endpoint
        if endpoint.hooks.around is not None:
            self.__class__ = observed(type(self))
        self._owns_client = owns_client
        self._dead: DeadLetterQueue[T] | None = None

    @property
    def name(self) -> str:
        """The queue's name."""
        return self._endpoint.name

    @property
    def codec(self) -> str:
        """The name of the codec of its bodies."""
        return self._endpoint.codec.name

    @property
    def client(self) -> "Client":
        """The client with the connections; a `Queue(url)` has one of its own."""
        return cast("Client", self._endpoint.client)

    @property
    def capabilities(self) -> Capabilities:
        """What the backend can do: declared for the URL, and after the first connection what the server proved."""
        return self._endpoint.capabilities

    @property
    def dead(self) -> "DeadLetterQueue[T]":
        """The queue of what was given up: `<name>.dead`, or what `?dead=` names."""
        if self._dead is None:
            self._dead = DeadLetterQueue[T]._of_parent(self._endpoint)
        return self._dead

    def close(self) -> None:
        """End the gets that wait, and give back what was fetched and not handed over. Idempotent.

        The client is closed too where the queue made it; in a second. Messages in hand come back with their lease.
        """
        self._endpoint.close()
        if self._owns_client:
            self.client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    __repr__ = label
    __reduce__ = refuse_pickling


class DeadLetterQueue(Queue[T]):
    """What was given up. Its headers tell: `unimq-dead-reason`, `-at`, `-origin`, `-put`, `-deliveries`, `-details`.

    It is a queue like any other: get, ack and peek work; `reject` inside it discards.
    """

    _parent: Endpoint[T]

    @classmethod
    def _of_parent(cls, parent: Endpoint[T]) -> Self:
        queue = cls._of(parent.dead_endpoint())
        queue._parent = parent
        return queue

    def redrive(self, limit: int | None = None, *, id: str | None = None, rate: float | None = None) -> int:  # noqa: A002
        """Put dead letters back where they came from, as if never delivered; returns how many.

        It ends with those that were there at the start, or after `limit` (1 or more). With `id`, one that has it goes
        back: 1, or 0 when there is none; the others are in hand during the search. `rate` is how many a second at most
        (0.001 to a million). What has an origin that is no name here goes to the queue whose dead letters these are.

        Raises:
            InvalidArgument: an argument is out of its range.
            Unsupported: `id`, where what is in hand dies with this process (at-most-once).
            BatchError: some could not be put back and are still there; `outcomes` has `None` or an error for each.
        """
        return redrive(self._endpoint, self._parent, limit, id, rate)


class Client(Backend):
    """The connections of one URL. Safe to share between threads; lazy: it connects when it is first used."""

    @without_frames
    def __init__(
        self,
        url: str | URL | None = None,
        *,
        require: Iterable[str] = (),
        credentials: Credentials | None = None,
        hooks: Hooks | None = None,
    ) -> None:
        """Check the URL, its options and what is required. No I/O.

        Args:
            url: The connection URL; `None` reads the environment variable `UNIMQ_URL`.
            require: What must hold, e.g. `{"delay", "at-least-once"}`; checked again with each connection.
            credentials: Called before each connection is made; returns the user and the password to use.
            hooks: Functions that are told about connections, sends, receives and settlements.

        Raises:
            InvalidURL, DriverMissing: the URL cannot be used, or its client library is not installed.
            InvalidArgument, Unsupported: a requirement nobody knows, or one that does not hold.
        """
        super().__init__(url, require=require, credentials=credentials, hooks=hooks)
        if self.hooks.around is not None:
            self.__class__ = observed(type(self))
        self.calls = Caller(self)

    @overload
    def queue(
        self,
        name: str | None = None,
        *,
        type: None = None,
        codec: str | None = None,
        lease: float | timedelta | None = None,
        max_deliveries: int | None = None,
    ) -> Queue[Any]: ...
    @overload
    def queue(
        self,
        name: str | None = None,
        *,
        type: type[T],
        codec: str | None = None,
        lease: float | timedelta | None = None,
        max_deliveries: int | None = None,
    ) -> Queue[T]: ...
    def queue(
        self,
        name: str | None = None,
        *,
        type: Any = None,  # noqa: A002 - as in Queue
        codec: str | None = None,
        lease: float | timedelta | None = None,
        max_deliveries: int | None = None,
    ) -> Queue[Any]:
        """The queue of that name (default: the URL's) on these connections; the arguments are those of `Queue`.

        Raises:
            InvalidName, InvalidArgument, Unsupported: as `Queue`.
        """
        return Queue[Any]._of(
            self.endpoint(name, type, Message, codec=codec, lease=lease, max_deliveries=max_deliveries)
        )

    def get(self, queues: Sequence[Queue[Any]], timeout: float | timedelta | None = None) -> Message[Any]:
        """The next message of any of `queues`, which are this client's; `message.queue` tells which. As `Queue.get`.

        Raises:
            InvalidArgument: there is none, one is another client's, or their leases differ.
            Empty: no message came in time.
        """
        several = Several.of(self, [queue._endpoint for queue in queues])
        return cast("Message[Any]", several.get_many(1, timeout)[0])

    def get_many(
        self, queues: Sequence[Queue[Any]], limit: int = 100, *, timeout: float | timedelta | None = None
    ) -> list[Message[Any]]:
        """What is there in any of `queues`, between 1 and `limit` (up to 10000) messages; else as `get`.

        It waits for the first one only. How many are from which queue is the backend's choice.

        Raises:
            InvalidArgument: as `get`, or `limit` is out of its range.
            Empty: no message came in time.
        """
        several = Several.of(self, [queue._endpoint for queue in queues])
        return cast("list[Message[Any]]", several.get_many(count(limit, "limit"), timeout))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        made = hasattr(self, "where")
        return f"<{type(self).__name__} {self.where}>" if made else f"<{type(self).__name__}, not made>"

    __reduce__ = refuse_pickling


@without_frames
def connect(
    url: str | URL | None = None,
    *,
    require: Iterable[str] = (),
    credentials: Credentials | None = None,
    hooks: Hooks | None = None,
) -> Client:
    """A `Client` for `url`, for more than one queue on the same connections. No I/O; arguments as `Client`."""
    return Client(url, require=require, credentials=credentials, hooks=hooks)
